// What time it is for a Guest, and who wakes it. Usually the host's clock and a thread that watches it. Behind this door time can also be
// something else: two Guests whose instructions are compared must see the same time at the same instruction, which no clock gives.

using Lguest.Platform;

namespace Lguest.Host;

/// <summary>The time that one Guest lives in.</summary>
internal abstract class GuestTime : IDisposable
{
    /// <summary>Nanoseconds since an arbitrary moment; monotonic.</summary>
    public abstract long Now { get; }

    /// <summary>The wall clock.</summary>
    public abstract DateTime UtcNow { get; }

    /// <summary>Sets the moment of <see cref="Now"/> at which the Guest is kicked; <see cref="MonotonicClock.Never"/> for none.</summary>
    public abstract void Arm(long moment);

    /// <summary>Waits until an event is set or a moment of <see cref="Now"/> has come.</summary>
    public abstract void Wait(PreciseEvent wake, long deadline);

    public abstract void Dispose();
}

/// <summary>The host's time.</summary>
/// <param name="expired">Called, on a thread of its own, at the armed moment.</param>
/// <param name="name">Name of that thread, for debuggers.</param>
internal sealed class HostTime(Action expired, string name) : GuestTime
{
    private readonly PreciseTimer timer = new(expired, name);

    public override long Now => MonotonicClock.Now;

    public override DateTime UtcNow => DateTime.UtcNow;

    public override void Arm(long moment) => timer.Arm(moment);

    public override void Wait(PreciseEvent wake, long deadline) => wake.Wait(deadline);

    public override void Dispose() => timer.Dispose();
}
