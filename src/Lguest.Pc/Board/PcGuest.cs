// A PC that runs: one processor that owns ring 0 on one board. The run loop is short, because the Guest does everything itself: it comes
// out when the processor halts, and then the thread sleeps until an interrupt; when somebody calls; and when it is the end.

using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.Pc.Board;

/// <summary>An unmodified i386 system on a minimal PC.</summary>
/// <remarks>One thread at a time runs it; <see cref="Kick"/> and <see cref="InputArrived"/> may come from others.</remarks>
public sealed class PcGuest : IInterruptController, IDisposable
{
    // Some hundred microseconds: what a kernel does at a tick when nobody wants anything takes a tenth of it.
    private const int InstructionsBeforeWatch = 100_000;

    private readonly PcBoard board;
    private readonly ISerialConsole console;
    private readonly BoardTime time = new();
    private PcEnd? end;
    private volatile bool kicked;

    /// <summary>Builds a PC whose memory is filled and whose processor waits in flat 32-bit protected mode, ring 0, interrupts off.</summary>
    /// <param name="memory">RAM from address 0 on; the Guest's frames end below <see cref="MaximumMemory"/>. Whoever made it disposes it.</param>
    /// <param name="options">The rest.</param>
    public PcGuest(MachineMemory memory, PcOptions options)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(options);
        console = options.Console;
        board = new PcBoard(memory, options, time, Signal, () => Processor!.IgnoreNumericError(), End);
        Processor = new Processor(memory, options.Processor with
        {
            HostOwnsRing0 = false,
            Ports = board.Ports,
            InterruptController = this,
            NumericError = () => board.NumericError.Set(true),
        })
        {
            StopReached = time.Watch,
        };
    }

    /// <summary>RAM ends here at the latest, in bytes: PCI cards come next.</summary>
    public static long MaximumMemory => PcBoard.PciGap;

    /// <summary>The processor.</summary>
    public Processor Processor { get; }

    /// <summary>Runs the Guest until its end, or until somebody calls.</summary>
    /// <returns>The end, or null when <see cref="Kick"/> was called.</returns>
    public PcEnd? Run()
    {
        while (end == null && !kicked)
        {
            switch (Processor.Run().Kind)
            {
                case ExitKind.Halt when (Processor.State.SystemFlags & Eflags.Interrupt) == 0:
                    end ??= new PcEnd(PcEndKind.Halted);
                    break;
                case ExitKind.Halt:
                    console.Flush();
                    Sleep();
                    break;
                case ExitKind.Shutdown:
                    end ??= new PcEnd(PcEndKind.Shutdown);
                    break;
            }
        }
        kicked = false;
        console.Flush();
        return end;
    }

    /// <summary>Makes <see cref="Run"/> return soon, this call or the next. May be called from any thread.</summary>
    public void Kick()
    {
        kicked = true;
        Processor.RequestReturn();
        time.Wake();
    }

    /// <summary>Says that the console has input. May be called from any thread.</summary>
    public void InputArrived() => board.Serial.InputArrived();

    /// <inheritdoc/>
    public bool TryAcknowledge(out byte vector)
    {
        if (!board.Interrupts.TryAcknowledge(out vector))
        {
            return false;
        }
        // A Guest that computes is interrupted now and then: the moment to show what it has said.
        console.Flush();
        return true;
    }

    /// <summary>Gives everything back. It must not be running.</summary>
    public void Dispose()
    {
        board.Dispose();
        Processor.Dispose();
        time.Dispose();
    }

    private void Sleep()
    {
        while (!board.Interrupts.Output && !kicked)
        {
            time.Sleep();
        }
        // Most Guests are asleep again before the next timer is due, and then nobody had to be woken to watch it.
        Processor.StopAt(Processor.CompletedInstructions + InstructionsBeforeWatch);
    }

    private void Signal()
    {
        // The board may speak before there is a processor.
        Processor?.SignalInterrupt();
        time.Wake();
    }

    private void End(PcEnd how)
    {
        end ??= how;
        Processor.RequestReturn();
    }
}
