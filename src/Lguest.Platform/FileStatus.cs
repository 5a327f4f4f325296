// What the host knows of a file and the runtime does not tell: its kind, so that nothing is opened that would wait or act, and its inode, by
// which two processes know that they mean the same file.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>A part of Linux's struct statx, which is the same on every architecture.</summary>
[StructLayout(LayoutKind.Explicit, Size = 256)]
internal partial struct FileStatus
{
    private const int CurrentDirectory = -100;
    private const int EmptyPath = 0x1000;
    private const uint TypeAndInode = 0x101;

    /// <summary>Kind and permissions (S_IFMT and below).</summary>
    [FieldOffset(28)]
    public ushort Mode;

    [FieldOffset(32)]
    public ulong Inode;

    [FieldOffset(136)]
    public uint DeviceMajor;

    [FieldOffset(140)]
    public uint DeviceMinor;

    /// <summary>Asks about the file that a path leads to; false when there is none, and the system's last error says why.</summary>
    public static bool TryGet(string path, out FileStatus status) => Get(CurrentDirectory, path, 0, TypeAndInode, out status) == 0;

    /// <summary>Asks about an open file; false when the system refuses, and its last error says why.</summary>
    public static bool TryGet(SafeFileHandle file, out FileStatus status)
    {
        bool known = Get((int)file.DangerousGetHandle(), "", EmptyPath, TypeAndInode, out status) == 0;
        GC.KeepAlive(file);
        return known;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Get(int directory, string path, int flags, uint mask, out FileStatus status);
}
