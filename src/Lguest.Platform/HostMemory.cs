// Machine memory begins as a reservation: a Guest of 64 MiB must not cost 64 MiB before it touches them. Every host system has a
// call for that; this file knows them, so that nothing above it has to. First stop of the tour's Preparation: everything that
// depends on the operating system lives in this one small room (memory, executable memory, precise waiting, the terminal).

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>A block of zero-filled, page-aligned host memory that is committed only as it is touched.</summary>
/// <remarks>Sizes are in bytes and must be positive multiples of 4096.</remarks>
public sealed unsafe partial class HostMemory : IDisposable
{
    private const int ProtReadWrite = 3;
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
        // SAFETY: an anonymous mapping at an address of the kernel's choice overlaps nothing; elsewhere the runtime's own allocator is used.
        unsafe
        {
            if (mapped)
            {
                nint result = MapMemory(0, size, ProtReadWrite, MapPrivateAnonymousNoReserve, -1, 0);
                if (result == -1)
                {
                    throw new OutOfMemoryException($"The host refuses to reserve {size} bytes of memory.");
                }
                address = (byte*)result;
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
                _ = UnmapMemory((nint)address, Size);
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

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int UnmapMemory(nint address, nuint length);
}
