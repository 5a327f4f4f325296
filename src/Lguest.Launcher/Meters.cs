// The Meter "Lguest": the sums over all machines of this process, alive or gone, so that every counter only ever grows.

using System.Diagnostics.Metrics;

namespace Lguest.Launcher;

// L:225 What does a Guest cost? A hypervisor sees everything that its Guest does, so it can count: exits by trap, hypercalls by number,
// page faults, instructions. The numbers go to the runtime's own meters, where every tool finds them; the monitor's `info` (Ctrl-A c)
// shows them, too.
internal static class Meters
{
    private static readonly Meter Meter = new("Lguest");
    private static readonly Lock Door = new();
    private static readonly HashSet<Machine> Machines = [];
    private static MachineStatistics gone = MachineStatistics.None;

    static Meters()
    {
        Meter.CreateObservableCounter("lguest.exits", static () => ByIndex(Total().ExitsByTrap, "trap"), "{exit}", "Returns from Guests to the Host, by trap number");
        Meter.CreateObservableCounter("lguest.hypercalls", static () => ByIndex(Total().HypercallsByNumber, "number"), "{call}", "Hypercalls, by number");
        Meter.CreateObservableCounter("lguest.page_faults", static () => Total().PageFaults, "{fault}", "Page faults of Guests");
        Meter.CreateObservableCounter("lguest.instructions", static () => Total().Instructions, "{instruction}", "Instructions executed by Guests");
    }

    /// <summary>Counts a machine in.</summary>
    public static void Add(Machine machine)
    {
        lock (Door)
        {
            Machines.Add(machine);
        }
    }

    /// <summary>Keeps the figures of a machine that ends.</summary>
    public static void Remove(Machine machine)
    {
        lock (Door)
        {
            Machines.Remove(machine);
            gone = gone.Plus(machine.Statistics);
        }
    }

    private static MachineStatistics Total()
    {
        lock (Door)
        {
            return Machines.Aggregate(gone, static (sum, machine) => sum.Plus(machine.Statistics));
        }
    }

    private static IEnumerable<Measurement<long>> ByIndex(IReadOnlyList<long> counts, string tag) => counts
        .Select((count, index) => (count, index))
        .Where(static pair => pair.count != 0)
        .Select(pair => new Measurement<long>(pair.count, new KeyValuePair<string, object?>(tag, pair.index)));
}
