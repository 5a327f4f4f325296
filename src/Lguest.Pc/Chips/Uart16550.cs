// The serial port, which is the console of every machine without a screen (data sheet: National PC16550D). What the Guest sends goes out
// at once, so the transmitter is always empty again; what comes in waits at the other end until the Guest requests it by RTS and the
// receiver has room. So nothing is overrun, and what was typed before a driver has emptied and tried out its port is there afterwards. The
// wire has no speed: the divisor is remembered and means nothing.

namespace Lguest.Pc.Chips;

/// <summary>What is at the other end of a serial line.</summary>
public interface ISerialPeer
{
    /// <summary>Takes a byte that the Guest sends. Called on the thread that runs the processor.</summary>
    /// <param name="value">The byte.</param>
    /// <param name="isPolled">The driver does not wait for the transmitter's interrupt: a kernel sends its messages so, but not the output of its programs.</param>
    void Send(byte value, bool isPolled);

    /// <summary>Gives the next byte for the Guest, if there is one. Called on any thread, one at a time; must not block.</summary>
    bool TryReceive(out byte value);
}

/// <summary>One 16550A serial port.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class Uart16550 : IBytePortDevice
{
    private const int FifoSize = 16;
    private const byte ReceiveEnable = 1, TransmitEnable = 2, StatusEnable = 4, ModemEnable = 8;
    private const byte DataReady = 0x01, Overrun = 0x02, TransmitterEmpty = 0x60, Break = 0x10;
    private const byte NoInterrupt = 1;
    private const byte DivisorLatch = 0x80;
    private const byte Loop = 0x10, Out2 = 0x08, RequestToSend = 0x02;

    /// <summary>A peer that is there and ready: DCD, DSR and CTS.</summary>
    private const byte Connected = 0xB0;

    private readonly Lock door = new();
    private readonly Queue<byte> received = new();
    private readonly IInterruptLine line;
    private readonly ISerialPeer peer;
    private readonly ushort basePort;
    private byte interruptEnable;
    private byte lineControl;
    private byte modemControl;
    private byte lineErrors;
    private byte modemDelta;
    private byte scratch;
    private byte divisorLow = 12;
    private byte divisorHigh;
    private bool fifoEnabled;
    private int trigger = 1;
    private bool transmitterAsks;
    private bool timedOut;

    /// <summary>Makes a port.</summary>
    /// <param name="basePort">The first of its eight ports, such as 3F8h.</param>
    /// <param name="line">Its interrupt.</param>
    /// <param name="peer">The other end.</param>
    public Uart16550(ushort basePort, IInterruptLine line, ISerialPeer peer)
    {
        this.basePort = basePort;
        this.line = line;
        this.peer = peer;
    }

    /// <summary>Puts the chip at its ports.</summary>
    public void Connect(PortBus bus)
    {
        ArgumentNullException.ThrowIfNull(bus);
        bus.Register(basePort, 8, this);
    }

    /// <summary>Says that the peer has bytes. May be called from any thread.</summary>
    public void InputArrived()
    {
        lock (door)
        {
            Receive();
            Update();
        }
    }

    /// <inheritdoc/>
    public byte Read(ushort port)
    {
        lock (door)
        {
            byte value = ReadRegister(port - basePort);
            Update();
            return value;
        }
    }

    /// <inheritdoc/>
    public void Write(ushort port, byte value)
    {
        lock (door)
        {
            WriteRegister(port - basePort, value);
            Update();
        }
    }

    private bool ShowsDivisor => (lineControl & DivisorLatch) != 0;

    private bool IsLooped => (modemControl & Loop) != 0;

    private byte ModemStatus => IsLooped
        ? (byte)(((modemControl & 2) << 3) | ((modemControl & 1) << 5) | ((modemControl & 4) << 4) | ((modemControl & 8) << 4))
        : Connected;

    private byte ReadRegister(int register)
    {
        switch (register)
        {
            case 0 when ShowsDivisor:
                return divisorLow;
            case 0:
                received.TryDequeue(out byte value);
                timedOut = false;
                Receive();
                return value;
            case 1:
                return ShowsDivisor ? divisorHigh : interruptEnable;
            case 2:
                byte identification = Identification();
                if (identification == 2)
                {
                    transmitterAsks = false;
                }
                return (byte)(identification | (fifoEnabled ? 0xC0 : 0));
            case 3:
                return lineControl;
            case 4:
                return modemControl;
            case 5:
                byte status = (byte)(TransmitterEmpty | lineErrors | (received.Count > 0 ? DataReady : 0));
                lineErrors = 0;
                return status;
            case 6:
                byte modem = (byte)(ModemStatus | modemDelta);
                modemDelta = 0;
                return modem;
            default:
                return scratch;
        }
    }

    private void WriteRegister(int register, byte value)
    {
        switch (register)
        {
            case 0 when ShowsDivisor:
                divisorLow = value;
                break;
            case 0:
                Transmit(value);
                break;
            case 1 when ShowsDivisor:
                divisorHigh = value;
                break;
            case 1:
                // Enabling the transmitter's interrupt while it is empty asks at once.
                transmitterAsks |= (value & ~interruptEnable & TransmitEnable) != 0;
                interruptEnable = (byte)(value & 0x0F);
                break;
            case 2:
                WriteFifoControl(value);
                break;
            case 3:
                lineControl = value;
                break;
            case 4:
                byte before = ModemStatus;
                modemControl = (byte)(value & 0x1F);
                NoteModemChange(before, ModemStatus);
                Receive();
                break;
            case 7:
                scratch = value;
                break;
        }
    }

    private void WriteFifoControl(byte value)
    {
        bool enable = (value & 1) != 0;
        if (enable != fifoEnabled || (enable && (value & 2) != 0))
        {
            received.Clear();
            timedOut = false;
        }
        fifoEnabled = enable;
        trigger = !enable ? 1 : (value >> 6) switch { 0 => 1, 1 => 4, 2 => 8, _ => 14 };
        Receive();
    }

    private void Transmit(byte value)
    {
        // The interrupt goes away when the register is filled, and comes back when the byte is gone, which is now.
        transmitterAsks = false;
        Update();
        if (!IsLooped)
        {
            peer.Send(value, (interruptEnable & TransmitEnable) == 0);
        }
        else if (received.Count < (fifoEnabled ? FifoSize : 1))
        {
            received.Enqueue(value);
        }
        else
        {
            lineErrors |= Overrun;
        }
        transmitterAsks = true;
    }

    /// <summary>Fetches what the receiver has room for.</summary>
    private void Receive()
    {
        int room = fifoEnabled ? FifoSize : 1;
        while (!IsLooped && (modemControl & RequestToSend) != 0 && received.Count < room && peer.TryReceive(out byte value))
        {
            received.Enqueue(value);
        }
        // Nothing follows at the moment, so what is below the trigger level has waited for its four characters.
        timedOut = fifoEnabled && received.Count > 0 && received.Count < trigger;
    }

    private void NoteModemChange(byte before, byte after)
    {
        int changed = before ^ after;
        modemDelta |= (byte)((changed >> 4) & 0x0B);
        if ((before & 0x40) != 0 && (after & 0x40) == 0)
        {
            // Of the ring indicator only the trailing edge counts.
            modemDelta |= 0x04;
        }
    }

    private byte Identification()
    {
        if ((interruptEnable & StatusEnable) != 0 && (lineErrors & (Overrun | Break)) != 0)
        {
            return 6;
        }
        if ((interruptEnable & ReceiveEnable) != 0 && received.Count > 0)
        {
            return (byte)(received.Count >= trigger ? 4 : timedOut ? 0x0C : NoInterrupt);
        }
        if ((interruptEnable & TransmitEnable) != 0 && transmitterAsks)
        {
            return 2;
        }
        return (interruptEnable & ModemEnable) != 0 && modemDelta != 0 ? (byte)0 : NoInterrupt;
    }

    private void Update() => line.Set(Identification() != NoInterrupt && (modemControl & Out2) != 0 && !IsLooped);
}
