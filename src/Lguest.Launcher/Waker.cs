// A Guest that runs does not look up when a key is pressed. The original Launcher forked a child for that, the Waker: it watches the input
// of all devices and breaks into the Guest's run when there is some, and stays blocked until the Launcher has dealt with it (ABI 3.6).
// Ours is a thread. It also comes back by itself while a device holds input for which the Guest has no buffer yet, because a Guest
// that frees a buffer tells nobody; with nothing to deliver it sleeps without end.

using Lguest.Launcher.Devices;

namespace Lguest.Launcher;

/// <summary>Interrupts the run of a Guest when its devices have input or somebody wants it to stop.</summary>
internal sealed class Waker
{
    private const int ShortestPause = 1;
    private const int LongestPause = 64;

    private readonly Action breakRun;
    private readonly IReadOnlyList<Device> devices;
    private readonly AutoResetEvent work = new(false);
    private readonly Thread thread;
    private volatile bool ended;

    /// <param name="breakRun">Breaks into the run and returns when the Launcher has answered, or at once when the Guest is dead.</param>
    /// <param name="devices">Devices whose input is awaited.</param>
    public Waker(Action breakRun, IReadOnlyList<Device> devices)
    {
        this.breakRun = breakRun;
        this.devices = devices;
        thread = new Thread(Watch) { IsBackground = true, Name = "lguest waker" };
        thread.Start();
    }

    /// <summary>Asks for a break. May be called from any thread; never blocks.</summary>
    public void Wake() => work.Set();

    /// <summary>Ends the Waker after the last run.</summary>
    /// <param name="clearBreak">Answers the break that it may be waiting for.</param>
    public void End(Action clearBreak)
    {
        ended = true;
        work.Set();
        do
        {
            clearBreak();
        }
        while (!thread.Join(ShortestPause));
    }

    private void Watch()
    {
        int pause = Timeout.Infinite;
        while (true)
        {
            work.WaitOne(pause);
            if (ended)
            {
                return;
            }
            breakRun();
            bool inputRemains = devices.Any(static d => d.HasInput);
            pause = !inputRemains ? Timeout.Infinite
                : pause == Timeout.Infinite ? ShortestPause
                : Math.Min(2 * pause, LongestPause);
        }
    }
}
