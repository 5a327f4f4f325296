// A campaign: one hostile life after the other, each from a seed of its own, with a canary beside them and a watchdog behind. Test suite and
// benchmark run the same one and differ only in length. A failure names the seed of the life in which it happened.

using System.Diagnostics;
using Lguest.Host;
using Lguest.Platform;

namespace Lguest.Hostile;

/// <summary>What a campaign has brought.</summary>
/// <param name="Events">Things thrown.</param>
/// <param name="Lives">Guests that were born.</param>
/// <param name="ReceivedByCanary">Transfers into the canary's buffers.</param>
/// <param name="Deaths">How many died, by the format of their last words.</param>
/// <param name="Throws">How often each kind was thrown.</param>
internal sealed record HostileResult(long Events, long Lives, long ReceivedByCanary, IReadOnlyDictionary<string, long> Deaths, IReadOnlyList<long> Throws);

/// <summary>Throws events at a Host until there have been enough.</summary>
internal sealed class HostileCampaign
{
    /// <summary>The longest life; most are ended sooner by death.</summary>
    private const int LongestLife = 400;

    /// <summary>Events between two proofs of isolation in the middle of a life. Each life ends with one.</summary>
    private const int EventsBetweenProofs = 50;

    /// <summary>Lives between two looks at the canary.</summary>
    private const int LivesBetweenCanaries = 20;

    /// <summary>No event takes this long, whatever else the machine has to do.</summary>
    private static readonly TimeSpan Hang = TimeSpan.FromMinutes(1);

    private readonly long wanted;
    private readonly int seed;
    private readonly int threads;
    private readonly bool crossesProcesses;
    private readonly Dictionary<string, long> deaths = [];
    private readonly long[] throws = new long[Enum.GetValues<HostileThrow>().Length];
    private long events;
    private long lives;
    private volatile bool stopping;

    /// <summary>Plans a campaign.</summary>
    /// <param name="events">Events, at least 1.</param>
    /// <param name="seed">Seed; the same one brings the same throws with one thread.</param>
    /// <param name="threads">Pairs of hostile Guests at a time, each pair on a thread of its own, all on one network.</param>
    /// <param name="crossesProcesses">The Host offers what is bound to other processes as well, which takes a moment for each binding.</param>
    public HostileCampaign(long events, int seed, int threads = 1, bool crossesProcesses = false)
    {
        this.crossesProcesses = crossesProcesses;
        wanted = events;
        this.seed = seed;
        this.threads = threads;
    }

    /// <summary>Events thrown so far. May be asked from any thread.</summary>
    public long Events => Interlocked.Read(ref events);

    /// <summary>Runs to the end.</summary>
    /// <exception cref="HostileFailure">The Host threw, hung, let one Guest reach another, or let one die with a text of its own.</exception>
    public HostileResult Run()
    {
        string path = Path.GetTempFileName();
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
            file.SetLength(HostileLayout.SharedPages * 4096);
            using var network = new SharedFileMapping(file, HostileLayout.SharedPages);
            return Run(network);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private HostileResult Run(SharedFileMapping network)
    {
        var host = new LguestHost();
        host.Courier.CrossesProcesses = crossesProcesses;
        using var canary = new Canary(host, network, 0x9_0000);
        HostileFailure? failure = null;
        Thread[] workers =
        [
            .. Enumerable.Range(0, threads).Select(number => new Thread(() =>
            {
                try
                {
                    Live(host, network, canary, number);
                }
                catch (HostileFailure found)
                {
                    Interlocked.CompareExchange(ref failure, found, null);
                    stopping = true;
                }
            }) { IsBackground = true, Name = $"hostile {number}" }),
        ];
        Array.ForEach(workers, static worker => worker.Start());
        Watch(workers);
        if (failure is not null)
        {
            throw failure;
        }
        canary.Check();
        return new HostileResult(events, lives, canary.Received, deaths, throws);
    }

    /// <summary>Waits for the workers, as long as something happens.</summary>
    private void Watch(Thread[] workers)
    {
        long seen = -1;
        var sinceProgress = Stopwatch.StartNew();
        foreach (Thread worker in workers)
        {
            while (!worker.Join(TimeSpan.FromMilliseconds(50)))
            {
                long now = Events;
                if (now != seen)
                {
                    seen = now;
                    sinceProgress.Restart();
                }
                else if (sinceProgress.Elapsed > Hang)
                {
                    throw new HostileFailure($"The Host hangs after {now} events of seed {seed}.");
                }
            }
        }
    }

    private void Live(LguestHost host, SharedFileMapping network, Canary canary, int thread)
    {
        using var patience = new Patience();
        for (int life = thread; !stopping && Events < wanted; life += threads)
        {
            int lifeSeed = unchecked((seed * 1_000_003) + life);
            try
            {
                LivePair(host, network, patience, new Random(lifeSeed));
                if (life % LivesBetweenCanaries == 0)
                {
                    lock (canary)
                    {
                        canary.Check();
                    }
                }
            }
            catch (Exception error)
            {
                throw new HostileFailure($"Seed {seed}, life {life}: {error.Message}", error);
            }
        }
    }

    /// <summary>Two hostile Guests on one network, of whom now one, now the other throws.</summary>
    private void LivePair(LguestHost host, SharedFileMapping network, Patience patience, Random random)
    {
        using var one = new HostileGuest(host, network, patience, random);
        using var other = new HostileGuest(host, network, patience, random);
        for (int number = 1; number <= LongestLife && !stopping && Events < wanted; number++)
        {
            HostileGuest thrower = random.Next(2) == 0 && one.DeathReason is null || other.DeathReason is not null ? one : other;
            if (thrower.DeathReason is not null)
            {
                break;
            }
            HostileThrow what = thrower.Throw();
            Interlocked.Increment(ref throws[(int)what]);
            Interlocked.Increment(ref events);
            if (number % EventsBetweenProofs == 0)
            {
                Isolation.Check(thrower.Guest, thrower.Memory);
            }
        }
        Bury(one);
        Bury(other);
    }

    private void Bury(HostileGuest guest)
    {
        Isolation.Check(guest.Guest, guest.Memory);
        Interlocked.Increment(ref lives);
        if (guest.DeathReason is { } reason)
        {
            string format = LastWords.FormatOf(reason) ?? throw new HostileFailure($"No Guest dies like this: {reason}");
            lock (deaths)
            {
                deaths[format] = deaths.GetValueOrDefault(format) + 1;
            }
        }
    }
}
