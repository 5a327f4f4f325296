// An eventfd: a descriptor that one thread puts into a poll, and that any other thread makes ready. Two kinds of waiting are built on it, one
// for a moment and one for many descriptors; what the host system must be asked for is here.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>One descriptor for <c>poll</c>, laid out as the host system has it.</summary>
internal struct PollDescriptor
{
    public int Descriptor;
    public PollEvents Events;
    public PollEvents Returned;
}

/// <summary>A descriptor that is ready to be read while it is signalled. Linux only.</summary>
/// <remarks>Any thread may call anything until <see cref="Dispose"/>.</remarks>
internal sealed partial class EventFile : IDisposable
{
    private const int CloseOnExecNonBlocking = 0x8_0000 | 0x800;

    private readonly SafeFileHandle handle;

    /// <summary>Makes one that is not signalled.</summary>
    /// <exception cref="IOException">The host system has no event descriptor left.</exception>
    public EventFile()
    {
        int descriptor = Create(0, CloseOnExecNonBlocking);
        if (descriptor < 0)
        {
            throw new IOException($"The host refuses an event descriptor: {Marshal.GetLastPInvokeErrorMessage()}.");
        }
        handle = new SafeFileHandle(descriptor, ownsHandle: true);
        Poll = new PollDescriptor { Descriptor = descriptor, Events = PollEvents.In };
    }

    /// <summary>What to poll for.</summary>
    public PollDescriptor Poll { get; }

    /// <summary>Makes the descriptor ready.</summary>
    public void Signal() => _ = Write(handle, 1, sizeof(ulong));

    /// <summary>Takes all signals back; does not block if there is none.</summary>
    public void Clear() => _ = Read(handle, out _, sizeof(ulong));

    /// <summary>Releases the descriptor.</summary>
    public void Dispose() => handle.Dispose();

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial int Create(uint initialValue, int flags);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint Write(SafeFileHandle file, in ulong value, nint count);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(SafeFileHandle file, out ulong value, nint count);
}
