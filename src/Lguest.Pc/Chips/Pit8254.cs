// The 8254 of a PC: counter 0 is IRQ 0, counter 1 once refreshed memory, counter 2 drives the speaker and is what kernels measure their
// processor with, through port 61h. Its time is the host's, the same that the time-stamp counter shows: a kernel that compares the two must
// find no difference. A timer sleeps until counter 0's output rises next, and does nothing else.

namespace Lguest.Pc.Chips;

/// <summary>The interval timer, and port 61h.</summary>
/// <remarks>Thread-safe: its timer has a thread of its own.</remarks>
public sealed class Pit8254 : IBytePortDevice, IDisposable
{
    /// <summary>Ticks of the oscillator in a second.</summary>
    public const long Frequency = 1_193_182;

    private const ushort FirstPort = 0x40;
    private const ushort ControlPort = 0x43;
    private const ushort SystemPort = 0x61;
    private const long RefreshTicks = 18;

    // About 50 microseconds: no kernel wants ticks faster, and one that asks for them must not keep a thread of the host busy.
    private const long ShortestSleep = 60;

    private readonly Lock door = new();
    private readonly Pit8254Counter[] counters = [new(), new(), new()];
    private readonly IInterruptLine line;
    private readonly DeviceClock clock;
    private readonly ITimer timer;
    private long nextRise = long.MaxValue;
    private byte speaker;

    /// <summary>Makes a timer that nobody has programmed.</summary>
    /// <param name="line">IRQ 0.</param>
    /// <param name="time">The host's time.</param>
    public Pit8254(IInterruptLine line, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(time);
        this.line = line;
        clock = new DeviceClock(time, Frequency);
        timer = time.CreateTimer(static pit => ((Pit8254)pit!).OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        counters[2].SetGate(false, 0);
    }

    /// <summary>Puts the chip at its ports.</summary>
    public void Connect(PortBus bus)
    {
        ArgumentNullException.ThrowIfNull(bus);
        bus.Register(FirstPort, 4, this);
        bus.Register(SystemPort, 1, this);
    }

    /// <inheritdoc/>
    public byte Read(ushort port)
    {
        lock (door)
        {
            long now = clock.Now;
            return port switch
            {
                ControlPort => 0xFF,
                SystemPort => (byte)(speaker | (now / RefreshTicks % 2 != 0 ? 0x10 : 0) | (counters[2].Output(now) ? 0x20 : 0)),
                _ => counters[port - FirstPort].Read(now),
            };
        }
    }

    /// <inheritdoc/>
    public void Write(ushort port, byte value)
    {
        lock (door)
        {
            long now = clock.Now;
            RaiseIfDue(now);
            switch (port)
            {
                case ControlPort:
                    Control(value, now);
                    break;
                case SystemPort:
                    speaker = (byte)(value & 0x0F);
                    counters[2].SetGate((value & 1) != 0, now);
                    return;
                default:
                    counters[port - FirstPort].Write(value, now);
                    break;
            }
            if (port is FirstPort or ControlPort)
            {
                line.Set(counters[0].Output(now));
                Arm(now);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => timer.Dispose();

    private void Control(byte word, long now)
    {
        int select = word >> 6;
        if (select < 3)
        {
            counters[select].Program(word, now);
            return;
        }
        // Read-back: a bit that is clear says what to latch.
        for (int i = 0; i < 3; i++)
        {
            if ((word & (2 << i)) == 0)
            {
                continue;
            }
            if ((word & 0x20) == 0)
            {
                counters[i].LatchCount(now);
            }
            if ((word & 0x10) == 0)
            {
                counters[i].LatchStatus(now);
            }
        }
    }

    private void Arm(long now)
    {
        nextRise = counters[0].NextRise(now);
        bool never = nextRise == long.MaxValue;
        bool isPeriodic = counters[0].Mode is 2 or 3;
        timer.Change(
            never ? Timeout.InfiniteTimeSpan : clock.Until(isPeriodic ? Math.Max(nextRise, now + ShortestSleep) : nextRise),
            Timeout.InfiniteTimeSpan);
    }

    private void OnTimer()
    {
        lock (door)
        {
            long now = clock.Now;
            RaiseIfDue(now);
            Arm(now);
        }
    }

    /// <summary>Shows the interrupt controller a rise that has come. Arming forgets it, so this comes first, whoever is quicker: the timer's thread or
    /// the Guest.</summary>
    private void RaiseIfDue(long now)
    {
        if (now >= nextRise)
        {
            // However many rises there were: the interrupt controller would have latched one.
            line.Set(false);
            line.Set(true);
            nextRise = long.MaxValue;
        }
    }
}
