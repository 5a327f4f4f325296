// The tests are the masters of a chip's time: nothing passes until they say so, and then timers expire in their order.

namespace Lguest.Pc.Tests;

/// <summary>A time provider that stands still; its timestamps are nanoseconds.</summary>
internal sealed class ManualTime : TimeProvider
{
    private readonly List<ManualTimer> timers = [];

    /// <summary>Nanoseconds that have passed.</summary>
    public long Now { get; private set; }

    /// <summary>The moment at which it began.</summary>
    public DateTimeOffset Start { get; init; } = new(2007, 10, 9, 20, 30, 58, TimeSpan.Zero);

    public override long TimestampFrequency => 1_000_000_000;

    public override long GetTimestamp() => Now;

    public override DateTimeOffset GetUtcNow() => Start.AddTicks(Now / 100);

    /// <summary>Lets time pass.</summary>
    public void Advance(long nanoseconds)
    {
        long end = Now + nanoseconds;
        while (timers.Where(timer => timer.Due <= end).MinBy(static timer => timer.Due) is { } next)
        {
            Now = Math.Max(Now, next.Due);
            next.Due = long.MaxValue;
            next.Expire();
        }
        Now = end;
    }

    /// <summary>Lets time pass on a busy host: timers expire at the next <see cref="Advance"/> only.</summary>
    public void AdvanceBeforeTimers(long nanoseconds) => Now += nanoseconds;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new ManualTimer(this, () => callback(state));
        timer.Change(dueTime, period);
        timers.Add(timer);
        return timer;
    }

    private sealed class ManualTimer(ManualTime time, Action expired) : ITimer
    {
        public long Due { get; set; } = long.MaxValue;

        public void Expire() => expired();

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            Due = dueTime == Timeout.InfiniteTimeSpan ? long.MaxValue : time.Now + (dueTime.Ticks * 100);
            return true;
        }

        public void Dispose() => Due = long.MaxValue;

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }
    }
}

/// <summary>A wire that remembers.</summary>
internal sealed class RecordingLine : IInterruptLine
{
    /// <summary>The present level.</summary>
    public bool Level { get; private set; }

    /// <summary>Rising edges so far.</summary>
    public int Rises { get; private set; }

    public void Set(bool level)
    {
        Rises += level && !Level ? 1 : 0;
        Level = level;
    }
}
