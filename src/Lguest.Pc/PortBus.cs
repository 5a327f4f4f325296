// The wires between the processor's IN and OUT and the chips: who sits at a port answers, and where nobody sits, a read brings ones and a
// write is lost, as on an ISA bus.

using Lguest.X86;

namespace Lguest.Pc;

/// <summary>A range of ports with one chip behind it.</summary>
/// <remarks>All calls come from the thread that runs the processor.</remarks>
public interface IPortDevice
{
    /// <summary>IN.</summary>
    /// <param name="port">Port of the lowest byte.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    uint Read(ushort port, int size);

    /// <summary>OUT.</summary>
    /// <param name="port">Port of the lowest byte.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    /// <param name="value">What is written; higher bits than the size's are zero.</param>
    void Write(ushort port, int size, uint value);
}

/// <summary>A chip that knows bytes only: wider accesses come to it as bytes, the lowest first.</summary>
public interface IBytePortDevice
{
    /// <summary>IN of one byte.</summary>
    byte Read(ushort port);

    /// <summary>OUT of one byte.</summary>
    void Write(ushort port, byte value);
}

/// <summary>All 65536 ports of a machine.</summary>
/// <remarks>Ranges are registered before the processor runs; afterwards only on the thread that runs it.</remarks>
public sealed class PortBus : IPortBus
{
    private readonly IPortDevice?[] devices = new IPortDevice?[0x1_0000];

    /// <summary>Gives a range of ports to a chip.</summary>
    /// <exception cref="InvalidOperationException">A port of the range has an owner.</exception>
    public void Register(ushort first, int count, IPortDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        Span<IPortDevice?> range = devices.AsSpan(first, count);
        int taken = range.IndexOfAnyExcept((IPortDevice?)null);
        if (taken >= 0)
        {
            throw new InvalidOperationException($"Port 0x{first + taken:x} has an owner.");
        }
        range.Fill(device);
    }

    /// <summary>Gives a range of ports to a chip that knows bytes only.</summary>
    /// <exception cref="InvalidOperationException">A port of the range has an owner.</exception>
    public void Register(ushort first, int count, IBytePortDevice device) => Register(first, count, new Bytewise(this, device));

    /// <summary>Takes a range of ports from whoever has it.</summary>
    public void Unregister(ushort first, int count) => devices.AsSpan(first, count).Clear();

    /// <summary>Reports every OUT to a port, besides doing it.</summary>
    /// <param name="port">The port; a wider OUT that begins below it is not reported.</param>
    /// <param name="traced">Takes port, size in bytes and value.</param>
    public void Trace(ushort port, Action<ushort, int, uint> traced) => devices[port] = new Traced(devices[port], traced);

    /// <inheritdoc/>
    public uint Read(ushort port, int size) => devices[port]?.Read(port, size) ?? uint.MaxValue >> (32 - (size * 8));

    /// <inheritdoc/>
    public void Write(ushort port, int size, uint value) =>
        devices[port]?.Write(port, size, value & (uint.MaxValue >> (32 - (size * 8))));

    private sealed class Traced(IPortDevice? device, Action<ushort, int, uint> traced) : IPortDevice
    {
        public uint Read(ushort port, int size) => device?.Read(port, size) ?? uint.MaxValue >> (32 - (size * 8));

        public void Write(ushort port, int size, uint value)
        {
            traced(port, size, value);
            device?.Write(port, size, value);
        }
    }

    private sealed class Bytewise(PortBus bus, IBytePortDevice device) : IPortDevice
    {
        public uint Read(ushort port, int size)
        {
            uint value = device.Read(port);
            for (int i = 1; i < size; i++)
            {
                // The bytes of a wide access may reach into the next chip's ports.
                value |= bus.Read((ushort)(port + i), 1) << (8 * i);
            }
            return value;
        }

        public void Write(ushort port, int size, uint value)
        {
            device.Write(port, (byte)value);
            for (int i = 1; i < size; i++)
            {
                bus.Write((ushort)(port + i), 1, (value >> (8 * i)) & 0xFF);
            }
        }
    }
}
