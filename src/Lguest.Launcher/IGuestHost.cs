// /dev/lguest as the Launcher sees it (ABI 3): run, ask for a buffer, raise an interrupt, break. Lguest.Host's LguestUser is it; tests put
// a Guest of their own making in its place.

namespace Lguest.Launcher;

/// <summary>What made <see cref="IGuestHost.Run"/> return.</summary>
internal enum RunEvent
{
    /// <summary>The Guest sent a list to a device.</summary>
    Dma,

    /// <summary>Somebody broke into the run.</summary>
    Break,

    /// <summary>The Guest is dead.</summary>
    Death,
}

/// <summary>Why a run ended.</summary>
/// <param name="Event">What happened.</param>
/// <param name="Address">For <see cref="RunEvent.Dma"/>: Guest physical address of the list.</param>
/// <param name="Key">For <see cref="RunEvent.Dma"/>: the key it was sent to.</param>
/// <param name="Reason">For <see cref="RunEvent.Death"/>: the reason.</param>
internal readonly record struct RunOutcome(RunEvent Event, uint Address = 0, uint Key = 0, string Reason = "");

/// <summary>The requests of <c>/dev/lguest</c> for one Guest.</summary>
/// <remarks>All but <see cref="Break"/> belong to the thread that runs the Guest.</remarks>
internal interface IGuestHost : IDisposable
{
    /// <summary>Runs the Guest until it needs its Launcher.</summary>
    RunOutcome Run();

    /// <summary>Asks for a free receive buffer bound to a key.</summary>
    bool TryGetDma(uint key, out uint address);

    /// <summary>Marks a virtual interrupt as pending.</summary>
    /// <returns>False when the number is out of range or the Guest is dead.</returns>
    bool TryRaiseInterrupt(uint irq);

    /// <summary>Sets the break, then waits for it to be cleared; or clears it.</summary>
    void Break(bool on);
}
