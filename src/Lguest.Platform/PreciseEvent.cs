// A halted Guest sleeps until its next timer tick, and a timer tick of 300 microseconds must not come after a millisecond. The waits of
// the runtime count in milliseconds, so on Linux this file waits on an eventfd with ppoll, which counts in nanoseconds; elsewhere the
// runtime's own wait serves, later by up to its granularity but never early. Nobody polls.

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>An event that one thread waits for, with a deadline in nanoseconds; it resets itself when the wait ends.</summary>
/// <remarks>Any thread may set it; one thread at a time may wait. Setting it while nobody waits costs no system call.</remarks>
public sealed partial class PreciseEvent : IDisposable
{
    private const int Idle = 0;
    private const int Signalled = 1;
    private const int Waiting = 2;

    private const long NanosecondsPerSecond = 1_000_000_000;
    private const long NanosecondsPerMillisecond = 1_000_000;

    private readonly EventFile? eventFile = OperatingSystem.IsLinux() ? new EventFile() : null;
    private readonly object monitor = new();
    private int state;

    /// <summary>Makes an event that is not set.</summary>
    /// <exception cref="IOException">The host system has no event descriptor left.</exception>
    public PreciseEvent()
    {
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
                // A full barrier: what the caller looks at next must not have been read before, or a signal in between would be overwritten.
                Interlocked.Exchange(ref state, Idle);
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
        eventFile.Signal();
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
        PollDescriptor poll = eventFile.Poll;
        if (Poll(ref poll, 1, timeout, 0) > 0)
        {
            eventFile.Clear();
        }
    }

    [LibraryImport("libc", EntryPoint = "ppoll")]
    private static partial int Poll(ref PollDescriptor descriptors, nuint count, in TimeSpecification timeout, nint signalMask);

    private struct TimeSpecification
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
