// A file or block device of the host as a disk: bytes at offsets, of a fixed number, that are either known to have reached the medium or not.
// Whoever writes has it alone. The lock belongs to the inode, so that links and paths do not matter, and to the open file, so that it
// holds between two users in one process as well as between processes, and ends with the process, however that ends.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>Bytes of a fixed number that outlive the machine, if it may write at all.</summary>
/// <remarks>Offsets and lengths are in bytes. Not thread-safe. Every method may throw an <see cref="IOException"/>.</remarks>
public interface IDisk : IDisposable
{
    /// <summary>Size in bytes; it never changes.</summary>
    long Length { get; }

    /// <summary>Whether <see cref="Write"/> is forbidden.</summary>
    bool IsReadOnly { get; }

    /// <summary>Reads from <paramref name="offset"/> on.</summary>
    /// <returns>Bytes read: fewer than asked for only at the end of the disk.</returns>
    int Read(Span<byte> bytes, long offset);

    /// <summary>Writes all bytes, none of them beyond <see cref="Length"/>.</summary>
    void Write(ReadOnlySpan<byte> bytes, long offset);

    /// <summary>Returns when everything that was written has reached the medium.</summary>
    void Flush();
}

/// <summary>The disk is locked: somebody writes to it, or somebody reads what was to be written.</summary>
public sealed class DiskInUseException() : IOException("it is in use");

/// <summary>A disk in a file or block device of the host.</summary>
public sealed partial class DiskFile : IDisk
{
    private readonly SafeFileHandle file;
    private readonly SafeFileHandle? claim;
    private bool lostWrites;

    private DiskFile(SafeFileHandle file, SafeFileHandle? claim, long length, bool writes)
    {
        this.file = file;
        this.claim = claim;
        Length = length;
        IsReadOnly = !writes;
    }

    /// <inheritdoc/>
    public long Length { get; }

    /// <inheritdoc/>
    public bool IsReadOnly { get; }

    /// <summary>Opens and locks a disk: alone for writing, shared with other readers for reading.</summary>
    /// <exception cref="DiskInUseException">The lock cannot be had.</exception>
    /// <exception cref="UnauthorizedAccessException">The host's permissions forbid it.</exception>
    /// <exception cref="FileNotFoundException">There is no such file (or a <see cref="DirectoryNotFoundException"/>).</exception>
    /// <exception cref="IOException">It is no disk, or the host refuses; the message says why, as in "it is a directory".</exception>
    public static DiskFile Open(string path, bool writes)
    {
        bool isDevice = IsBlockDevice(path);
        SafeFileHandle? file = null, claim = null;
        try
        {
            // The runtime takes flock(2) for these two kinds of sharing.
            file = File.OpenHandle(path, FileMode.Open, writes ? FileAccess.ReadWrite : FileAccess.Read, writes ? FileShare.None : FileShare.Read);
            claim = isDevice && writes ? Claim(path) : null;
            return new DiskFile(file, claim, isDevice ? SeekToEnd(file) : RandomAccess.GetLength(file), writes);
        }
        catch (Exception error)
        {
            file?.Dispose();
            claim?.Dispose();
            const int WouldBlock = 11, SharingViolation = unchecked((int)0x8007_0020);
            if (error is IOException && error.HResult is WouldBlock or SharingViolation)
            {
                throw new DiskInUseException();
            }
            throw;
        }
    }

    /// <inheritdoc/>
    public int Read(Span<byte> bytes, long offset)
    {
        bytes = bytes[..(int)Math.Clamp(Length - offset, 0, bytes.Length)];
        int done = 0;
        while (done < bytes.Length)
        {
            int count = RandomAccess.Read(file, bytes[done..], offset + done);
            if (count == 0)
            {
                break;
            }
            done += count;
        }
        return done;
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes, long offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes.Length, Length - offset);
        RandomAccess.Write(file, bytes, offset);
    }

    /// <inheritdoc/>
    /// <remarks>A host forgets that writing back failed once it has said so. This disk does not: it never again says that all is well.</remarks>
    public void Flush()
    {
        if (IsReadOnly)
        {
            return;
        }
        if (lostWrites)
        {
            throw new IOException("what was written earlier has been lost");
        }
        lostWrites = true;
        if (!OperatingSystem.IsLinux())
        {
            RandomAccess.FlushToDisk(file);
        }
        else if (SynchroniseData(file) != 0)
        {
            throw new IOException(Marshal.GetLastPInvokeErrorMessage());
        }
        lostWrites = false;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        file.Dispose();
        claim?.Dispose();
    }

    /// <summary>Tells a block device from a file, before anything is opened: a pipe would wait for its other end, a device might act.</summary>
    private static bool IsBlockDevice(string path)
    {
        const ushort KindMask = 0xF000, Pipe = 0x1000, CharacterDevice = 0x2000, BlockDevice = 0x6000, Socket = 0xC000;
        if (Directory.Exists(path))
        {
            throw new IOException("it is a directory");
        }
        if (!OperatingSystem.IsLinux() || !FileStatus.TryGet(path, out FileStatus status))
        {
            return false;
        }
        return (status.Mode & KindMask) switch
        {
            Pipe => throw new IOException("it is a pipe, not a file or block device"),
            CharacterDevice => throw new IOException("it is a character device, not a file or block device"),
            Socket => throw new IOException("it is a socket, not a file or block device"),
            BlockDevice => true,
            _ => false,
        };
    }

    /// <summary>Claims a block device for ourselves, which the host refuses while it has mounted it.</summary>
    private static SafeFileHandle Claim(string path)
    {
        const int Exclusive = 0x80, CloseOnExecute = 0x80000, Busy = 16;
        SafeFileHandle claim = OpenFile(path, Exclusive | CloseOnExecute);
        if (claim.IsInvalid)
        {
            int error = Marshal.GetLastPInvokeError();
            claim.Dispose();
            throw new IOException(error == Busy ? "the host uses it (is it mounted?)" : Marshal.GetPInvokeErrorMessage(error));
        }
        return claim;
    }

    /// <summary>The size of a block device, which has no length as files have.</summary>
    private static long SeekToEnd(SafeFileHandle device)
    {
        const int End = 2;
        nint length = Seek(device, 0, End);
        return length >= 0 ? length : throw new IOException(Marshal.GetLastPInvokeErrorMessage());
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial nint Seek(SafeFileHandle file, nint offset, int origin);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int SynchroniseData(SafeFileHandle file);
}
