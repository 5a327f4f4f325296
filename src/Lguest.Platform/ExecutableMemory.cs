// Machine code that we write ourselves needs pages that the host lets run. Hardened hosts want no page that is writable and
// executable at once, and changing the protection for every few bytes costs a system call each: so the same memory is seen twice,
// through one window to write and another to run.

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>A block of page-aligned host memory that holds machine code of the host's architecture.</summary>
/// <remarks>Linux only. Sizes are in bytes and must be positive multiples of 4096. Nobody may run the bytes that <see cref="Write"/> is changing.</remarks>
public sealed unsafe partial class ExecutableMemory : IDisposable
{
    private const int ProtReadWrite = 1 | 2;
    private const int ProtReadExecute = 1 | 4;
    private const int MapShared = 1;
    private const int PopulateRead = 22;
    private const int PopulateWrite = 23;
    private const uint CloseOnExec = 1;

    private byte* address;
    private byte* writeView;

    /// <summary>Reserves <paramref name="size"/> bytes.</summary>
    /// <exception cref="PlatformNotSupportedException">This host's way to executable memory is not known here.</exception>
    /// <exception cref="OutOfMemoryException">The host refuses the memory, or refuses to run code in it.</exception>
    public ExecutableMemory(nuint size)
    {
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfNotEqual(size % 4096, 0u);
        if (!OperatingSystem.IsLinux())
        {
            throw new PlatformNotSupportedException("Executable memory is available on Linux only.");
        }
        Size = size;
        int file = CreateMemoryFile("lguest-code", CloseOnExec);
        nint execute = -1;
        nint write = -1;
        if (file >= 0)
        {
            if (SetFileSize(file, (nint)size) == 0)
            {
                execute = MapMemory(0, size, ProtReadExecute, MapShared, file, 0);
                write = MapMemory(0, size, ProtReadWrite, MapShared, file, 0);
            }
            _ = CloseFile(file);
        }
        // SAFETY: both mappings have Size bytes and are ours until Dispose; a refused one is not kept.
        unsafe
        {
            address = execute == -1 ? null : (byte*)execute;
            writeView = write == -1 ? null : (byte*)write;
            if (address == null || writeView == null)
            {
                Dispose();
                throw new OutOfMemoryException($"The host refuses {size} bytes of executable memory.");
            }
        }
    }

    /// <summary>Size in bytes.</summary>
    public nuint Size { get; }

    /// <summary>First byte; valid until <see cref="Dispose"/>. It can be read and executed, not written.</summary>
    public byte* Address => address;

    /// <summary>The same bytes where they can be written; valid until <see cref="Dispose"/>. Nobody may run a byte that is being changed.</summary>
    public byte* WriteView => writeView;

    /// <summary>Writes code at an offset.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The code does not fit.</exception>
    public void Write(nuint offset, ReadOnlySpan<byte> code)
    {
        ObjectDisposedException.ThrowIf(address == null, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((nuint)code.Length, Size - offset, nameof(code));
        // SAFETY: the range lies inside the block.
        unsafe
        {
            code.CopyTo(new Span<byte>(writeView + offset, code.Length));
        }
    }

    /// <summary>Has a part of the block committed now, in both views; see <see cref="HostMemory.Commit"/>.</summary>
    /// <param name="offset">Start in bytes, a multiple of 4096.</param>
    /// <param name="length">Bytes, a multiple of 4096; cut to the block.</param>
    public void Commit(nuint offset, nuint length)
    {
        // SAFETY: the range is cut to the block.
        unsafe
        {
            if (offset < Size)
            {
                nuint part = Math.Min(length, Size - offset);
                _ = AdviseMemory((nint)(writeView + offset), part, PopulateWrite);
                _ = AdviseMemory((nint)(address + offset), part, PopulateRead);
            }
        }
    }

    /// <summary>Gives the memory back. No code of it may be running.</summary>
    public void Dispose()
    {
        // SAFETY: each view came from MapMemory and is released once.
        unsafe
        {
            if (address != null)
            {
                _ = UnmapMemory((nint)address, Size);
                address = null;
            }
            if (writeView != null)
            {
                _ = UnmapMemory((nint)writeView, Size);
                writeView = null;
            }
        }
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateMemoryFile(string name, uint flags);

    [LibraryImport("libc", EntryPoint = "ftruncate")]
    private static partial int SetFileSize(int file, nint size);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int CloseFile(int file);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial nint MapMemory(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int AdviseMemory(nint address, nuint length, int advice);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int UnmapMemory(nint address, nuint length);
}
