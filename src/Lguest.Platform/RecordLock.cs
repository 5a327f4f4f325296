// Who holds a byte of a file holds a place: so Guests share out the slots of a network among processes that know nothing of each other
// (ABI 10.11). The classic record locks of POSIX belong to a process, do not exclude two Guests of one, and vanish when any descriptor of
// the file is closed. Linux's open-file-description locks have none of these faults and conflict with the classic ones.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>Exclusive locks on bytes of a file. Linux only.</summary>
public static partial class RecordLock
{
    private const int SetOpenFileDescriptionLock = 37;
    private const short WriteLock = 1;

    /// <summary>Locks bytes of a file, which need not exist, without waiting.</summary>
    /// <remarks>The lock ends when the file is closed, at the latest with the process, however that ends.</remarks>
    /// <param name="file">The file, open for writing.</param>
    /// <param name="start">The first byte.</param>
    /// <param name="length">How many.</param>
    /// <returns>False when somebody else holds one of them.</returns>
    /// <exception cref="IOException">The file system has no locks.</exception>
    public static bool TryAcquire(SafeFileHandle file, long start, long length)
    {
        var request = new FileLock { Type = WriteLock, Start = start, Length = length };
        if (Control(file, SetOpenFileDescriptionLock, ref request) == 0)
        {
            return true;
        }
        const int TryAgain = 11, AccessDenied = 13;
        return Marshal.GetLastPInvokeError() is TryAgain or AccessDenied
            ? false
            : throw new IOException($"the file cannot be locked: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int Control(SafeFileHandle file, int command, ref FileLock request);

    /// <summary><c>struct flock</c> of 64-bit Linux; its process is 0 for these locks.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct FileLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Process;
    }
}
