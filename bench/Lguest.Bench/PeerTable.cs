// The figures of the comparison, and the arithmetic that makes a table of them: medians, ratios, and whether a goal is reached.

using System.Globalization;

namespace Lguest.Bench;

/// <summary>CPU seconds by workload and machine, and what each machine has printed.</summary>
internal sealed class PeerTable
{
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
    /// <param name="references">Machines that are only there to look at; whose columns follow those of ours and of QEMU.</param>
    /// <returns>False if machines have come to different results.</returns>
    public bool Print(IReadOnlyList<string> references)
    {
        PrintCells(["work", Peer.Lguest, Peer.Qemu, $"{Peer.Lguest} / {Peer.Qemu}", "goal", .. references, NativeShell.Name, $"part of {NativeShell.Name}", "goal"]);
        PrintCells(["---", .. Enumerable.Repeat("---:", references.Count + 7)]);
        PrintRow(PeerWorkload.Boot, references, null);
        foreach (PeerWorkload workload in PeerWorkload.All)
        {
            PrintRow(workload.Name, references, workload.NativeGoal);
        }
        bool same = true;
        foreach ((string workload, HashSet<string> texts) in printed.Where(static pair => pair.Value.Count > 1))
        {
            Console.Error.WriteLine($"bench: {workload}: the machines have come to different results: {string.Join(" | ", texts)}");
            same = false;
        }
        return same;
    }

    private void PrintRow(string workload, IReadOnlyList<string> references, double? nativeGoal)
    {
        double own = Median(workload, Peer.Lguest);
        double peer = Median(workload, Peer.Qemu);
        double native = Median(workload, NativeShell.Name);
        PrintCells(
        [
            workload, Format(own, "F3"), Format(peer, "F3"), Format(own / peer, "F2"), $"<= {Format(PeerWorkload.PeerGoal, "F1")}",
            .. references.Select(name => Format(Median(workload, name), "F3")),
            Format(native, "F3"), Format(native / own, "P0"), nativeGoal is double goal ? $">= {Format(goal, "P0")}" : "-",
        ]);
    }

    /// <summary>The middle one of a machine's figures, of an even number the mean of the two in the middle; not a number if there are none.</summary>
    private double Median(string workload, string column)
    {
        if (!seconds.TryGetValue((workload, column), out List<double>? figures))
        {
            return double.NaN;
        }
        double[] sorted = [.. figures.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private static void PrintCells(IReadOnlyList<string> cells) =>
        Console.WriteLine($"| {cells[0],-24} | {string.Join(" | ", cells.Skip(1).Select(static cell => $"{cell,14}"))} |");

    private static string Format(double figure, string format) => double.IsNaN(figure) ? "-" : figure.ToString(format, CultureInfo.InvariantCulture);
}
