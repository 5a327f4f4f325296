// The interrupt controller of a PC: a master 8259A whose input 2 is the output of a slave, and a register for each that makes inputs
// level-triggered (EISA's ELCR). Devices of all threads set its wires; the processor asks it for vectors.

using Lguest.X86;

namespace Lguest.Pc.Chips;

/// <summary>Two cascaded 8259A with sixteen inputs.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class PicPair : IInterruptController, IBytePortDevice
{
    private const int Cascade = 2;
    private const ushort MasterPort = 0x20;
    private const ushort SlavePort = 0xA0;
    private const ushort LevelPort = 0x4D0;

    // IRQ 0, 1, 2, 8 and 13 are the board's own and always edge-triggered.
    private const byte MasterLevels = 0xF8;
    private const byte SlaveLevels = 0xDE;

    private readonly Lock door = new();
    private readonly Pic8259 master = new(Cascade);
    private readonly Pic8259 slave = new(-1);
    private readonly Action signal;
    private readonly Input[] inputs;
    private volatile bool output;

    /// <summary>Makes a pair that has not been initialised.</summary>
    /// <param name="signal">Called, on any thread, whenever there is something for the processor.</param>
    public PicPair(Action signal)
    {
        this.signal = signal;
        inputs = [.. Enumerable.Range(0, 16).Select(irq => new Input(this, irq))];
    }

    /// <summary>Whether something asks for the processor.</summary>
    public bool Output => output;

    /// <summary>The wire of an IRQ, 0 to 15. Who shares it combines the levels first.</summary>
    public IInterruptLine Line(int irq) => inputs[irq];

    /// <summary>Puts the pair at its ports.</summary>
    public void Connect(PortBus bus)
    {
        ArgumentNullException.ThrowIfNull(bus);
        bus.Register(MasterPort, 2, this);
        bus.Register(SlavePort, 2, this);
        bus.Register(LevelPort, 2, this);
    }

    /// <inheritdoc/>
    public bool TryAcknowledge(out byte vector)
    {
        vector = 0;
        if (!output)
        {
            return false;
        }
        lock (door)
        {
            if (!master.Output)
            {
                return false;
            }
            int input = master.Acknowledge();
            vector = input == Cascade ? slave.Vector(slave.Acknowledge()) : master.Vector(input);
            Update();
        }
        SignalOutput();
        return true;
    }

    /// <inheritdoc/>
    public byte Read(ushort port)
    {
        byte value;
        lock (door)
        {
            value = port switch
            {
                LevelPort => master.LevelTriggered,
                LevelPort + 1 => slave.LevelTriggered,
                _ => Chip(port).Read((port & 1) != 0),
            };
            Update();
        }
        SignalOutput();
        return value;
    }

    /// <inheritdoc/>
    public void Write(ushort port, byte value)
    {
        lock (door)
        {
            switch (port)
            {
                case LevelPort:
                    master.LevelTriggered = (byte)(value & MasterLevels);
                    break;
                case LevelPort + 1:
                    slave.LevelTriggered = (byte)(value & SlaveLevels);
                    break;
                default:
                    Chip(port).Write((port & 1) != 0, value);
                    break;
            }
            Update();
        }
        SignalOutput();
    }

    private Pic8259 Chip(ushort port) => port < SlavePort ? master : slave;

    private void SetInput(int irq, bool level)
    {
        lock (door)
        {
            if (irq < 8)
            {
                master.SetInput(irq, level);
            }
            else
            {
                slave.SetInput(irq - 8, level);
            }
            Update();
        }
        SignalOutput();
    }

    private void Update()
    {
        master.SetInput(Cascade, slave.Output);
        output = master.Output;
    }

    /// <summary>Outside the lock: who is woken comes for the vector at once, and should not find the door closed.</summary>
    private void SignalOutput()
    {
        if (output)
        {
            signal();
        }
    }

    private sealed class Input(PicPair pair, int irq) : IInterruptLine
    {
        public void Set(bool level) => pair.SetInput(irq, level);
    }
}
