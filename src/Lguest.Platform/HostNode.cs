// A file or folder of the host, held by its inode and not by a path. Whoever goes down from a folder goes by one name at a time and follows no
// link, so that there is no way out of the folder where he began: not through links, not through "..", and not by renaming folders while
// somebody looks. This is how a Guest gets at a folder that is shared with it.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>An inode of the host. Linux only.</summary>
/// <remarks>Methods return 0 or the number of the system's error; a name is one component, its bytes as the host has them.</remarks>
public sealed partial class HostNode : IDisposable
{
    /// <summary>No such name.</summary>
    public const int NoEntry = 2;

    /// <summary>Bytes of the longest name.</summary>
    public const int LongestName = 255;

    /// <summary>Bytes of the longest path, which is the longest target of a link.</summary>
    public const int LongestPath = 4095;

    /// <summary>In a <see cref="FileTime"/>: the host's present time.</summary>
    public const uint Now = (1 << 30) - 1;

    /// <summary>In a <see cref="FileTime"/>: leave it.</summary>
    public const uint Omit = (1 << 30) - 2;

    private const int InvalidArgument = 22;
    private const int NameTooLong = 36;
    private const int Loop = 40;
    private const int EmptyPath = 0x1000;
    private const int OpenPath = 0x20_0000, OpenNoFollow = 0x2_0000, OpenFolder = 0x1_0000, CloseOnExecute = 0x8_0000, NonBlocking = 0x800;
    private const int OpenCreate = 0x40;

    private readonly SafeFileHandle handle;

    private HostNode(SafeFileHandle handle) => this.handle = handle;

    private string Path => $"/proc/self/fd/{handle.DangerousGetHandle()}";

    /// <summary>Takes hold of a folder by its path.</summary>
    /// <exception cref="DirectoryNotFoundException">It is not there, or no folder.</exception>
    /// <exception cref="UnauthorizedAccessException">The host's permissions forbid it.</exception>
    /// <exception cref="IOException">The host refuses.</exception>
    public static HostNode OpenFolderAt(string path)
    {
        const int NotPermitted = 1, AccessDenied = 13, NotAFolder = 20;
        SafeFileHandle handle = OpenByPath(path, OpenPath | OpenFolder | CloseOnExecute, 0);
        if (!handle.IsInvalid)
        {
            return new HostNode(handle);
        }
        int error = Marshal.GetLastPInvokeError();
        string message = Marshal.GetPInvokeErrorMessage(error);
        handle.Dispose();
        throw error switch
        {
            NoEntry or NotAFolder => new DirectoryNotFoundException(message),
            NotPermitted or AccessDenied => new UnauthorizedAccessException(message),
            _ => new IOException(message),
        };
    }

    /// <summary>Says whether a name can be one component: not empty, no slash, neither "." nor "..".</summary>
    public static bool IsName(ReadOnlySpan<byte> name) => name.Length > 0 && !name.ContainsAny((byte)'/', (byte)0) && !name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8);

    /// <summary>Takes hold of the same inode once more.</summary>
    public int Duplicate(out HostNode? node)
    {
        const int DuplicateCloseOnExecute = 1030;
        return Take(Control(handle, DuplicateCloseOnExecute, 0), out node);
    }

    /// <summary>Asks about the inode.</summary>
    public int GetStatus(out FileStatus status) => FileStatus.TryGet(handle, out status) ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Goes to a name in this folder; a link is not followed but taken hold of.</summary>
    public int Walk(ReadOnlySpan<byte> name, out HostNode? node)
    {
        node = null;
        return CheckName(name) is var error and not 0 ? error : Take(OpenAt(handle, in Terminated(name)[0], OpenPath | OpenNoFollow | CloseOnExecute, 0), out node);
    }

    /// <summary>Opens a regular file or a folder; nothing that would wait or act.</summary>
    /// <param name="flags">Linux's O_ flags of access and truncation; others are not passed on.</param>
    /// <param name="file">What was opened.</param>
    public int Open(int flags, out SafeFileHandle? file)
    {
        const int Passed = 0x3 | 0x200;
        file = null;
        if (GetStatus(out FileStatus status) is var error and not 0)
        {
            return error;
        }
        return status.Kind is not (FileStatus.RegularFile or FileStatus.Folder)
            ? status.Kind == FileStatus.SymbolicLink ? Loop : InvalidArgument
            : Take(OpenByPath(Path, (flags & Passed) | CloseOnExecute | NonBlocking, 0), out file);
    }

    /// <summary>Makes a regular file in this folder and opens it; one that is there is opened unless <paramref name="flags"/> say O_EXCL.</summary>
    public int Create(ReadOnlySpan<byte> name, int flags, uint mode, out SafeFileHandle? file)
    {
        const int Passed = 0x3 | 0x80 | 0x200;
        file = null;
        if (CheckName(name) is var error and not 0)
        {
            return error;
        }
        error = Take(OpenAt(handle, in Terminated(name)[0], (flags & Passed) | OpenCreate | OpenNoFollow | CloseOnExecute | NonBlocking, mode), out file);
        if (error == 0 && (!FileStatus.TryGet(file!, out FileStatus status) || status.Kind != FileStatus.RegularFile))
        {
            file!.Dispose();
            file = null;
            return InvalidArgument;
        }
        return error;
    }

    /// <summary>Makes a folder in this one.</summary>
    public int MakeFolder(ReadOnlySpan<byte> name, uint mode) => CheckName(name) is var error and not 0 ? error : Result(MakeFolderAt(handle, in Terminated(name)[0], mode));

    /// <summary>Makes a link to a path in this folder. The path is a matter of who follows the link.</summary>
    public int MakeLink(ReadOnlySpan<byte> name, ReadOnlySpan<byte> target) => target.Contains((byte)0) || target.Length is 0 or > LongestPath
        ? InvalidArgument
        : CheckName(name) is var error and not 0 ? error : Result(MakeLinkAt(in Terminated(target)[0], handle, in Terminated(name)[0]));

    /// <summary>Gives an inode another name in this folder.</summary>
    public int AddName(HostNode node, ReadOnlySpan<byte> name)
    {
        const int CurrentDirectory = -100, FollowLink = 0x400;
        ArgumentNullException.ThrowIfNull(node);
        return CheckName(name) is var error and not 0 ? error : Result(LinkAt(CurrentDirectory, node.Path, handle, in Terminated(name)[0], FollowLink));
    }

    /// <summary>Removes a name from this folder.</summary>
    public int Remove(ReadOnlySpan<byte> name, bool isFolder)
    {
        const int RemoveFolder = 0x200;
        return CheckName(name) is var error and not 0 ? error : Result(UnlinkAt(handle, in Terminated(name)[0], isFolder ? RemoveFolder : 0));
    }

    /// <summary>Moves a name of this folder to a name of another, which may be the same.</summary>
    public int Rename(ReadOnlySpan<byte> name, HostNode folder, ReadOnlySpan<byte> newName)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return (CheckName(name), CheckName(newName)) switch
        {
            (0, 0) => Result(RenameAt(handle, in Terminated(name)[0], folder.handle, in Terminated(newName)[0])),
            (0, var error) => error,
            (var error, _) => error,
        };
    }

    /// <summary>Reads the target of a link.</summary>
    /// <param name="target">Room for <see cref="LongestPath"/> bytes.</param>
    /// <param name="length">How many there are.</param>
    public int ReadLink(Span<byte> target, out int length)
    {
        length = (int)ReadLinkAt(handle, in Terminated([])[0], ref MemoryMarshal.GetReference(target), (nuint)target.Length);
        return Result(length);
    }

    /// <summary>Sets the permissions.</summary>
    public int SetMode(uint mode)
    {
        const int NotSupported = 95;
        return GetStatus(out FileStatus status) is var error and not 0 ? error
            : status.Kind == FileStatus.SymbolicLink ? NotSupported : Result(ChangeMode(Path, mode));
    }

    /// <summary>Cuts a regular file, or lets it grow by zeroes.</summary>
    public int SetSize(long size) => GetStatus(out FileStatus status) is var error and not 0 ? error
        : status.Kind == FileStatus.RegularFile ? Result(Truncate(Path, (nint)size)) : InvalidArgument;

    /// <summary>Sets the times of access and modification.</summary>
    public int SetTimes(FileTime access, FileTime modification)
    {
        Span<long> times = [access.Seconds, access.Nanoseconds, modification.Seconds, modification.Nanoseconds];
        return Result(SetTimesAt(handle, in Terminated([])[0], in times[0], EmptyPath));
    }

    /// <summary>Asks about the file system.</summary>
    public int GetFileSystem(out FileSystemStatus status) => Result(GetFileSystem(handle, out status));

    /// <inheritdoc/>
    public void Dispose() => handle.Dispose();

    private static int CheckName(ReadOnlySpan<byte> name) => !IsName(name) ? InvalidArgument : name.Length > LongestName ? NameTooLong : 0;

    private static byte[] Terminated(ReadOnlySpan<byte> text) => [.. text, 0];

    private static int Result(int returned) => returned < 0 ? Marshal.GetLastPInvokeError() : 0;

    private static int Take(SafeFileHandle opened, out SafeFileHandle? file)
    {
        if (opened.IsInvalid)
        {
            int error = Marshal.GetLastPInvokeError();
            opened.Dispose();
            file = null;
            return error;
        }
        file = opened;
        return 0;
    }

    private static int Take(SafeFileHandle opened, out HostNode? node)
    {
        int error = Take(opened, out SafeFileHandle? file);
        node = file == null ? null : new HostNode(file);
        return error;
    }
}
