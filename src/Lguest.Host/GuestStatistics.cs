namespace Lguest.Host;

/// <summary>What a Guest has made the Host do, counted by the Guest's thread.</summary>
/// <remarks>Other threads may read at any time; a value may then be a moment old.</remarks>
public sealed class GuestStatistics
{
    private readonly long[] exitsByTrap = new long[Switcher.TrapInSwitcher + 1];
    private readonly long[] hypercallsByNumber = new long[(int)Hypercall.LoadTls + 1];

    /// <summary>Returns from the Guest by trap number: 0 to 255, and 256 for a failed entry.</summary>
    public ReadOnlySpan<long> ExitsByTrap => exitsByTrap;

    /// <summary>Hypercalls, direct and from the ring, by <see cref="Hypercall"/> number.</summary>
    public ReadOnlySpan<long> HypercallsByNumber => hypercallsByNumber;

    /// <summary>Page faults that the shadow page tables caused and the Host served.</summary>
    public long PageFaultsServed { get; internal set; }

    /// <summary>Page faults that were the Guest's own.</summary>
    public long PageFaultsReflected { get; internal set; }

    /// <summary>Virtual interrupts delivered.</summary>
    public long InterruptsInjected { get; internal set; }

    /// <summary>I/O instructions emulated.</summary>
    public long PortAccesses { get; internal set; }

    /// <summary>Shadow page tables that exist now.</summary>
    public long ShadowPages { get; internal set; }

    internal void CountExit(uint trap) => exitsByTrap[trap]++;

    internal void CountHypercall(uint number)
    {
        if (number < hypercallsByNumber.Length)
        {
            hypercallsByNumber[number]++;
        }
    }
}
