// P:200 The door between a Launcher and its Guest: what used to be the file /dev/lguest. A process that opened it and wrote the right
// words into it had a Guest; a process that read from it ran the Guest, for as long as the read took. It is a charming interface: you
// start a computer by reading a file.
//
// The verbs are four requests and the read. They keep their names, their order of checks and their results here; only the bytes became
// arguments. In 2007 the task that opened the Guest owned it, and one other task, the Waker, was allowed to break in. Here any thread may
// hold the device, and the owner is whichever thread is inside: a second one is turned away, except for the break. :*

namespace Lguest.Host;

/// <summary>An open /dev/lguest: at most one Guest, run by whoever reads (ABI 3).</summary>
/// <remarks>Thread-safe. While one thread is inside <see cref="Read"/>, <see cref="GetDma"/> or <see cref="Irq"/>,
/// another one gets <see cref="LguestError.NotPermitted"/> from these; <see cref="Break"/> is for all.</remarks>
public sealed class LguestDevice : IDisposable
{
    // L:000 We have seen the Guest and its drivers from the inside. Now for the other side of the glass: the Launcher, and the part of
    // the Host that does its bidding. It begins at the door between the two.
    //
    // An open device has no Guest at first. Two flags and a lock are enough to keep order at the door: whether somebody is inside, and
    // whether it has been closed.
    private readonly LguestHost host;
    private readonly object gate = new();
    private Guest? guest;
    private bool occupied;
    private bool closed;
    // :*

    internal LguestDevice(LguestHost host) => this.host = host;

    /// <summary>What the Guest has made the Host do; null before <see cref="Initialize"/>.</summary>
    public GuestStatistics? Statistics => guest?.Statistics;

    /// <summary>The Guest's processor, for its counters; null before <see cref="Initialize"/>.</summary>
    public X86.Processor? Processor => guest?.Processor;

    /// <summary>The Guest itself, for those who check the Host.</summary>
    internal Guest? Guest => guest;

    /// <summary>LHREQ_INITIALIZE: makes a Guest of what the Launcher has prepared (ABI 3.2).</summary>
    /// <param name="request">Where everything is.</param>
    /// <returns><see cref="LguestError.None"/>; Busy, NoSpace, NoMemory or InvalidArgument; NoEntry if a Guest died here already.</returns>
    /// <exception cref="ObjectDisposedException">The device is closed.</exception>
    public LguestError Initialize(InitializeRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        lock (gate)
        {
            // The lock stays held: until there is a Guest, nobody else has anything to do here.
            ObjectDisposedException.ThrowIf(closed, this);
            if (guest is not null)
            {
                return guest.IsDead ? LguestError.NoEntry : occupied ? LguestError.NotPermitted : LguestError.Busy;
            }
            LguestError error = host.TryCreateGuest(request, out Guest? created);
            guest = created;
            return error;
        }
    }

    // L:040 The read that runs a Guest. It takes as long as the Guest needs nothing from its Launcher, and comes back with one of three
    // things: an address and a key, when the Guest sent something; an error; or, when the Guest was dead before the call, a text. Why
    // only before? The read in which a Guest dies returns an error, so a Launcher that looks at errors only will call once more, and that
    // one tells the reason.
    /// <summary>read(): runs the Guest until the Launcher must do something (ABI 3.5).</summary>
    /// <param name="cancellation">Makes the call return <see cref="LguestError.Interrupted"/>, as a signal did.</param>
    /// <returns>DMA that the Guest sent; the reason of its death, when it was dead before the call; or an error: NoEntry when it
    /// died during the call, TryAgain at a break, Interrupted, InvalidArgument without a Guest, NotPermitted.</returns>
    public ReadResult Read(CancellationToken cancellation = default)
    {
        LguestError error = Enter(deathFirst: false);
        if (error != LguestError.None)
        {
            return new ReadResult(error);
        }
        Guest running = guest!;
        try
        {
            if (running.DeathReason is { } reason)
            {
                return new ReadResult(LguestError.None, DeathReason: reason);
            }
            using CancellationTokenRegistration registration = cancellation.UnsafeRegister(static guest => ((Guest)guest!).Kick(), running);
            error = running.Run(cancellation);
            return error == LguestError.None
                ? new ReadResult(error, running.Io.PendingDma, running.Io.PendingKey)
                : new ReadResult(error);
        }
        finally
        {
            Leave();
        }
    }
    // :*

    /// <summary>LHREQ_GETDMA: finds a free buffer that the Guest bound to a key (ABI 3.3).</summary>
    /// <param name="key">The key.</param>
    /// <param name="list">Guest physical address of a lguest_dma; its used_len holds the virtual interrupt for <see cref="Irq"/>.</param>
    /// <returns><see cref="LguestError.None"/>; NoEntry without a free buffer or when the Guest is dead; InvalidArgument; NotPermitted.</returns>
    public LguestError GetDma(uint key, out uint list)
    {
        list = 0;
        LguestError error = Enter(deathFirst: true);
        if (error != LguestError.None)
        {
            return error;
        }
        bool found = guest!.Io.TryGetBuffer(key, out list);
        Leave();
        return found ? LguestError.None : LguestError.NoEntry;
    }

    // L:050 An interrupt for the Guest is a bit. It is delivered when the Guest is entered next, if it can take it; the Launcher does not
    // wait for that, and is not told.
    /// <summary>LHREQ_IRQ: makes a virtual interrupt pending (ABI 3.4).</summary>
    /// <param name="irq">0 to 31.</param>
    /// <returns><see cref="LguestError.None"/>; InvalidArgument for a larger number or without a Guest; NoEntry; NotPermitted.</returns>
    public LguestError Irq(uint irq)
    {
        LguestError error = Enter(deathFirst: true);
        if (error != LguestError.None)
        {
            return error;
        }
        if (irq < LguestAbi.Irqs)
        {
            guest!.Interrupts.SetPending((int)irq);
        }
        else
        {
            error = LguestError.InvalidArgument;
        }
        Leave();
        return error;
    }
    // :*

    // L:315 The break, for the Waker. It asks the thread that is inside to come out, and then *waits until that thread has taken the
    // break back*. That is the clever part: the Waker is asleep exactly as long as the Launcher is busy with the input that the Waker has
    // seen. Otherwise it would see the same input again, and again, and wake a Launcher that is wide awake.
    /// <summary>LHREQ_BREAK: makes the reader come back with <see cref="LguestError.TryAgain"/>, or lets it run again (ABI 3.4).</summary>
    /// <param name="on">True asks for the break and waits until somebody takes it back; false takes it back.</param>
    /// <param name="cancellation">Ends the wait with <see cref="LguestError.Interrupted"/>; the break stays.</param>
    /// <returns><see cref="LguestError.None"/>; Interrupted, also when the device is closed meanwhile; InvalidArgument; NoEntry.</returns>
    public LguestError Break(bool on, CancellationToken cancellation = default)
    {
        using CancellationTokenRegistration registration = cancellation.UnsafeRegister(static gate => WakeAll(gate!), gate);
        lock (gate)
        {
            if (guest is null || closed)
            {
                return LguestError.InvalidArgument;
            }
            if (guest.IsDead)
            {
                return LguestError.NoEntry;
            }
            Guest running = guest;
            running.RequestBreak(on);
            Monitor.PulseAll(gate);
            while (on && running.IsBreakRequested && !closed)
            {
                if (cancellation.IsCancellationRequested)
                {
                    return LguestError.Interrupted;
                }
                Monitor.Wait(gate);
            }
            return on && closed ? LguestError.Interrupted : LguestError.None;
        }
    }

    // L:060 Closing the device ends the Guest, whatever it is doing. A thread that is inside is called out first, and only when nobody is
    // inside any more are memory and slot given back. In 2007 this was also what happened when a Launcher crashed: the kernel closes the
    // files of the dead.
    /// <summary>close(): ends the Guest, once a thread that is inside has come out, and gives back all that it had (ABI 3.5).</summary>
    public void Dispose()
    {
        Guest? ending;
        lock (gate)
        {
            closed = true;
            Monitor.PulseAll(gate);
            guest?.BeginClose();
            while (occupied)
            {
                Monitor.Wait(gate);
            }
            ending = guest;
            guest = null;
        }
        if (ending is not null)
        {
            host.Release(ending);
        }
    }
    // :*

    private static void WakeAll(object gate)
    {
        lock (gate)
        {
            Monitor.PulseAll(gate);
        }
    }

    // L:010 Every request passes here, in the same order of questions as ever: is there a Guest? Is it alive? Are you the one who may?
    // Only then the request is looked at. The order is visible from outside, when two things are wrong at once, and so it is part of the
    // interface.
    /// <summary>The checks that come before every request, in the order of ABI 3.1 (a read asks for the owner before death).</summary>
    private LguestError Enter(bool deathFirst)
    {
        lock (gate)
        {
            if (guest is null || closed)
            {
                return LguestError.InvalidArgument;
            }
            if (deathFirst && guest.IsDead)
            {
                return LguestError.NoEntry;
            }
            if (occupied)
            {
                return LguestError.NotPermitted;
            }
            occupied = true;
            return LguestError.None;
        }
    }

    private void Leave()
    {
        lock (gate)
        {
            occupied = false;
            Monitor.PulseAll(gate);
        }
    }
    // :*
}
