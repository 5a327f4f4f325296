// A Guest's death is the normal end of its life and so a result, never an exception (ABI 12).

namespace Lguest.Launcher;

/// <summary>How a machine came to its end.</summary>
public enum MachineEnd
{
    /// <summary>The Guest powered itself off in good order.</summary>
    PowerOff,

    /// <summary>The Guest died: it crashed, or the Host or the Launcher killed it for breaking a rule.</summary>
    Death,

    /// <summary>The caller stopped it, by its cancellation token or by disposing the machine.</summary>
    Stopped,

    /// <summary>Three Ctrl-C within about a second on the console (ABI 10.9).</summary>
    Quit,
}

/// <summary>The end of a <see cref="Machine"/>.</summary>
/// <param name="End">How it ended.</param>
/// <param name="Reason">The ABI's text for a Guest that ended itself or was killed (ABI 12.3), such as <c>CRASH: Power down</c>; else empty.</param>
public sealed record MachineResult(MachineEnd End, string Reason)
{
    private const string PowerDown = "CRASH: Power down";

    /// <summary>Classifies a reason of death: orderly power-off arrives as a CRASH like every other (ABI 12.2).</summary>
    internal static MachineResult FromReason(string reason) =>
        new(reason == PowerDown ? MachineEnd.PowerOff : MachineEnd.Death, reason);
}
