// The figures of the comparison, and the arithmetic that makes a table of them: medians, ratios, and whether a goal is reached.

using System.Globalization;

namespace Lguest.Bench;

/// <summary>CPU seconds by workload and machine, and what each machine has printed.</summary>
internal sealed class PeerTable
{
    public const string Lguest = "lguest";
    public const string Qemu = "QEMU";
    public const string Native = "native";

    private readonly Dictionary<(string Workload, string Column), List<double>> seconds = [];
    private readonly Dictionary<string, HashSet<string>> printed = [];

    /// <summary>Adds one measurement.</summary>
    /// <param name="workload">The name of the work.</param>
    /// <param name="column">The machine.</param>
    /// <param name="cpuSeconds">What it took.</param>
    /// <param name="text">What the work has printed: the same in each machine, or one of them is wrong.</param>
    public void Add(string workload, string column, double cpuSeconds, string text)
    {
        if (!seconds.TryGetValue((workload, column), out List<double>? list))
        {
            seconds[(workload, column)] = list = [];
        }
        list.Add(cpuSeconds);
        if (!printed.TryGetValue(workload, out HashSet<string>? texts))
        {
            printed[workload] = texts = [];
        }
        texts.Add(text);
    }

    /// <summary>Prints the table.</summary>
    /// <returns>False if machines have come to different results.</returns>
    public bool Print()
    {
        PrintCells("work", Lguest, Qemu, $"{Lguest} / {Qemu}", "goal", Native, $"part of {Native}", "goal");
        PrintCells("---", "---:", "---:", "---:", "---:", "---:", "---:", "---:");
        PrintRow(PeerWorkload.Boot, null);
        foreach (PeerWorkload workload in PeerWorkload.All)
        {
            PrintRow(workload.Name, workload.NativeGoal);
        }
        bool same = true;
        foreach ((string workload, HashSet<string> texts) in printed.Where(static pair => pair.Value.Count > 1))
        {
            Console.Error.WriteLine($"bench: {workload}: the machines have come to different results: {string.Join(" | ", texts)}");
            same = false;
        }
        return same;
    }

    /// <summary>The middle one of some figures; of an even number the mean of the two in the middle.</summary>
    private static double Median(List<double> figures)
    {
        double[] sorted = [.. figures.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private void PrintRow(string workload, double? nativeGoal)
    {
        double own = Median(seconds[(workload, Lguest)]);
        double peer = Median(seconds[(workload, Qemu)]);
        string[] native = ["-", "-", "-"];
        if (nativeGoal is double goal)
        {
            double best = Median(seconds[(workload, Native)]);
            native = [Format(best, "F3"), Format(best / own, "P0"), $">= {Format(goal, "P0")}"];
        }
        PrintCells([workload, Format(own, "F3"), Format(peer, "F3"), Format(own / peer, "F2"), $"<= {Format(PeerWorkload.PeerGoal, "F1")}", .. native]);
    }

    private static void PrintCells(params string[] cells) =>
        Console.WriteLine($"| {cells[0],-24} | {string.Join(" | ", cells[1..].Select(static cell => $"{cell,14}"))} |");

    private static string Format(double figure, string format) => figure.ToString(format, CultureInfo.InvariantCulture);
}
