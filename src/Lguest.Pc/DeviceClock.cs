// Chips count in ticks of their own oscillators, the host in nanoseconds. All of a machine's oscillators started at the same moment and
// none of them drifts against another.

namespace Lguest.Pc;

/// <summary>Ticks of an oscillator since it was made.</summary>
/// <param name="time">The host's time.</param>
/// <param name="frequency">Ticks in a second.</param>
internal sealed class DeviceClock(TimeProvider time, long frequency)
{
    private readonly long start = time.GetTimestamp();

    /// <summary>Ticks until now.</summary>
    public long Now => (long)((Int128)(time.GetTimestamp() - start) * frequency / time.TimestampFrequency);

    /// <summary>How long it takes until a tick, rounded up; zero when it has passed.</summary>
    public TimeSpan Until(long tick)
    {
        // The host's timestamp at which Now says tick, and then what is left of it.
        Int128 moment = (((Int128)tick * time.TimestampFrequency) + frequency - 1) / frequency;
        Int128 left = moment - (time.GetTimestamp() - start);
        return left <= 0 ? TimeSpan.Zero
            : new TimeSpan((long)(((left * TimeSpan.TicksPerSecond) + time.TimestampFrequency - 1) / time.TimestampFrequency));
    }
}
