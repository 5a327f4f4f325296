// Device models take their time from a TimeProvider, so that tests can be its master. The runtime's own wakes timers on a grid of
// milliseconds; a Guest's timer tick wants better, so this one gives each timer a PreciseTimer.

namespace Lguest.Platform;

/// <summary>The host's time, with timestamps of <see cref="MonotonicClock"/> and one-shot timers of sub-millisecond accuracy.</summary>
public sealed class PreciseTimeProvider : TimeProvider
{
    /// <summary>The only one.</summary>
    public static PreciseTimeProvider Instance { get; } = new();

    private PreciseTimeProvider()
    {
    }

    /// <summary>Nanoseconds.</summary>
    public override long TimestampFrequency => 1_000_000_000;

    /// <inheritdoc/>
    public override long GetTimestamp() => MonotonicClock.Now;

    /// <summary>Makes a one-shot timer; its callback runs on a thread of its own.</summary>
    /// <exception cref="NotSupportedException">A period was asked for.</exception>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new OneShot(() => callback(state));
        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class OneShot(Action expired) : ITimer
    {
        private readonly PreciseTimer timer = new(expired, "device timer");

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (period != Timeout.InfiniteTimeSpan)
            {
                throw new NotSupportedException("These timers expire once.");
            }
            timer.Arm(dueTime == Timeout.InfiniteTimeSpan
                ? MonotonicClock.Never
                : MonotonicClock.Now + (dueTime.Ticks * TimeSpan.NanosecondsPerTick));
            return true;
        }

        public void Dispose() => timer.Dispose();

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
