// A platform, seen from the machine: whatever kind of Guest it is, a thread runs it, somebody may call it, and one day it ends. A Guest that
// only wants to restart gets new memory from the same image; what users and other machines hold on to - console, disks, networks - stays.

namespace Lguest.Launcher;

/// <summary>Builds a Guest of one platform and runs it.</summary>
internal abstract class GuestRunner(bool restarts) : IDisposable
{
    /// <summary>Held while one life of the Guest takes the place of the last one, and by other threads that ask for the present one.</summary>
    protected Lock Door { get; } = new();

    /// <summary>What the Guest has cost so far. May be asked by any thread.</summary>
    public abstract MachineStatistics Statistics { get; }

    /// <summary>Bytes of host memory that the Guest's RAM and the tables kept for it take by now. May be asked by any thread.</summary>
    public abstract (long Guest, long Tables) CountResidentMemory();

    /// <summary>Makes the thread inside <see cref="Run"/> come to the gate. May be called by any thread; does not wait.</summary>
    public abstract void Call();

    /// <summary>Says how large the user's terminal is, to a Guest that has a device for that. May be called by any thread.</summary>
    public virtual void ResizeConsole(ushort columns, ushort rows)
    {
    }

    // L:223 A machine outlives its Guest. One that restarts, which in 2007 was a crash like any other, is given new memory with the same image
    // in it; its disks, networks and console never notice, since they began to wait before it and end behind it.
    /// <summary>Runs the Guest to its end, through as many restarts as it wants. Once.</summary>
    /// <param name="pause">The gate that the thread passes whenever it was called.</param>
    /// <param name="ending">Calls the thread away for good.</param>
    /// <returns>The Guest's end, or null when the thread was called away.</returns>
    /// <exception cref="MachineConfigurationException">The image that the Guest restarts from is gone.</exception>
    public MachineResult? Run(PauseGate pause, CancellationToken ending)
    {
        try
        {
            StartDevices();
            while (true)
            {
                MachineResult? result = RunOnce(pause, ending);
                if (!restarts || result is not { End: MachineEnd.Reset })
                {
                    return result;
                }
                Restart();
            }
        }
        finally
        {
            StopDevices();
        }
    }
    // :*

    /// <summary>Gives everything back. The Guest must not be running.</summary>
    public abstract void Dispose();

    /// <summary>Lets the devices wait for input from outside.</summary>
    protected abstract void StartDevices();

    /// <summary>Ends what <see cref="StartDevices"/> began, be it half begun.</summary>
    protected abstract void StopDevices();

    /// <summary>Runs the Guest until it ends or resets its machine.</summary>
    protected abstract MachineResult? RunOnce(PauseGate pause, CancellationToken ending);

    /// <summary>Loads the image anew and makes a Guest that has not run.</summary>
    protected abstract void Restart();
}
