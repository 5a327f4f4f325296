// A Guest that runs does not look up when a key is pressed. The original Launcher forked a child for that, the Waker: it watches the input
// of all devices and breaks into the Guest's run when there is some, and stays blocked until the Launcher has dealt with it (ABI 3.6).
// Ours is a thread. It also comes back by itself while a device holds input for which the Guest has no buffer yet, because a Guest
// that frees a buffer tells nobody; with nothing to deliver it sleeps without end.

using Lguest.Host;
using Lguest.Launcher.Devices;
using Lguest.Platform;

namespace Lguest.Launcher;

/// <summary>Interrupts the run of a Guest when its devices have input.</summary>
internal sealed class Waker : IDisposable
{
    /// <summary>Nanoseconds: about what a Guest needs to take eight packets and to refill their buffers.</summary>
    private const long ShortestPause = 100_000;

    /// <summary>Nanoseconds.</summary>
    private const long LongestPause = 64_000_000;

    private readonly LguestDevice lguest;
    private readonly IReadOnlyList<Device> devices;
    private readonly PreciseEvent work = new();
    private readonly CancellationTokenSource ending = new();
    private readonly Thread thread;

    public Waker(LguestDevice lguest, IReadOnlyList<Device> devices)
    {
        this.lguest = lguest;
        this.devices = devices;
        thread = new Thread(Watch) { IsBackground = true, Name = "lguest waker" };
        thread.Start();
    }

    /// <summary>Says that a device has input. May be called from any thread; never blocks.</summary>
    public void Wake() => work.Set();

    /// <summary>Ends the Waker. Nobody may wake it afterwards.</summary>
    public void Dispose()
    {
        ending.Cancel();
        work.Set();
        thread.Join();
        work.Dispose();
        ending.Dispose();
    }

    // L:200 The Waker. While a Guest computes, its Launcher's thread is deep inside read(), and does not notice that a key was pressed.
    // Somebody else must notice, and break in. In 2007 it was a child process that selected on all file descriptors; here it is a thread
    // that waits for an event, which every device sets when it has input.
    //
    // Break() returns when the Launcher has dealt with the input. If some of it is still there then, the Guest had no buffer for it. A
    // Guest that makes one free tells nobody, so the Waker tries again, after a tenth of a millisecond, two tenths, four, up to 64
    // milliseconds. With nothing to deliver it sleeps without end.
    private void Watch()
    {
        long pause = MonotonicClock.Never;
        while (true)
        {
            bool isNew = work.Wait(pause == MonotonicClock.Never ? pause : MonotonicClock.Now + pause);
            if (ending.IsCancellationRequested)
            {
                return;
            }
            int before = WaitingInput();
            lguest.Break(true, ending.Token);
            int after = WaitingInput();
            pause = after == 0 ? MonotonicClock.Never
                : isNew || after < before ? ShortestPause
                : Math.Min(2 * pause, LongestPause);
        }
    }
    // :*

    private int WaitingInput() => devices.Sum(static device => device.WaitingInput);
}
