// Machine code that we write ourselves needs pages that the host lets run. They are never writable and executable at once: code is
// written first and then locked for execution, as hardened hosts demand.

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>A block of page-aligned host memory that holds machine code of the host's architecture.</summary>
/// <remarks>Linux only. Sizes are in bytes and must be positive multiples of 4096. Not thread-safe: nobody may run the code during <see cref="Write"/>.</remarks>
public sealed unsafe partial class ExecutableMemory : IDisposable
{
    private const int ProtReadWrite = 1 | 2;
    private const int ProtReadExecute = 1 | 4;
    private const int MapPrivateAnonymous = 0x2 | 0x20;

    private byte* address;

    /// <summary>Reserves <paramref name="size"/> bytes.</summary>
    /// <exception cref="PlatformNotSupportedException">This host's way to executable memory is not known here.</exception>
    /// <exception cref="OutOfMemoryException">The host refuses the reservation.</exception>
    public ExecutableMemory(nuint size)
    {
        ArgumentOutOfRangeException.ThrowIfZero(size);
        ArgumentOutOfRangeException.ThrowIfNotEqual(size % 4096, 0u);
        if (!OperatingSystem.IsLinux())
        {
            throw new PlatformNotSupportedException("Executable memory is available on Linux only.");
        }
        Size = size;
        nint result = MapMemory(0, size, ProtReadExecute, MapPrivateAnonymous, -1, 0);
        if (result == -1)
        {
            throw new OutOfMemoryException($"The host refuses to reserve {size} bytes of executable memory.");
        }
        // SAFETY: the mapping is ours until Dispose; its address is only kept here.
        unsafe
        {
            address = (byte*)result;
        }
    }

    /// <summary>Size in bytes.</summary>
    public nuint Size { get; }

    /// <summary>First byte; valid until <see cref="Dispose"/>. It can be read and executed, not written.</summary>
    public byte* Address => address;

    /// <summary>Writes code at an offset. While that lasts, no code of this block can run.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The code does not fit.</exception>
    /// <exception cref="InvalidOperationException">The host refuses executable pages.</exception>
    public void Write(nuint offset, ReadOnlySpan<byte> code)
    {
        ObjectDisposedException.ThrowIf(address == null, this);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Size);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((nuint)code.Length, Size - offset, nameof(code));
        Protect(ProtReadWrite);
        // SAFETY: the range lies inside the block, which is writable between the two calls of Protect.
        unsafe
        {
            code.CopyTo(new Span<byte>(address + offset, code.Length));
        }
        Protect(ProtReadExecute);
    }

    /// <summary>Gives the memory back. No code of it may be running.</summary>
    public void Dispose()
    {
        // SAFETY: the block came from MapMemory and is released once.
        unsafe
        {
            if (address != null)
            {
                _ = UnmapMemory((nint)address, Size);
                address = null;
            }
        }
    }

    private void Protect(int protection)
    {
        if (ProtectMemory((nint)address, Size, protection) != 0)
        {
            throw new InvalidOperationException($"The host refuses executable memory (error {Marshal.GetLastPInvokeError()}).");
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint MapMemory(nint address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int UnmapMemory(nint address, nuint length);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int ProtectMemory(nint address, nuint length, int protection);
}
