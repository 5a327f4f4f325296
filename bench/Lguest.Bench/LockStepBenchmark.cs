// Two Guests in lock-step for as long as one likes: many boots, each with another seed, another beat of stops and another threshold of the
// translator.

using System.Diagnostics;
using Lguest.LockStep;

namespace Lguest.Bench;

/// <summary>Compares the engines instruction count by instruction count.</summary>
internal static class LockStepBenchmark
{
    private const string Usage = "usage: bench lockstep [--seed S] [--boots N] [--distance INSTRUCTIONS] [--after EXECUTIONS] [--limit INSTRUCTIONS] [--rounds N] [--show 1]";

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 for bad arguments, without a Guest, and at a difference.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        int seed = Random.Shared.Next();
        int boots = 1;
        int distance = 0;
        int after = -1;
        int rounds = 1;
        long limit = long.MaxValue;
        int show = 0;
        for (; arguments.Length > 0; arguments = arguments[2..])
        {
            bool good = arguments.Length > 1 && arguments[0] switch
            {
                "--seed" => int.TryParse(arguments[1], out seed),
                "--boots" => int.TryParse(arguments[1], out boots) && boots > 0,
                "--distance" => int.TryParse(arguments[1], out distance) && distance > 0,
                "--after" => int.TryParse(arguments[1], out after) && after >= 0,
                "--limit" => long.TryParse(arguments[1], out limit) && limit > 0,
                "--rounds" => int.TryParse(arguments[1], out rounds) && rounds >= 0,
                "--show" => int.TryParse(arguments[1], out show),
                _ => false,
            };
            if (!good)
            {
                Console.Error.WriteLine($"bench: '{string.Join(' ', arguments[..Math.Min(2, arguments.Length)]!)}' is not understood; {Usage}");
                return 1;
            }
        }
        if (BenchGuest.FindFolder() is not string folder)
        {
            return 1;
        }
        for (int boot = 0; boot < boots; boot++, seed++)
        {
            var random = new Random(seed);
            var run = new LockStepRun(Path.Combine(folder, "vmlinux"), Path.Combine(folder, "initramfs.cpio"), seed)
            {
                LongestDistance = distance > 0 ? distance : 1 << random.Next(8, 20),
                TranslateAfter = after >= 0 ? after : random.Next(0, 3) * 8,
                Limit = limit,
                Rounds = rounds,
                Thorough = true,
                Shown = show > 0 ? Console.Write : null,
            };
            Console.WriteLine($"lockstep: seed {seed}, stops up to {run.LongestDistance} instructions apart, blocks translated after {run.TranslateAfter} executions");
            var watch = Stopwatch.StartNew();
            LockStepResult result = run.Run();
            if (result.Report.Length > 0)
            {
                Console.WriteLine(result.Report);
                return 1;
            }
            Console.WriteLine($"lockstep: {result.Instructions / 1e6:F1} M instructions alike at {result.Stops} stops, memory at {result.MemoryComparisons}; "
                + $"{watch.Elapsed.TotalSeconds:F1} s");
        }
        return 0;
    }
}
