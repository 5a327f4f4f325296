using Lguest.X86;
using Lguest.X86.Memory;

namespace Lguest.Host;

/// <summary>What a Launcher tells about the Guest that it has prepared (ABI 3.2).</summary>
public sealed record InitializeRequest
{
    /// <summary>The machine whose first frames hold the Guest's RAM and device pages, as its Launcher has filled them.</summary>
    /// <remarks>The Host takes its own pages from the arena behind them: <see cref="LguestAbi.ArenaFrames"/> always suffice.
    /// Whoever made the memory releases it, after closing the device.</remarks>
    public required MachineMemory Memory { get; init; }

    /// <summary>Pages that the Guest may touch (pfn_limit).</summary>
    public required uint PageLimit { get; init; }

    /// <summary>Guest physical address of the initial page directory.</summary>
    public required uint PageDirectory { get; init; }

    /// <summary>Virtual address of the first instruction.</summary>
    public required uint Start { get; init; }

    /// <summary>Virtual minus physical address of the kernel's linear map; below 0xFFC00000.</summary>
    public required uint PageOffset { get; init; }

    /// <summary>Choices about the processor; its time-stamp counter must count nanoseconds.</summary>
    public ProcessorOptions Processor { get; init; } = new();

    /// <summary>Seed of the random replacement of shadow directories; chosen by the Host when null.</summary>
    public uint? Seed { get; init; }

    /// <summary>Makes the time that the Guest lives in; null for the host's.</summary>
    internal Func<Guest, GuestTime>? Time { get; init; }
}
