// A Guest that stands still wherever it is told to. It has a Launcher of its own, because the usual one has threads that break in when
// something happens, and here nothing may happen but at a counted instruction.

using Lguest.Host;
using Lguest.Launcher;
using Lguest.Launcher.Devices;
using Lguest.X86;
using Lguest.X86.Memory;

namespace Lguest.LockStep;

/// <summary>A place in the life of a Guest.</summary>
/// <param name="Instructions">Instructions completed.</param>
/// <param name="Deliveries">Exceptions and interrupts delivered.</param>
internal readonly record struct Place(long Instructions, long Deliveries);

/// <summary>A Guest with a console and the time of its instructions.</summary>
internal sealed class SteppedGuest : IDisposable
{
    private readonly LguestDevice lguest;
    private readonly VirtualTime time;
    private readonly Guest guest;
    private readonly GuestPort port;
    private long nextStop;
    private bool isAtStop;

    /// <summary>Builds it.</summary>
    /// <param name="options">Kernel, initrd and memory; the rest is not looked at.</param>
    /// <param name="processor">Engine.</param>
    /// <param name="start">First nanosecond of its time.</param>
    /// <param name="console">Its console.</param>
    public SteppedGuest(MachineOptions options, ProcessorOptions processor, long start, TypedConsole console)
    {
        Console = console;
        (Memory, GuestStart entry) = MachineBuilder.Build(options, [console]);
        lguest = options.Host.Open();
        port = new GuestPort(lguest, Memory, [console]);
        VirtualTime? created = null;
        LguestError error = lguest.Initialize(new InitializeRequest
        {
            Memory = Memory,
            PageLimit = Memory.GuestFrames,
            PageDirectory = entry.PageDirectory,
            Start = entry.Entry,
            PageOffset = entry.PageOffset,
            Processor = processor with { TimeStampCounter = () => (ulong)(created?.Now ?? 0) },
            Seed = 1,
            Time = guest => created = new VirtualTime(guest, start),
        });
        if (error != LguestError.None)
        {
            throw new MachineConfigurationException($"The Host refuses the Guest: {error}.");
        }
        time = created!;
        guest = lguest.Guest!;
        time.Idle = StopHere;
        guest.Processor.StopReached = StopHere;
    }

    public TypedConsole Console { get; }

    public MachineMemory Memory { get; }

    public Processor Processor => guest.Processor;

    /// <summary>Where it stopped last.</summary>
    public Place Stop { get; private set; }

    /// <summary>Why it ended; null while it lives.</summary>
    public string? Death => port.Death;

    /// <summary>Guest physical address of the one word in which two Guests differ: their number. 0 while there is none.</summary>
    public uint NumberAddress => guest.Data.IsInitialised ? guest.Data.Address + LguestDataOffset.GuestId : 0;

    /// <summary>Runs to about a number of instructions, or to where it wants to be kicked, or to where it would sleep without end.</summary>
    /// <returns>False when it ended before.</returns>
    public bool RunTo(long instructions)
    {
        nextStop = instructions;
        time.Armed = SetStop;
        SetStop();
        return Run();
    }

    /// <summary>Runs to exactly one place. Only with a processor that stops exactly.</summary>
    /// <returns>False when it ended before.</returns>
    public bool RunTo(Place place)
    {
        Processor.StopAt(place.Instructions, place.Deliveries);
        return Run();
    }

    /// <summary>The same, and says before each instruction what it is.</summary>
    public bool Trace(Place place, Action next)
    {
        long first = Processor.CompletedInstructions;
        Processor.StopReached = () =>
        {
            long done = Processor.CompletedInstructions;
            if (done >= place.Instructions && Processor.Deliveries >= place.Deliveries)
            {
                StopHere();
                return;
            }
            next();
            Processor.StopAt(Math.Max(done + 1, first + 1));
        };
        Processor.StopAt(first);
        bool lives = Run();
        Processor.StopReached = StopHere;
        return lives;
    }

    /// <summary>Hands over what was typed.</summary>
    public void DeliverInput() => port.DeliverInput();

    public void Dispose()
    {
        lguest.Dispose();
        Memory.Dispose();
    }

    private void SetStop() => Processor.StopAt(Math.Min(nextStop, time.ArmedAt));

    private void StopHere()
    {
        if (!isAtStop)
        {
            isAtStop = true;
            Stop = new Place(Processor.CompletedInstructions, Processor.Deliveries);
            guest.RequestBreak(true);
            guest.OnTimer();
        }
    }

    private bool Run()
    {
        isAtStop = false;
        while (port.Death is null)
        {
            ReadResult read = lguest.Read();
            switch (read.Error)
            {
                case LguestError.None when read.HasDma:
                    port.TryHandleOutput(read.DmaAddress, read.DmaKey);
                    break;
                case LguestError.None:
                    port.Fail(read.DeathReason!);
                    break;
                case LguestError.NoEntry:
                    break;
                case LguestError.TryAgain:
                    lguest.Break(false);
                    return true;
                default:
                    throw new InvalidOperationException($"Running the Guest failed: {read.Error}.");
            }
        }
        Stop = new Place(Processor.CompletedInstructions, Processor.Deliveries);
        return false;
    }
}
