// Many hostile programs never end. Whoever runs one has little patience: a timer of microseconds, since a campaign runs hundreds of thousands.

using Lguest.Platform;

namespace Lguest.Hostile;

/// <summary>Ends what runs too long. For one thread.</summary>
internal sealed class Patience : IDisposable
{
    private const long Nanoseconds = 300_000;

    private readonly PreciseTimer timer;
    private CancellationTokenSource? running;

    public Patience() => timer = new PreciseTimer(() => Volatile.Read(ref running)?.Cancel(), "hostile patience");

    /// <summary>Runs something, and cancels it when it has had its time.</summary>
    public void Run(Action<CancellationToken> run)
    {
        // Not disposed: the timer may cancel it a moment after its end.
        var source = new CancellationTokenSource();
        Volatile.Write(ref running, source);
        timer.Arm(MonotonicClock.Now + Nanoseconds);
        run(source.Token);
        timer.Arm(MonotonicClock.Never);
    }

    public void Dispose() => timer.Dispose();
}
