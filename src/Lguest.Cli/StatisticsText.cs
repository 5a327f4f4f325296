// The monitor's `info`.

using System.Globalization;
using System.Text;
using Lguest.Host;
using Lguest.Launcher;

namespace Lguest.Cli;

internal static class StatisticsText
{
    public static string Describe(Machine machine)
    {
        MachineStatistics statistics = machine.Statistics;
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"engine        {machine.Engine.ToString().ToLowerInvariant()}\n");
        text.Append(CultureInfo.InvariantCulture, $"state         {(machine.IsPaused ? "paused" : "running")}\n");
        text.Append(CultureInfo.InvariantCulture, $"instructions  {statistics.Instructions}\n");
        text.Append(CultureInfo.InvariantCulture, $"page faults   {statistics.PageFaults}\n");
        AppendCounts("exits by trap", statistics.ExitsByTrap, static number => number.ToString(CultureInfo.InvariantCulture));
        AppendCounts("hypercalls", statistics.HypercallsByNumber, static number => ((Hypercall)number).ToString());
        return text.ToString();

        void AppendCounts(string title, IReadOnlyList<long> counts, Func<int, string> name)
        {
            text.Append(CultureInfo.InvariantCulture, $"{title}\n");
            for (int i = 0; i < counts.Count; i++)
            {
                if (counts[i] != 0)
                {
                    text.Append(CultureInfo.InvariantCulture, $"  {name(i),-16} {counts[i]}\n");
                }
            }
        }
    }
}
