// Machine memory begins as a reservation: a Guest of 64 MiB must not cost 64 MiB before it touches them. Every host system has a
// call for that; this file knows them, so that nothing above it has to. First stop of the tour's Preparation: everything that
// depends on the operating system lives in this one small room (memory, executable memory, precise waiting, the terminal).
// Every block has a page before it and a page behind it that nobody may touch: the host system tends to place blocks side by side, and
// one byte too many would otherwise be another Guest's (docs/decisions/035).

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>A block of zero-filled, page-aligned host memory that is committed only as it is touched.</summary>
/// <remarks>Sizes are in bytes and must be positive multiples of 4096. On Linux, touching the page before or behind the block ends the process.</remarks>
public sealed unsafe partial class HostMemory : IDisposable
{
    private const nuint GuardSize = 4096;
    private const int ProtNone = 0;
    private const int ProtReadWrite = 3;
    private const int PopulateWrite = 23;
    private const int MapPrivateAnonymousNoReserve = 0x2 | 0x20 | 0x4000;

    private readonly bool mapped;
    private byte* address;

    /// <summary>Reserves <paramref name="size"/> bytes.</summary>
    /// <exception cref="OutOfMemoryException">The host refuses the reservation.</exception>
    public HostMemory(nuint size)
    {
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfNotEqual(size % 4096, 0u);
        Size = size;
        mapped = OperatingSystem.IsLinux();
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing, and the block lies inside it; elsewhere the
        // runtime's own allocator is used.
        unsafe
        {
            if (mapped)
            {
                nuint whole = size + (2 * GuardSize);
                nint result = MapMemory(0, whole, ProtNone, MapPrivateAnonymousNoReserve, -1, 0);
                if (result == -1 || ProtectMemory(result + (nint)GuardSize, size, ProtReadWrite) != 0)
                {
                    _ = result == -1 ? 0 : UnmapMemory(result, whole);
                    throw new OutOfMemoryException($"The host refuses to reserve {size} bytes of memory.");
                }
                address = (byte*)result + GuardSize;
            }
            else
            {
                address = (byte*)NativeMemory.AlignedAlloc(size, 4096);
                NativeMemory.Clear(address, size);
            }
        }
    }

    /// <summary>Size in bytes.</summary>
    public nuint Size { get; }

    /// <summary>First byte; valid until <see cref="Dispose"/>.</summary>
    public byte* Address => address;

    /// <summary>Has a part of the block committed now: a first touch of each page would cost the host ten times as much.</summary>
    /// <remarks>A hint: where the host does not know the call, pages are committed as they are touched.</remarks>
    /// <param name="offset">Start in bytes; rounded down to a page.</param>
    /// <param name="length">Bytes; cut to the block and rounded up to pages.</param>
    public void Commit(nuint offset, nuint length)
    {
        // SAFETY: the range is cut to the block.
        unsafe
        {
            nuint first = Math.Min(offset, Size) / 4096 * 4096;
            nuint end = Math.Min((Math.Min(offset, Size) + Math.Min(length, Size) + 4095) / 4096 * 4096, Size);
            if (mapped && end > first)
            {
                _ = AdviseMemory((nint)(address + first), end - first, PopulateWrite);
            }
        }
    }

    /// <summary>Counts the bytes that the host has committed so far, in whole pages; all of them where the host does not tell.</summary>
    public long CountResident()
    {
        if (!mapped)
        {
            return (long)Size;
        }
        // SAFETY: mincore writes one byte for each page of the block.
        unsafe
        {
            byte[] pages = new byte[Size / 4096];
            fixed (byte* first = pages)
            {
                return PagesInCore((nint)address, Size, first) == 0 ? 4096L * pages.Count(static page => (page & 1) != 0) : (long)Size;
            }
        }
    }

    /// <summary>Gives the memory back. Nobody may hold an address into it afterwards.</summary>
    public void Dispose()
    {
        // SAFETY: the block came from the matching allocator and is released once.
        unsafe
        {
            if (address == null)
            {
                return;
            }
            if (mapped)
            {
                _ = UnmapMemory((nint)(address - GuardSize), Size + (2 * GuardSize));
            }
            else
            {
                NativeMemory.AlignedFree(address);
            }
            address = null;
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MapMemory(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int ProtectMemory(nint address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int AdviseMemory(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "mincore", SetLastError = true)]
    private static partial int PagesInCore(nint address, nuint length, byte* pages);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int UnmapMemory(nint address, nuint length);
}
