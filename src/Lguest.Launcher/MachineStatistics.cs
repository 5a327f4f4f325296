// What a Guest costs, as figures: for the monitor, for tests, and through one Meter for whatever watches the process.

using Lguest.Host;

namespace Lguest.Launcher;

/// <summary>Counts of what a Guest has made the Host and the processor do, taken at one moment.</summary>
public sealed record MachineStatistics
{
    /// <summary>Returns from the Guest to the Host by trap number, 0 to 256 (ABI 7.1).</summary>
    public required IReadOnlyList<long> ExitsByTrap { get; init; }

    /// <summary>Hypercalls, direct and from the ring, by number (ABI 5.4).</summary>
    public required IReadOnlyList<long> HypercallsByNumber { get; init; }

    /// <summary>Page faults, those that the Host served and those that were the Guest's own.</summary>
    public required long PageFaults { get; init; }

    /// <summary>Instructions executed.</summary>
    public required long Instructions { get; init; }

    internal static MachineStatistics None { get; } = new() { ExitsByTrap = [], HypercallsByNumber = [], PageFaults = 0, Instructions = 0 };

    internal static MachineStatistics Of(LguestDevice lguest) => lguest.Statistics is not GuestStatistics guest ? None : new MachineStatistics
    {
        ExitsByTrap = guest.ExitsByTrap.ToArray(),
        HypercallsByNumber = guest.HypercallsByNumber.ToArray(),
        PageFaults = guest.PageFaultsServed + guest.PageFaultsReflected,
        Instructions = lguest.Processor?.InstructionCount ?? 0,
    };

    internal MachineStatistics Plus(MachineStatistics other) => new()
    {
        ExitsByTrap = Plus(ExitsByTrap, other.ExitsByTrap),
        HypercallsByNumber = Plus(HypercallsByNumber, other.HypercallsByNumber),
        PageFaults = PageFaults + other.PageFaults,
        Instructions = Instructions + other.Instructions,
    };

    private static long[] Plus(IReadOnlyList<long> left, IReadOnlyList<long> right) =>
        [.. Enumerable.Range(0, Math.Max(left.Count, right.Count)).Select(i => left.ElementAtOrDefault(i) + right.ElementAtOrDefault(i))];
}
