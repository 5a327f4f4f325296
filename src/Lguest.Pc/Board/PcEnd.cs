// How a PC comes to its end by its Guest's own doing.

namespace Lguest.Pc.Board;

/// <summary>Why a PC stands still for good.</summary>
public enum PcEndKind
{
    /// <summary>The Guest switched it off by ACPI.</summary>
    PowerOff,

    /// <summary>The Guest pulled the reset line.</summary>
    Reset,

    /// <summary>The processor shut down: a fault while delivering a double fault ("triple fault").</summary>
    Shutdown,

    /// <summary>HLT with interrupts off: nothing can wake the processor any more.</summary>
    Halted,

    /// <summary>A test program ended it with a status.</summary>
    DebugExit,
}

/// <summary>The end of a PC.</summary>
/// <param name="Kind">Why.</param>
/// <param name="Status">The exit status of <see cref="PcEndKind.DebugExit"/>; else 0.</param>
public readonly record struct PcEnd(PcEndKind Kind, int Status = 0);
