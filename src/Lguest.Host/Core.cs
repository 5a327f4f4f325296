// A Guest, and the loop that is its life: do what it asked for, see whether somebody wants it to stop, give it an interrupt, let it run
// until something leads into ring 0, look at what that was, and begin again. Everything else in this room serves one of these steps. The
// order of the steps is the law's: hypercalls come before interrupts, and a break wins over a halted Guest.

using Lguest.Platform;
using Lguest.X86;
using Lguest.X86.State;

namespace Lguest.Host;

/// <summary>One Guest: what the rooms of the Host share, and the run loop (ABI 3.5).</summary>
/// <remarks>One thread at a time runs it; <see cref="Kill"/>, <see cref="Kick"/> and <see cref="RequestBreak"/> may come from others.</remarks>
internal sealed class Guest : IDisposable
{
    /// <summary>How often the Host looks again whether a waiting interrupt can be delivered, in nanoseconds.</summary>
    /// <remarks>A Guest that enables interrupts or leaves its no-interrupt range does not say so (ABI 14.2, M:003).</remarks>
    private const long PendingInterval = 250_000;

    private readonly Processor processor;
    private readonly PreciseEvent wake = new();
    private readonly PreciseTimer timer;
    private long armedUntil = MonotonicClock.Never;
    private long lookAgainAt = MonotonicClock.Never;
    private volatile bool timerExpired;
    private volatile bool breakRequested;
    private volatile bool closing;
    private volatile string? killReason;

    private Guest(ushort id, Processor processor, Switcher switcher, InitializeRequest request, DmaTable dma)
    {
        Id = id;
        this.processor = processor;
        PageOffset = request.PageOffset;
        timer = new PreciseTimer(OnTimer, $"lguest timer {id}");
        Memory = new GuestMemory(this, processor.Memory, request.PageLimit);
        Segments = new Segments(this);
        Interrupts = new InterruptsAndTraps(this);
        Hypercalls = new Hypercalls(this);
        Io = new Io(this, dma);
        Switcher = switcher;
        PageTables = new PageTables(this, processor, switcher.TableFrame, PageOffset, request.Seed ?? (uint)Random.Shared.Next(1, int.MaxValue));
    }

    /// <summary>Slot number in the registry (guestid).</summary>
    public ushort Id { get; }

    /// <summary>First kernel virtual address: virtual minus physical address of the kernel's linear map.</summary>
    public uint PageOffset { get; }

    public GuestMemory Memory { get; }

    public LguestData Data { get; } = new();

    public Segments Segments { get; }

    public InterruptsAndTraps Interrupts { get; }

    public Hypercalls Hypercalls { get; }

    public Io Io { get; }

    public Clock Clock { get; } = new();

    public GuestStatistics Statistics { get; } = new();

    public Switcher Switcher { get; }

    public PageTables PageTables { get; }

    /// <summary>The Guest's registers, in its register page.</summary>
    public ref LguestRegisters Registers => ref Switcher.Registers;

    /// <summary>What the next entry must copy into the state page.</summary>
    public ChangedTables Changed { get; set; } = ChangedTables.All;

    /// <summary>FPU instructions trap to the Guest (LHCALL_TS).</summary>
    public bool TaskSwitched { get; set; }

    /// <summary>Waiting for a deliverable interrupt (LHCALL_HALT).</summary>
    public bool IsHalted { get; set; }

    /// <summary>The Guest has been killed; it is never entered again.</summary>
    public bool IsDead => killReason is not null;

    /// <summary>Somebody wants the run loop to return (LHREQ_BREAK).</summary>
    public bool IsBreakRequested => breakRequested;

    /// <summary>Why it was killed.</summary>
    public string? DeathReason => killReason;

    /// <summary>The processor; for its counters.</summary>
    public Processor Processor => processor;

    /// <summary>LHREQ_INITIALIZE: makes a Guest that has not run yet (ABI 3.2 and 2.6).</summary>
    /// <returns>What went wrong; then <paramref name="guest"/> is null and nothing is left behind.</returns>
    public static LguestError TryCreate(ushort id, InitializeRequest request, DmaTable dma, out Guest? guest)
    {
        guest = null;
        var processor = new Processor(request.Memory, request.Processor with { HostOwnsRing0 = true });
        Switcher? switcher = null;
        Guest? created = null;
        try
        {
            switcher = Switcher.TryCreate(request.Memory, processor);
            if (switcher is null)
            {
                return LguestError.NoMemory;
            }
            if (request.PageOffset >= LguestAbi.SwitcherAddress)
            {
                return LguestError.InvalidArgument;
            }
            created = new Guest(id, processor, switcher, request, dma);
            if (!created.PageTables.TryStart(request.PageDirectory))
            {
                return LguestError.NoMemory;
            }
            created.Registers = new LguestRegisters
            {
                Eip = request.Start,
                Cs = LguestAbi.KernelCodeSelector,
                Ds = LguestAbi.KernelDataSelector,
                Es = LguestAbi.KernelDataSelector,
                Ss = LguestAbi.KernelDataSelector,
                Eflags = Eflags.Interrupt | Eflags.AlwaysOne,
            };
            guest = created;
            return LguestError.None;
        }
        finally
        {
            if (guest is null)
            {
                created?.Release();
                switcher?.Dispose();
                processor.Dispose();
            }
        }
    }

    /// <summary>Ends the Guest: the first reason stays (ABI 12.1).</summary>
    public void Kill(string reason)
    {
        if (Interlocked.CompareExchange(ref killReason, reason, null) is null)
        {
            Kick();
        }
    }

    /// <summary>Makes the thread that runs the Guest look around, whether it runs or sleeps. Any thread may call.</summary>
    public void Kick()
    {
        wake.Set();
        processor.RequestInterrupt(Switcher.KickVector);
    }

    /// <summary>Gives other Guests' threads a moment, or less when somebody calls. Only the Guest's own thread.</summary>
    /// <param name="nanoseconds">The longest time.</param>
    public void Pause(long nanoseconds)
    {
        // A kick while the Guest ran has left the event set. Nothing is lost by taking it: the run loop looks at everything before it sleeps.
        wake.Wait(MonotonicClock.Now);
        wake.Wait(MonotonicClock.Now + nanoseconds);
    }

    /// <summary>Asks the run loop to return with EAGAIN, or takes the request back. Any thread may call.</summary>
    public void RequestBreak(bool on)
    {
        breakRequested = on;
        if (on)
        {
            Kick();
        }
    }

    /// <summary>Makes the run loop return for good, because the device is being closed. Any thread may call.</summary>
    public void BeginClose()
    {
        closing = true;
        Kick();
    }

    /// <summary>Stores the wall clock in lguest_data (ABI 4: two signed words, seconds and nanoseconds).</summary>
    public void WriteTime()
    {
        long ticks = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks;
        uint seconds = (uint)(ticks / TimeSpan.TicksPerSecond);
        uint nanoseconds = (uint)(ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        if (!Memory.TryWrite(Data.Address + LguestDataOffset.Time, seconds | ((ulong)nanoseconds << 32)))
        {
            Kill(KillReason.WritingTimestamp);
        }
    }

    /// <summary>Runs the Guest until its Launcher must do something (ABI 3.5).</summary>
    /// <param name="cancellation">The signal that makes the caller come back.</param>
    /// <returns><see cref="LguestError.None"/> when the Guest sent DMA.</returns>
    public LguestError Run(CancellationToken cancellation)
    {
        Io.ClearPendingDma();
        while (!IsDead)
        {
            Hypercalls.ExecutePending();
            if (Io.HasPendingDma)
            {
                return LguestError.None;
            }
            if (cancellation.IsCancellationRequested || closing)
            {
                return LguestError.Interrupted;
            }
            if (breakRequested)
            {
                return LguestError.TryAgain;
            }
            if (timerExpired)
            {
                LookAtClock();
            }
            Interrupts.TryInject();
            if (IsDead)
            {
                break;
            }
            if (IsHalted)
            {
                Sleep();
                continue;
            }
            // After the interrupt that announces a peer's transfer, so that its handler never runs code that the transfer replaced.
            Io.ForgetCodeThatPeersChanged();
            Enter();
            HandleTrap();
        }
        return LguestError.NoEntry;
    }

    /// <summary>close(): gives everything back that the Guest had. It must not be running.</summary>
    public void Dispose()
    {
        Release();
        Switcher.Dispose();
        processor.Dispose();
    }

    /// <summary>Gives back what the Guest itself took.</summary>
    private void Release()
    {
        // First: from here on no other Guest can find this one.
        Io.Dispose();
        timer.Dispose();
        wake.Dispose();
        PageTables.Dispose();
    }

    /// <summary>A halted Guest costs nothing: its thread waits for the timer's moment or for a kick.</summary>
    private void Sleep()
    {
        ArmTimer(MonotonicClock.Never);
        wake.Wait(Clock.Deadline);
        timerExpired = true;
    }

    private void OnTimer()
    {
        timerExpired = true;
        Kick();
    }

    private void LookAtClock()
    {
        timerExpired = false;
        lookAgainAt = MonotonicClock.Never;
        if (Clock.TryExpire())
        {
            Interrupts.SetPending(0);
        }
    }

    private void Enter()
    {
        if (!Interrupts.HasPending)
        {
            lookAgainAt = MonotonicClock.Never;
        }
        else if (lookAgainAt == MonotonicClock.Never)
        {
            lookAgainAt = MonotonicClock.Now + PendingInterval;
        }
        ArmTimer(Math.Min(Clock.Deadline, lookAgainAt));
        if (Changed != ChangedTables.None)
        {
            Interrupts.CopyIn(Switcher, Changed);
            Segments.CopyIn(Switcher, Changed);
            Changed = ChangedTables.None;
        }
        Switcher.RunGuest(PageTables.CurrentSpace, TaskSwitched);
        Statistics.CountExit(Registers.TrapNumber);
    }

    private void ArmTimer(long moment)
    {
        if (moment != armedUntil)
        {
            armedUntil = moment;
            timer.Arm(moment);
        }
    }

    /// <summary>Looks at what brought the Guest back (ABI 7.1). Hypercalls wait for the top of the loop.</summary>
    private void HandleTrap()
    {
        uint trap = Registers.TrapNumber;
        switch (trap)
        {
            case Vector.GeneralProtection when Registers.ErrorCode == 0 && PortAccess.TryEmulate(this):
                return;
            case Vector.PageFault:
                if (PageTables.DemandPage(processor.State.Cr2, Registers.ErrorCode))
                {
                    Statistics.PageFaultsServed++;
                    return;
                }
                Statistics.PageFaultsReflected++;
                if (!Memory.TryWrite(Data.Address + LguestDataOffset.Cr2, processor.State.Cr2))
                {
                    Kill(KillReason.WritingCr2);
                }
                break;
            case Vector.DeviceNotAvailable when !TaskSwitched:
            case Vector.NonMaskable:
            case LguestAbi.TrapEntry:
            case >= 32 and <= 255:
                return;
        }
        if (!Interrupts.TryReflect(trap))
        {
            uint detail = trap == Vector.PageFault ? processor.State.Cr2 : Registers.ErrorCode;
            Kill(KillReason.UnhandledTrap(trap, Registers.Eip, detail));
        }
    }
}
