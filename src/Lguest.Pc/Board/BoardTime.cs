// The host's time as the chips of one board see it, and their timers. Somebody has to be awake when a timer is due, and to wake a thread of the
// host costs as much as all that an idle Guest does in a tick. So a Guest that is halted waits for its timers itself, and only beside one that
// computes a thread watches the clock.

using Lguest.Platform;

namespace Lguest.Pc.Board;

/// <summary>Time in nanoseconds of <see cref="MonotonicClock"/>, with one-shot timers of sub-millisecond accuracy.</summary>
/// <remarks>Thread-safe, but <see cref="Sleep"/> and <see cref="Watch"/> are for the thread that runs the Guest.</remarks>
internal sealed class BoardTime : TimeProvider, IDisposable
{
    private readonly Lock gate = new();
    private readonly List<OneShot> timers = [];
    private readonly PreciseEvent wake = new();
    private readonly PreciseTimer watch;
    private bool isWatched = true;
    private long sleepingUntil;

    /// <summary>Makes a time that is watched.</summary>
    public BoardTime() => watch = new PreciseTimer(OnWatch, "board timers");

    /// <summary>Nanoseconds.</summary>
    public override long TimestampFrequency => 1_000_000_000;

    private long NextDue
    {
        get
        {
            long next = MonotonicClock.Never;
            foreach (OneShot timer in timers)
            {
                next = Math.Min(next, timer.Due);
            }
            return next;
        }
    }

    /// <inheritdoc/>
    public override long GetTimestamp() => MonotonicClock.Now;

    /// <summary>Makes a one-shot timer; its callback runs on a sleeping Guest's thread or on the one that watches, and must not block.</summary>
    /// <exception cref="NotSupportedException">A period was asked for.</exception>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new OneShot(this, () => callback(state));
        lock (gate)
        {
            timers.Add(timer);
        }
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>Ends the present <see cref="Sleep"/>, or the next one at once. May be called from any thread.</summary>
    public void Wake() => wake.Set();

    /// <summary>Waits until somebody wakes the Guest, or else expires the timers that are due next. Nobody watches them from now on.</summary>
    public void Sleep()
    {
        long until;
        lock (gate)
        {
            isWatched = false;
            sleepingUntil = until = NextDue;
        }
        bool woken = wake.Wait(until);
        lock (gate)
        {
            sleepingUntil = 0;
        }
        if (!woken)
        {
            Expire();
        }
    }

    /// <summary>Expires the timers that are due, and lets a thread watch the others until the next <see cref="Sleep"/>.</summary>
    public void Watch()
    {
        lock (gate)
        {
            isWatched = true;
        }
        Expire();
        WatchNext();
    }

    /// <summary>Ends the watching. Nobody may use the time any more.</summary>
    public void Dispose()
    {
        watch.Dispose();
        wake.Dispose();
    }

    private void OnWatch()
    {
        lock (gate)
        {
            // A Guest that goes to sleep does not say so to this thread: that would wake it.
            if (!isWatched)
            {
                return;
            }
        }
        Expire();
        WatchNext();
    }

    private void WatchNext()
    {
        lock (gate)
        {
            if (isWatched)
            {
                watch.Arm(NextDue);
            }
        }
    }

    private void Expire()
    {
        long now = MonotonicClock.Now;
        // Outside the gate: a timer that expires locks its chip, and a locked chip changes its timer.
        while (TakeDue(now) is { } timer)
        {
            timer.Expired();
        }
    }

    private OneShot? TakeDue(long now)
    {
        lock (gate)
        {
            foreach (OneShot timer in timers)
            {
                if (timer.Due <= now)
                {
                    timer.Due = MonotonicClock.Never;
                    return timer;
                }
            }
            return null;
        }
    }

    private void Change(OneShot timer, long due)
    {
        lock (gate)
        {
            timer.Due = due;
            if (isWatched)
            {
                watch.Arm(NextDue);
            }
            else if (due < sleepingUntil)
            {
                wake.Set();
            }
        }
    }

    private sealed class OneShot(BoardTime time, Action expired) : ITimer
    {
        public Action Expired => expired;

        /// <summary>Guarded by the gate.</summary>
        public long Due { get; set; } = MonotonicClock.Never;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (period != Timeout.InfiniteTimeSpan)
            {
                throw new NotSupportedException("These timers expire once.");
            }
            time.Change(this, dueTime == Timeout.InfiniteTimeSpan
                ? MonotonicClock.Never
                : MonotonicClock.Now + (dueTime.Ticks * TimeSpan.NanosecondsPerTick));
            return true;
        }

        public void Dispose() => Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
