// While a Guest computes, somebody else must watch the clock for it. Each running Guest has one of these: a thread that sleeps until the
// deadline and then calls back. Guests move their deadline far more often than it comes, so moving it later only stores a number: the
// thread finds out when it wakes at the old moment.

namespace Lguest.Platform;

/// <summary>A one-shot timer of sub-millisecond accuracy with a thread of its own, started at the first <see cref="Arm"/>.</summary>
/// <remarks>Thread-safe. The callback runs on the timer's thread and must not block; it may be called once more after a change of the
/// deadline that races with the expiry.</remarks>
public sealed class PreciseTimer : IDisposable
{
    private readonly Lock gate = new();
    private readonly PreciseEvent changed = new();
    private readonly Action expired;
    private readonly string name;
    private Thread? thread;
    private long deadline = MonotonicClock.Never;
    private long sleepingUntil = MonotonicClock.Never;
    private bool stopping;

    /// <summary>Makes a timer that is not armed.</summary>
    /// <param name="expired">Called at each expiry.</param>
    /// <param name="name">Name of the thread, for debuggers.</param>
    public PreciseTimer(Action expired, string name)
    {
        ArgumentNullException.ThrowIfNull(expired);
        this.expired = expired;
        this.name = name;
    }

    /// <summary>Sets the deadline, in nanoseconds of <see cref="MonotonicClock"/>, replacing an earlier one.</summary>
    /// <param name="moment">The deadline; <see cref="MonotonicClock.Never"/> disarms.</param>
    public void Arm(long moment)
    {
        bool wake;
        lock (gate)
        {
            deadline = moment;
            wake = moment < sleepingUntil && !stopping;
            if (wake)
            {
                sleepingUntil = moment;
                if (thread is null)
                {
                    thread = new Thread(Watch) { IsBackground = true, Name = name };
                    thread.Start();
                }
            }
        }
        if (wake)
        {
            changed.Set();
        }
    }

    /// <summary>Stops the thread and waits for its end. Must not be called from the callback.</summary>
    public void Dispose()
    {
        Thread? running;
        lock (gate)
        {
            stopping = true;
            running = thread;
        }
        if (running is not null)
        {
            changed.Set();
            running.Join();
        }
        changed.Dispose();
    }

    private void Watch()
    {
        while (true)
        {
            long until;
            bool due;
            lock (gate)
            {
                if (stopping)
                {
                    return;
                }
                due = deadline <= MonotonicClock.Now;
                if (due)
                {
                    deadline = MonotonicClock.Never;
                }
                sleepingUntil = until = deadline;
            }
            if (due)
            {
                expired();
            }
            changed.Wait(until);
        }
    }
}
