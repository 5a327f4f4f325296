// A file or folder of the host that is open for its contents: bytes at offsets, or names.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>What <see cref="HostNode.Open"/> gives. Linux only.</summary>
/// <remarks>Methods return what they did, from 0 on, or the negative number of the system's error.</remarks>
public static partial class OpenedNode
{
    /// <summary>Bytes in front of a name in what <see cref="ReadFolder"/> gives.</summary>
    public const int EntryHeader = 19;

    private const int Interrupted = 4;

    /// <summary>Reads from an offset on.</summary>
    /// <returns>Bytes read; 0 at the end.</returns>
    public static int Read(SafeFileHandle file, Span<byte> bytes, long offset)
    {
        while (true)
        {
            nint count = PositionedRead(file, ref MemoryMarshal.GetReference(bytes), (nuint)bytes.Length, (nint)offset);
            if (count >= 0 || Marshal.GetLastPInvokeError() != Interrupted)
            {
                return count >= 0 ? (int)count : -Marshal.GetLastPInvokeError();
            }
        }
    }

    /// <summary>Writes from an offset on.</summary>
    /// <returns>Bytes written, perhaps fewer than there are.</returns>
    public static int Write(SafeFileHandle file, ReadOnlySpan<byte> bytes, long offset)
    {
        while (true)
        {
            nint count = PositionedWrite(file, in MemoryMarshal.GetReference(bytes), (nuint)bytes.Length, (nint)offset);
            if (count >= 0 || Marshal.GetLastPInvokeError() != Interrupted)
            {
                return count >= 0 ? (int)count : -Marshal.GetLastPInvokeError();
            }
        }
    }

    /// <summary>Returns when everything that was written has reached the medium.</summary>
    public static int Flush(SafeFileHandle file, bool dataOnly) =>
        (dataOnly ? SynchroniseData(file) : Synchronise(file)) == 0 ? 0 : -Marshal.GetLastPInvokeError();

    /// <summary>Goes to a place in a folder: 0, or one that an entry told.</summary>
    public static int Seek(SafeFileHandle folder, long place) => SetPosition(folder, (nint)place, 0) >= 0 ? 0 : -Marshal.GetLastPInvokeError();

    /// <summary>Reads entries of a folder as Linux's struct linux_dirent64: inode, place of the next entry, length of this one, kind, name.</summary>
    /// <returns>Bytes of whole entries; 0 at the end.</returns>
    public static int ReadFolder(SafeFileHandle folder, Span<byte> entries)
    {
        nint count = GetEntries(folder, ref MemoryMarshal.GetReference(entries), (nuint)entries.Length);
        return count >= 0 ? (int)count : -Marshal.GetLastPInvokeError();
    }

    [LibraryImport("libc", EntryPoint = "pread", SetLastError = true)]
    private static partial nint PositionedRead(SafeFileHandle file, ref byte bytes, nuint length, nint offset);

    [LibraryImport("libc", EntryPoint = "pwrite", SetLastError = true)]
    private static partial nint PositionedWrite(SafeFileHandle file, in byte bytes, nuint length, nint offset);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Synchronise(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int SynchroniseData(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial nint SetPosition(SafeFileHandle file, nint offset, int origin);

    [LibraryImport("libc", EntryPoint = "getdents64", SetLastError = true)]
    private static partial nint GetEntries(SafeFileHandle folder, ref byte entries, nuint size);
}
