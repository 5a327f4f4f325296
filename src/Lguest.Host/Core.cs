// P:400 The heart of the Host: a Guest, and the loop that is its life. Do what it asked for, see whether somebody wants it to stop, give
// it an interrupt, let it run until something leads into ring 0, look at what that was, and begin again. Everything else in this
// directory serves one of these steps.
//
// The order of the steps is the law's: hypercalls come before interrupts, and a break wins over a halted Guest. :*

using Lguest.Platform;
using Lguest.X86;
using Lguest.X86.State;

namespace Lguest.Host;

/// <summary>One Guest: what the rooms of the Host share, and the run loop (ABI 3.5).</summary>
/// <remarks>One thread at a time runs it; <see cref="Kill"/>, <see cref="Kick"/> and <see cref="RequestBreak"/> may come from others.</remarks>
internal sealed class Guest : IDisposable
{
    // M:003 A Guest that switches its interrupts on says nothing: it stores a word. If an interrupt was waiting for that, it waits on,
    // until the Host looks again, here every 250 microseconds. The Guest could look itself: after the store, ask whether something is
    // pending (a bit in lguest_data would tell it, if the Host set one) and if so make a hypercall. It costs two instructions each time
    // and saves the polling. What does it do to latency? The Guest is in guest/linux/patches, and bench/ measures.
    /// <summary>How often the Host looks again whether a waiting interrupt can be delivered, in nanoseconds.</summary>
    /// <remarks>A Guest that enables interrupts or leaves its no-interrupt range does not say so (ABI 14.2, M:003).</remarks>
    private const long PendingInterval = 250_000;
    // :*

    private readonly Processor processor;
    private readonly PreciseEvent wake = new();
    private readonly GuestTime time;
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
        time = request.Time?.Invoke(this) ?? new HostTime(OnTimer, $"lguest timer {id}");
        Clock = new Clock(time);
        Memory = new GuestMemory(this, processor.Memory, request.PageLimit);
        Segments = new Segments(this);
        Interrupts = new InterruptsAndTraps(this);
        Hypercalls = new Hypercalls(this);
        Io = new Io(this, dma);
        Switcher = switcher;
        PageTables = new PageTables(this, processor, switcher.TableFrame, PageOffset, request.Seed ?? (uint)Random.Shared.Next(1, int.MaxValue));
    }

    /// <summary>The number that no other Guest of this machine has (guestid).</summary>
    public ushort Id { get; }

    /// <summary>First kernel virtual address: virtual minus physical address of the kernel's linear map.</summary>
    public uint PageOffset { get; }

    public GuestMemory Memory { get; }

    public LguestData Data { get; } = new();

    public Segments Segments { get; }

    public InterruptsAndTraps Interrupts { get; }

    public Hypercalls Hypercalls { get; }

    public Io Io { get; }

    public Clock Clock { get; }

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

    // L:020 INITIALIZE: the Launcher has filled the memory and says where everything is; the Host makes a Guest of it. That takes a
    // processor, the Switcher's pages, which the processor needs before it can do anything, and a first, empty, shadow page directory.
    // The Guest has no memory of its own here: the machine's memory is the Launcher's, and the Host borrows it.
    //
    // Any of these steps can fail, and then nothing may be left behind. So everything is made in one try, and the finally clause asks
    // whether there is a Guest to show for it.
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
            // L:030 What a Guest finds in its registers when it wakes up is little: the address of its first instruction, flat code and
            // data segments of ring 1, and interrupts on, as they always are for the real processor; the Guest's own idea of its
            // interrupt flag is a word in memory. There is no stack yet. ESI is 0, and so points, as every Linux expects, to the boot
            // parameters, since the Launcher has put them at physical address 0.
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
    // :*

    // L:035 Killing a Guest is two steps: remember why, and make the thread that runs it look. Nothing else is torn down here, because
    // the killer may be deep inside some work for this very Guest, or be another Guest's thread. The run loop sees IsDead before it would
    // enter the Guest again, and that is enough. The first reason stays: what goes wrong afterwards is only a consequence.
    /// <summary>Ends the Guest: the first reason stays (ABI 12.1).</summary>
    public void Kill(string reason)
    {
        if (Interlocked.CompareExchange(ref killReason, reason, null) is null)
        {
            Kick();
        }
    }
    // :*

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
        long ticks = (time.UtcNow - DateTime.UnixEpoch).Ticks;
        uint seconds = (uint)(ticks / TimeSpan.TicksPerSecond);
        uint nanoseconds = (uint)(ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        if (!Memory.TryWrite(Data.Address + LguestDataOffset.Time, seconds | ((ulong)nanoseconds << 32)))
        {
            Kill(KillReason.WritingTimestamp);
        }
    }

    // H:030 The loop in which a Guest lives. It is called by the Launcher's read, and it leaves for four reasons only: the Guest sent
    // something to its Launcher, the caller was called away, somebody asked for a break, or the Guest is dead.
    //
    // Read the order of the steps; each has its reason. Hypercalls come first, because the Guest believes that they have been made. The
    // break comes before the halt, or a sleeping Guest would never hear a key. The interrupt comes last before the entry, because what
    // came before may have made it deliverable. And a Guest that is killed at any of these points is not entered any more.
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
    // :*

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
        time.Dispose();
        wake.Dispose();
        PageTables.Dispose();
    }

    // H:040 A system with nothing to do halts its processor until the next interrupt. For us that means that the Guest's thread sleeps,
    // until the moment of the Guest's timer or until somebody kicks: a device, another Guest, the Launcher. An idle Guest costs next to
    // nothing.
    //
    // A Guest that runs has the same timer, on a thread of its own that does nothing but sleep and kick. A kick is an external interrupt
    // for the processor, so a loop that never comes to an end is left as well.
    /// <summary>A halted Guest costs nothing: its thread waits for the timer's moment or for a kick.</summary>
    private void Sleep()
    {
        ArmTimer(MonotonicClock.Never);
        time.Wait(wake, Clock.Deadline);
        timerExpired = true;
    }

    /// <summary>Makes the thread that runs the Guest look at its clock.</summary>
    public void OnTimer()
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

    // H:050 Before the Guest is entered, the timer is set for the next moment at which the Host wants to look. Usually that is the
    // Guest's own clock event. But if an interrupt is pending that the Guest had switched off, the Host must look again soon: a Guest
    // that switches interrupts on writes a word of memory, and nobody hears that.
    //
    // Then the tables that changed since the last entry are copied to where the processor looks for them, and the Switcher does the rest.
    // When it returns, the Guest has stopped for some reason, whose number is in the saved registers.
    private void Enter()
    {
        if (!Interrupts.HasPending)
        {
            lookAgainAt = MonotonicClock.Never;
        }
        else if (lookAgainAt == MonotonicClock.Never)
        {
            lookAgainAt = time.Now + PendingInterval;
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
    // :*

    private void ArmTimer(long moment)
    {
        if (moment != armedUntil)
        {
            armedUntil = moment;
            time.Arm(moment);
        }
    }

    // H:060 Why did the Guest stop? Trap 13 with error code 0 may be a port instruction, which the Host imitates. Trap 14, a page fault,
    // is most often the Host's own doing: a shadow entry that has not been filled in yet. Then the Guest never hears of it. If the
    // Guest's own tables do not allow the access, the fault is the Guest's, and the address goes where its kernel will look for it, since
    // CR2 itself is out of its reach.
    //
    // Interrupts, vectors 32 to 255, are kicks from our own threads: what they wanted will be seen at the top of the loop, and hypercalls
    // too. All the rest goes to the Guest's handler, and if it has none, that was its end.
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
    // :*
}
