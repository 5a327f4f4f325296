// The system calls behind HostNode, with the argument types of 64-bit Linux.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

public sealed partial class HostNode
{
    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle OpenByPath(string path, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true)]
    private static partial SafeFileHandle OpenAt(SafeFileHandle folder, in byte name, int flags, uint mode);

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial SafeFileHandle Control(SafeFileHandle file, int command, int argument);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true)]
    private static partial int MakeFolderAt(SafeFileHandle folder, in byte name, uint mode);

    [LibraryImport("libc", EntryPoint = "symlinkat", SetLastError = true)]
    private static partial int MakeLinkAt(in byte target, SafeFileHandle folder, in byte name);

    [LibraryImport("libc", EntryPoint = "linkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int LinkAt(int oldFolder, string oldPath, SafeFileHandle folder, in byte name, int flags);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true)]
    private static partial int UnlinkAt(SafeFileHandle folder, in byte name, int flags);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true)]
    private static partial int RenameAt(SafeFileHandle oldFolder, in byte oldName, SafeFileHandle folder, in byte name);

    [LibraryImport("libc", EntryPoint = "readlinkat", SetLastError = true)]
    private static partial nint ReadLinkAt(SafeFileHandle link, in byte name, ref byte target, nuint size);

    [LibraryImport("libc", EntryPoint = "chmod", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeMode(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "truncate", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Truncate(string path, nint size);

    [LibraryImport("libc", EntryPoint = "utimensat", SetLastError = true)]
    private static partial int SetTimesAt(SafeFileHandle file, in byte name, in long times, int flags);

    [LibraryImport("libc", EntryPoint = "fstatfs", SetLastError = true)]
    private static partial int GetFileSystem(SafeFileHandle file, out FileSystemStatus status);
}

/// <summary>Linux's struct statfs on 64-bit hosts.</summary>
[StructLayout(LayoutKind.Sequential, Size = 120)]
public struct FileSystemStatus
{
    /// <summary>Kind of file system.</summary>
    public long Type;

    /// <summary>Bytes of a block.</summary>
    public long BlockSize;

    /// <summary>Blocks.</summary>
    public ulong Blocks;

    /// <summary>Free blocks.</summary>
    public ulong FreeBlocks;

    /// <summary>Blocks that an ordinary user can have.</summary>
    public ulong AvailableBlocks;

    /// <summary>Inodes.</summary>
    public ulong Files;

    /// <summary>Free inodes.</summary>
    public ulong FreeFiles;

    /// <summary>Number of the file system.</summary>
    public ulong Number;

    /// <summary>Bytes of the longest name.</summary>
    public long LongestName;
}
