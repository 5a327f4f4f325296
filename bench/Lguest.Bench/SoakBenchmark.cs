// Hours of the kind of work that compiling is: text made, sorted, packed and unpacked, numbers in floating point, a program for every few
// lines. The same each time, so that the sums must be the same each time: those of the first turn, which the interpreter does. What is
// looked for is what only time brings out: a sum that differs once in a million blocks, a cache that only grows.

using System.Diagnostics;
using System.Text.RegularExpressions;
using Lguest.Launcher;

namespace Lguest.Bench;

/// <summary>The same work again and again, with its sums and the process's memory.</summary>
internal static partial class SoakBenchmark
{
    private const int UsualMinutes = 60;

    private const string Work =
        "awk 'BEGIN{for(i=0;i<4000;i++) print i*7919%4001, i*i/7, \"line\" i}' > /tmp/text; "
        + "sort -n /tmp/text > /tmp/sorted; gzip -9 -c /tmp/sorted | tee /tmp/packed | gunzip -c | cmp - /tmp/sorted && "
        + "i=0; n=0; while [ $i -lt 40 ]; do n=$((n + $(head -n $i /tmp/sorted | wc -c))); i=$((i+1)); done; "
        + "echo \"SUM $n $(cat /tmp/text /tmp/sorted | sha256sum | cut -c1-32)\"";

    [GeneratedRegex(@"SUM \d+ [0-9a-f]{32}")]
    private static partial Regex SumPattern { get; }

    /// <summary>Runs for a number of minutes.</summary>
    /// <returns>Exit status: 1 when a sum differed, or there is no Guest.</returns>
    public static async Task<int> RunAsync(string? minutes)
    {
        double wanted = UsualMinutes;
        if (minutes is not null && (!double.TryParse(minutes, out wanted) || wanted <= 0))
        {
            Console.Error.WriteLine($"bench: soak {minutes}: a number of minutes above 0 is wanted");
            return 1;
        }
        if (BenchGuest.FindFolder() is not string folder)
        {
            return 1;
        }
        string expected;
        await using (BenchGuest reference = await BenchGuest.StartAsync(folder, Engine.Interpreter))
        {
            expected = await TurnAsync(reference);
        }
        Console.WriteLine($"soak: the interpreter says {expected}");
        await using BenchGuest guest = await BenchGuest.StartAsync(folder, Engine.Auto);
        var watch = Stopwatch.StartNew();
        TimeSpan lastReport = TimeSpan.Zero;
        for (int turn = 1; ; turn++)
        {
            string sum = await TurnAsync(guest);
            if (sum != expected)
            {
                Console.WriteLine($"soak: turn {turn} says {sum}");
                return 1;
            }
            bool over = watch.Elapsed.TotalMinutes >= wanted;
            if (over || watch.Elapsed - lastReport > TimeSpan.FromMinutes(1))
            {
                lastReport = watch.Elapsed;
                Console.WriteLine($"soak: {watch.Elapsed:hh\\:mm\\:ss}, {turn} turns alike, {guest.Machine.Statistics.Instructions / 1e9:F1} G instructions, "
                    + $"{Environment.WorkingSet >> 20} MiB resident, {GC.GetTotalMemory(forceFullCollection: false) >> 20} of them objects, engine {guest.Machine.Engine.ToString().ToLowerInvariant()}");
            }
            if (over)
            {
                return 0;
            }
        }
    }

    private static async Task<string> TurnAsync(BenchGuest guest)
    {
        // What is looked for is memory that grows: the record of the console must not be it.
        guest.ForgetShown();
        await guest.ExecuteAsync(Work);
        return SumPattern.Match(guest.Shown).Value;
    }
}
