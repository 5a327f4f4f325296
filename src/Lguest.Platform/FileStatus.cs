// What the host knows of a file and the runtime does not tell: its kind, so that nothing is opened that would wait or act, and its inode, by
// which two processes know that they mean the same file.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>A part of Linux's struct statx, which is the same on every architecture.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
public partial struct FileStatus
{
    /// <summary>The bits of <see cref="Mode"/> that tell the kind.</summary>
    public const ushort KindMask = 0xF000;

    /// <summary>Kind: a folder.</summary>
    public const ushort Folder = 0x4000;

    /// <summary>Kind: a regular file.</summary>
    public const ushort RegularFile = 0x8000;

    /// <summary>Kind: a symbolic link.</summary>
    public const ushort SymbolicLink = 0xA000;

    private const int CurrentDirectory = -100;
    private const int EmptyPath = 0x1000;
    private const uint BasicFields = 0x7FF;

    /// <summary>Bytes that input and output are best done in.</summary>
    [FieldOffset(4)]
    public uint BlockSize;

    /// <summary>Names of the file.</summary>
    [FieldOffset(16)]
    public uint LinkCount;

    /// <summary>The owner.</summary>
    [FieldOffset(20)]
    public uint User;

    /// <summary>The owning group.</summary>
    [FieldOffset(24)]
    public uint Group;

    /// <summary>Kind and permissions (S_IFMT and below).</summary>
    [FieldOffset(28)]
    public ushort Mode;

    /// <summary>The file's number on its file system.</summary>
    [FieldOffset(32)]
    public ulong Inode;

    /// <summary>Bytes.</summary>
    [FieldOffset(40)]
    public ulong Size;

    /// <summary>Units of 512 bytes that it takes on the medium.</summary>
    [FieldOffset(48)]
    public ulong Blocks;

    /// <summary>When it was last read.</summary>
    [FieldOffset(64)]
    public FileTime AccessTime;

    /// <summary>When its status last changed.</summary>
    [FieldOffset(96)]
    public FileTime ChangeTime;

    /// <summary>When it was last written.</summary>
    [FieldOffset(112)]
    public FileTime ModificationTime;

    /// <summary>The file system: major number.</summary>
    [FieldOffset(136)]
    public uint DeviceMajor;

    /// <summary>The file system: minor number.</summary>
    [FieldOffset(140)]
    public uint DeviceMinor;

    /// <summary>The kind, one of the constants or another.</summary>
    public readonly ushort Kind => (ushort)(Mode & KindMask);

    /// <summary>Asks about the file that a path leads to; false when there is none, and the system's last error says why.</summary>
    public static bool TryGet(string path, out FileStatus status) => Get(CurrentDirectory, path, 0, BasicFields, out status) == 0;

    /// <summary>Asks about an open file; false when the system refuses, and its last error says why.</summary>
    public static bool TryGet(SafeFileHandle file, out FileStatus status)
    {
        ArgumentNullException.ThrowIfNull(file);
        bool known = Get((int)file.DangerousGetHandle(), "", EmptyPath, BasicFields, out status) == 0;
        GC.KeepAlive(file);
        return known;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Get(int directory, string path, int flags, uint mask, out FileStatus status);
}

/// <summary>A moment: seconds and nanoseconds since 1970.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
public struct FileTime
{
    /// <summary>Seconds.</summary>
    public long Seconds;

    /// <summary>Nanoseconds, below a billion; two special values for <see cref="HostNode.SetTimes"/>.</summary>
    public uint Nanoseconds;
}
