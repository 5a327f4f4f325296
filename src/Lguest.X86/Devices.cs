// What a processor meets outside itself when ring 0 is its Guest's: ports, registers in the place of memory, and a controller that says
// which device interrupts. An lguest Guest has none of the three; its devices are its Host's.

namespace Lguest.X86;

/// <summary>Answers IN and OUT. Called on the thread that runs the processor.</summary>
public interface IPortBus
{
    /// <summary>IN: the low <paramref name="size"/> bytes count. A port that nobody has reads ones.</summary>
    /// <param name="port">Port of the lowest byte.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    uint Read(ushort port, int size);

    /// <summary>OUT: the low <paramref name="size"/> bytes count. A port that nobody has takes nothing.</summary>
    /// <param name="port">Port of the lowest byte.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    /// <param name="value">What is written.</param>
    void Write(ushort port, int size, uint value);
}

/// <summary>Answers in the place of memory. Called on the thread that runs the processor.</summary>
public interface IMemoryMappedDevice
{
    /// <summary>Reads a register.</summary>
    /// <param name="offset">Bytes from the start of the device's region; the access lies inside it.</param>
    /// <param name="size">1, 2 or 4 bytes; a longer access comes in parts, the lowest first.</param>
    uint Read(uint offset, int size);

    /// <summary>Writes a register.</summary>
    /// <param name="offset">Bytes from the start of the device's region; the access lies inside it.</param>
    /// <param name="size">1, 2 or 4 bytes; a longer access comes in parts, the lowest first.</param>
    /// <param name="value">What is written; the low <paramref name="size"/> bytes count.</param>
    void Write(uint offset, int size, uint value);
}

/// <summary>What is at the processor's INTR pin (Intel SDM volume 3, 6.3.2).</summary>
public interface IInterruptController
{
    /// <summary>The acknowledge cycle: asked between two instructions while IF is set, on the thread that runs the processor.</summary>
    /// <remarks>Who raises the pin calls <see cref="Processor.SignalInterrupt"/> afterwards.</remarks>
    /// <param name="vector">The vector to deliver, which is then in service.</param>
    /// <returns>False when nothing is requested.</returns>
    bool TryAcknowledge(out byte vector);
}
