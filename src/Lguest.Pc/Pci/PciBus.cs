// Bus 0 behind the host bridge, by configuration mechanism 1: an address register at CF8h, a window of four bytes at CFCh (PCI Local Bus
// Specification 3.0, 3.2.2.3.2). What a BIOS would do at power-on, addresses and interrupt numbers, is done here as well.

using Lguest.X86.Memory;

namespace Lguest.Pc.Pci;

/// <summary>A PCI bus with up to 31 devices of one function besides its host bridge.</summary>
/// <remarks>All members belong to the thread that runs the processor.</remarks>
public sealed class PciBus : IPortDevice
{
    /// <summary>The port of the address register, which only whole words of four bytes reach.</summary>
    public const ushort AddressPort = 0xCF8;

    /// <summary>The first of the four ports of the data window.</summary>
    public const ushort DataPort = 0xCFC;

    /// <summary>Devices that a bus has numbers for.</summary>
    public const int DeviceCount = 32;

    /// <summary>Wires that lead from the slots to the interrupt controller.</summary>
    public const int LinkCount = 4;

    private const uint EnableBit = 1u << 31;
    private const uint AddressBits = 0x80FF_FFFC;
    private const int InterruptPinA = 1;

    private readonly MachineMemory memory;
    private readonly Link[] links;
    private readonly PciFunction?[] functions = new PciFunction?[DeviceCount];
    private uint address;

    /// <summary>Makes a bus with its host bridge, an Intel 82441FX, as device 0.</summary>
    /// <param name="memory">The machine's memory, in whose gaps the BARs lie.</param>
    /// <param name="links">Four interrupt inputs, level-triggered, each with the number that the firmware gives it. Device d's INTA# leads to
    /// number d modulo 4. The same input may be there several times.</param>
    public PciBus(MachineMemory memory, IReadOnlyList<(IInterruptLine Line, byte Irq)> links)
    {
        ArgumentNullException.ThrowIfNull(links);
        ArgumentOutOfRangeException.ThrowIfNotEqual(links.Count, LinkCount);
        this.memory = memory;
        var shared = links.Select(static link => link.Line).Distinct().ToDictionary(static line => line, static line => new SharedLine(line));
        this.links = [.. links.Select(link => new Link(shared[link.Line], link.Irq))];
        functions[0] = new PciFunction(new PciIdentity(0x8086, 0x1237, 0x06_0000, 2));
    }

    /// <summary>Puts a device into the next free slot.</summary>
    /// <returns>Its device number.</returns>
    /// <exception cref="InvalidOperationException">All numbers are taken.</exception>
    public int Add(PciFunction function)
    {
        ArgumentNullException.ThrowIfNull(function);
        int device = Array.IndexOf(functions, null);
        if (device < 0)
        {
            throw new InvalidOperationException($"A PCI bus has {DeviceCount} devices.");
        }
        functions[device] = function;
        function.Connect(memory, InterruptPinA, new Wire(links[device % LinkCount].Line));
        return device;
    }

    /// <summary>Does the firmware's part: BARs get addresses and are switched on, interrupt lines get their numbers. Before the processor runs.</summary>
    /// <param name="first">First address of the gap in memory that the BARs may fill.</param>
    /// <returns>The first address behind the BARs.</returns>
    public uint Configure(uint first)
    {
        for (int device = 1; device < DeviceCount; device++)
        {
            functions[device]?.Configure(ref first, links[device % LinkCount].Irq);
        }
        return first;
    }

    /// <summary>Brings every function to its state after power-on, before <see cref="Configure"/>.</summary>
    public void Reset()
    {
        address = 0;
        foreach (PciFunction? function in functions)
        {
            function?.ResetFunction();
        }
    }

    /// <summary>Takes the ports of the mechanism; CF9h to CFBh are left to others.</summary>
    public void Register(PortBus ports)
    {
        ArgumentNullException.ThrowIfNull(ports);
        ports.Register(AddressPort, 1, this);
        ports.Register(DataPort, 4, this);
    }

    /// <inheritdoc/>
    public uint Read(ushort port, int size)
    {
        uint nothing = uint.MaxValue >> (32 - (8 * size));
        if (port == AddressPort)
        {
            return size == 4 ? address : nothing;
        }
        return Selected(port, size) is { } function ? function.ReadConfiguration(Offset(port), size) : nothing;
    }

    /// <inheritdoc/>
    public void Write(ushort port, int size, uint value)
    {
        if (port == AddressPort)
        {
            address = size == 4 ? value & AddressBits : address;
            return;
        }
        Selected(port, size)?.WriteConfiguration(Offset(port), size, value);
        if (Offset(port) is >= PciRegisters.Command and < PciRegisters.BaseAddress + (4 * PciFunction.BarCount))
        {
            // Who gives up an address may make room for somebody else's registers.
            foreach (PciFunction? function in functions)
            {
                function?.Decode();
            }
        }
    }

    private int Offset(ushort port) => (int)(address & 0xFC) | (port & 3);

    /// <summary>The function that the address register names; null when there is none, or the access leaves the window.</summary>
    private PciFunction? Selected(ushort port, int size)
    {
        const uint BusAndFunction = 0x00FF_0700;
        bool isOurs = (address & EnableBit) != 0 && (address & BusAndFunction) == 0 && (port & 3) + size <= 4;
        return isOurs ? functions[(address >> 11) & 0x1F] : null;
    }

    private readonly record struct Link(SharedLine Line, byte Irq);

    /// <summary>An input that several wires pull: it is low when nobody pulls.</summary>
    private sealed class SharedLine(IInterruptLine line)
    {
        private readonly Lock door = new();
        private int pulling;

        public void Change(int by)
        {
            lock (door)
            {
                pulling += by;
                line.Set(pulling > 0);
            }
        }
    }

    /// <summary>One function's pin.</summary>
    private sealed class Wire(SharedLine shared) : IInterruptLine
    {
        private bool level;

        public void Set(bool level)
        {
            if (this.level != level)
            {
                this.level = level;
                shared.Change(level ? 1 : -1);
            }
        }
    }
}
