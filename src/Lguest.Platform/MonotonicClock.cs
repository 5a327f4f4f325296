// One clock for everything that waits or counts: nanoseconds that never run backwards. The processor's time-stamp counter, the Guest's
// one-shot timer and the deadlines of sleeping threads all read it, so that they agree with each other.

using System.Diagnostics;

namespace Lguest.Platform;

/// <summary>Nanoseconds since an arbitrary moment; monotonic.</summary>
public static class MonotonicClock
{
    /// <summary>A deadline that never comes.</summary>
    public const long Never = long.MaxValue;

    private static readonly double NanosecondsPerTick = 1_000_000_000.0 / Stopwatch.Frequency;

    /// <summary>Current time in nanoseconds.</summary>
    public static long Now => Stopwatch.Frequency == 1_000_000_000
        ? Stopwatch.GetTimestamp()
        : (long)(Stopwatch.GetTimestamp() * NanosecondsPerTick);
}
