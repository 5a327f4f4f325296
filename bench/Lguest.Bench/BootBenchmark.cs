// Boots the default Guest to its shell prompt and says what that took: seconds, instructions, exits by kind, memory.

using System.Diagnostics;
using Lguest.Host;
using Lguest.Launcher;

namespace Lguest.Bench;

/// <summary>The boot of the default Guest, several times in one process: the first round pays for compiling the Host.</summary>
internal static class BootBenchmark
{
    private const int Rounds = 3;

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 when there is no Guest to boot.</returns>
    public static async Task<int> RunAsync()
    {
        if (BenchGuest.FindFolder() is not string folder)
        {
            return 1;
        }
        for (int round = 1; round <= Rounds; round++)
        {
            await BootAsync(folder, round);
        }
        return 0;
    }

    private static async Task BootAsync(string folder, int round)
    {
        TimeSpan cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        var watch = Stopwatch.StartNew();
        await using BenchGuest guest = await BenchGuest.StartAsync(folder);
        watch.Stop();
        MachineStatistics statistics = guest.Machine.Statistics;
        Process process = Process.GetCurrentProcess();
        double cpu = (process.TotalProcessorTime - cpuBefore).TotalSeconds;
        Console.WriteLine($"boot {round}: {watch.Elapsed.TotalSeconds:F2} s, {cpu:F2} s CPU, {statistics.Instructions / 1e6:F1} M instructions, "
            + $"{statistics.Instructions / cpu / 1e6:F1} MIPS of CPU time, {process.WorkingSet64 >> 20} MiB resident (64 MiB Guest)");
        if (round == Rounds)
        {
            PrintCounts("exits by trap", statistics.ExitsByTrap, static number => number.ToString());
            PrintCounts("hypercalls", statistics.HypercallsByNumber, static number => ((Hypercall)number).ToString());
            Console.WriteLine($"page faults: {statistics.PageFaults}");
        }
    }

    private static void PrintCounts(string title, IReadOnlyList<long> counts, Func<int, string> name)
    {
        IEnumerable<string> parts = counts.Index().Where(static pair => pair.Item != 0).Select(pair => $"{name(pair.Index)} {pair.Item}");
        Console.WriteLine($"{title}: {string.Join(", ", parts)}");
    }
}
