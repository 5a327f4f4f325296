// The long hostile campaign: at least ten million things that no Guest should do, and what the Guests died of.

using System.Diagnostics;
using Lguest.Hostile;

namespace Lguest.Bench;

/// <summary>Runs a hostile campaign and prints what came of it.</summary>
internal static class HostileBenchmark
{
    private const string Usage = "usage: bench hostile [--events N] [--seed S] [--threads T]";

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 for bad arguments, and when the Host failed.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        long events = 10_000_000;
        int seed = Random.Shared.Next();
        int threads = 1;
        for (; arguments.Length > 0; arguments = arguments[2..])
        {
            bool good = arguments.Length > 1 && arguments[0] switch
            {
                "--events" => long.TryParse(arguments[1], out events) && events > 0,
                "--seed" => int.TryParse(arguments[1], out seed),
                "--threads" => int.TryParse(arguments[1], out threads) && threads is >= 1 and <= 7,
                _ => false,
            };
            if (!good)
            {
                Console.Error.WriteLine($"bench: '{string.Join(' ', arguments[..Math.Min(2, arguments.Length)]!)}' is not understood; {Usage}");
                return 1;
            }
        }
        Console.WriteLine($"hostile: seed {seed}, {events} events, {threads} thread(s)");
        var watch = Stopwatch.StartNew();
        try
        {
            HostileResult result = new HostileCampaign(events, seed, threads).Run();
            Print(result, watch.Elapsed);
            return 0;
        }
        catch (HostileFailure failure)
        {
            Console.Error.WriteLine($"bench: {failure.Message}\n{failure.InnerException}");
            return 1;
        }
    }

    private static void Print(HostileResult result, TimeSpan time)
    {
        Console.WriteLine($"hostile: {result.Events} events in {time.TotalSeconds:F1} s ({result.Events / time.TotalSeconds:F0}/s), "
            + $"{result.Lives} lives, {result.Deaths.Values.Sum()} deaths, {result.ReceivedByCanary} transfers to the canary, which is well");
        foreach (HostileThrow what in Enum.GetValues<HostileThrow>())
        {
            Console.WriteLine($"  threw {what,-14} {result.Throws[(int)what],10}");
        }
        foreach ((string format, long count) in result.Deaths.OrderByDescending(static pair => pair.Value))
        {
            Console.WriteLine($"  died  {count,10}  {format}");
        }
    }
}
