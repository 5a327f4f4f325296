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

    /// <summary>The Guest restarted its machine, which <see cref="MachineOptions.ResetEnds"/> made an end.</summary>
    Reset,

    /// <summary>The Guest of a PC halted its processor with interrupts off: nothing could have woken it.</summary>
    Halted,

    /// <summary>A test program ended a PC with a status: <see cref="MachineResult.Status"/>.</summary>
    ProgramExit,
}

// M:999 The end. Guests end by LHCALL_CRASH, with a text; even the orderly power-off is such a crash, by name of "Power down". It is the
// last thing that a machine does, so it may as well be the last thing that you read.
//
// You have seen a whole hypervisor. Nothing was left out to spare you; there just is not more. If some of it seems obvious now that was
// not before, the tour has done its work. If some of it is wrong, or slow, or clumsy: you know where it is, and the tests will tell you
// when you have broken something else. Have a walk, have a cup of tea, and then run
//
//   ./lguest
//
// with other eyes.
/// <summary>The end of a <see cref="Machine"/>.</summary>
/// <param name="End">How it ended.</param>
/// <param name="Reason">For a Guest that ended itself or was killed: the ABI's text (ABI 12.3), such as <c>CRASH: Power down</c>, or what a
/// PC came to; else empty.</param>
public sealed record MachineResult(MachineEnd End, string Reason)
{
    private const string PowerDown = "CRASH: Power down", Restarting = "CRASH: Restarting";

    /// <summary>The exit status that a test program chose (<see cref="MachineEnd.ProgramExit"/>); else 0.</summary>
    public int Status { get; init; }

    /// <summary>Classifies a reason of death: orderly power-off and restart arrive as a CRASH like every other (ABI 12.2).</summary>
    internal static MachineResult FromReason(string reason) =>
        new(reason switch { PowerDown => MachineEnd.PowerOff, Restarting => MachineEnd.Reset, _ => MachineEnd.Death }, reason);
}
