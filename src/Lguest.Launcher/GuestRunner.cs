// A platform, seen from the machine: whatever kind of Guest it is, a thread runs it, somebody may call it, and one day it ends.

namespace Lguest.Launcher;

/// <summary>Builds a Guest of one platform and runs it.</summary>
internal abstract class GuestRunner : IDisposable
{
    /// <summary>What the Guest has cost so far. May be asked by any thread.</summary>
    public abstract MachineStatistics Statistics { get; }

    /// <summary>Bytes of host memory that the Guest's RAM and the tables kept for it take by now. May be asked by any thread.</summary>
    public abstract (long Guest, long Tables) CountResidentMemory();

    /// <summary>Makes the thread inside <see cref="Run"/> come to the gate. May be called by any thread; does not wait.</summary>
    public abstract void Call();

    /// <summary>Runs the Guest to its end. Once.</summary>
    /// <param name="pause">The gate that the thread passes whenever it was called.</param>
    /// <param name="ending">Calls the thread away for good.</param>
    /// <returns>The Guest's end, or null when the thread was called away.</returns>
    public abstract MachineResult? Run(PauseGate pause, CancellationToken ending);

    /// <summary>Gives everything back. The Guest must not be running.</summary>
    public abstract void Dispose();
}
