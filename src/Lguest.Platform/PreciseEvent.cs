// A halted Guest sleeps until its next timer tick, and a timer tick of 300 microseconds must not come after a millisecond. The waits of
// the runtime count in milliseconds, so on Linux this file waits on an eventfd with ppoll, which counts in nanoseconds; elsewhere the
// runtime's own wait serves, later by up to its granularity but never early. Nobody polls.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>An event that one thread waits for, with a deadline in nanoseconds; it resets itself when the wait ends.</summary>
/// <remarks>Any thread may set it; one thread at a time may wait. Setting it while nobody waits costs no system call.</remarks>
public sealed partial class PreciseEvent : IDisposable
{
    private const int Idle = 0;
    private const int Signalled = 1;
    private const int Waiting = 2;

    private const int CloseOnExecNonBlocking = 0x8_0000 | 0x800;
    private const short PollIn = 1;
    private const long NanosecondsPerSecond = 1_000_000_000;
    private const long NanosecondsPerMillisecond = 1_000_000;

    private readonly SafeFileHandle? eventFile;
    private readonly object monitor = new();
    private int state;

    /// <summary>Makes an event that is not set.</summary>
    /// <exception cref="IOException">The host system has no event descriptor left.</exception>
    public PreciseEvent()
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }
        int descriptor = CreateEventFile(0, CloseOnExecNonBlocking);
        if (descriptor < 0)
        {
            throw new IOException($"The host refuses an event descriptor (error {Marshal.GetLastPInvokeError()}).");
        }
        eventFile = new SafeFileHandle(descriptor, ownsHandle: true);
    }

    /// <summary>Ends the present wait, or the next one at once.</summary>
    public void Set()
    {
        if (Interlocked.Exchange(ref state, Signalled) == Waiting)
        {
            WakeWaiter();
        }
    }

    /// <summary>Waits until the event is set or a moment of <see cref="MonotonicClock"/> has come.</summary>
    /// <param name="deadline">Nanoseconds; <see cref="MonotonicClock.Never"/> waits for the event alone.</param>
    /// <returns>True when the event was set; it is reset now.</returns>
    public bool Wait(long deadline)
    {
        while (true)
        {
            if (Interlocked.CompareExchange(ref state, Waiting, Idle) == Signalled)
            {
                Volatile.Write(ref state, Idle);
                return true;
            }
            long remaining = deadline == MonotonicClock.Never ? MonotonicClock.Never : deadline - MonotonicClock.Now;
            if (remaining > 0)
            {
                // A wake-up may be stale: it belonged to a wait that had just timed out. The state decides, not the wake-up.
                Sleep(remaining);
            }
            else if (Interlocked.CompareExchange(ref state, Idle, Waiting) == Waiting)
            {
                return false;
            }
        }
    }

    /// <summary>Releases the host's resources; nobody may use the event any more.</summary>
    public void Dispose() => eventFile?.Dispose();

    private void WakeWaiter()
    {
        if (eventFile is null)
        {
            lock (monitor)
            {
                Monitor.Pulse(monitor);
            }
            return;
        }
        _ = WriteEventFile(eventFile, 1, sizeof(ulong));
    }

    private void Sleep(long nanoseconds)
    {
        if (eventFile is null)
        {
            lock (monitor)
            {
                if (Volatile.Read(ref state) == Waiting)
                {
                    long milliseconds = nanoseconds == MonotonicClock.Never ? Timeout.Infinite
                        : Math.Min((nanoseconds + NanosecondsPerMillisecond - 1) / NanosecondsPerMillisecond, int.MaxValue);
                    Monitor.Wait(monitor, (int)milliseconds);
                }
            }
            return;
        }
        var timeout = new TimeSpecification
        {
            Seconds = (nint)Math.Min(nanoseconds / NanosecondsPerSecond, int.MaxValue),
            Nanoseconds = (nint)(nanoseconds % NanosecondsPerSecond),
        };
        var poll = new PollDescriptor { Descriptor = (int)eventFile.DangerousGetHandle(), Events = PollIn };
        if (Poll(ref poll, 1, timeout, 0) > 0)
        {
            _ = ReadEventFile(eventFile, out _, sizeof(ulong));
        }
    }

    [LibraryImport("libc", EntryPoint = "eventfd", SetLastError = true)]
    private static partial int CreateEventFile(uint initialValue, int flags);

    [LibraryImport("libc", EntryPoint = "ppoll")]
    private static partial int Poll(ref PollDescriptor descriptors, nuint count, in TimeSpecification timeout, nint signalMask);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint WriteEventFile(SafeFileHandle file, in ulong value, nint count);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint ReadEventFile(SafeFileHandle file, out ulong value, nint count);

    private struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short ReturnedEvents;
    }

    private struct TimeSpecification
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
