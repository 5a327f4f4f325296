// A bus with what a test needs around it: memory, four wires that remember their level, and the two ports as a driver uses them.

using Lguest.Pc.Pci;
using Lguest.X86;
using Lguest.X86.Memory;

namespace Lguest.Pc.Tests.Pci;

internal sealed class PciBench : IDisposable
{
    public const uint Gap = 0xC000_0000;

    private readonly PortBus ports = new();

    public PciBench()
    {
        Bus = new PciBus(Memory, [.. Lines.Select(static (line, i) => ((IInterruptLine)line, (byte)(8 + i)))]);
        Bus.Register(ports);
    }

    public MachineMemory Memory { get; } = new(16, 1);

    public TestLine[] Lines { get; } = [new(), new(), new(), new()];

    public PciBus Bus { get; }

    public uint In(ushort port, int size) => ports.Read(port, size);

    public void Out(ushort port, int size, uint value) => ports.Write(port, size, value);

    public uint Read(int device, int offset, int size)
    {
        Out(0xCF8, 4, 0x8000_0000 | ((uint)device << 11) | ((uint)offset & 0xFC));
        return In((ushort)(0xCFC + (offset & 3)), size);
    }

    public void Write(int device, int offset, int size, uint value)
    {
        Out(0xCF8, 4, 0x8000_0000 | ((uint)device << 11) | ((uint)offset & 0xFC));
        Out((ushort)(0xCFC + (offset & 3)), size, value);
    }

    public void Dispose() => Memory.Dispose();
}

internal sealed class TestLine : IInterruptLine
{
    public bool Level { get; private set; }

    public void Set(bool level) => Level = level;
}

/// <summary>A function with a region of 8 KiB behind BAR 1 and another of 4 KiB behind BAR 2.</summary>
internal sealed class TestFunction : PciFunction
{
    public TestFunction()
        : base(new PciIdentity(0x1234, 0x5678, 0x01_8002, 7, 0x9ABC, 0xDEF0))
    {
        AddMemoryBar(1, 0x2000, First);
        AddMemoryBar(2, 0x1000, Second);
    }

    public TestRegisters First { get; } = new();

    public TestRegisters Second { get; } = new();

    public int Append(byte id, params byte[] body) => AddCapability(id, body);

    public void Want(bool wanted) => SetInterrupt(wanted);
}

/// <summary>Remembers the last write, and reads as what was put in.</summary>
internal sealed class TestRegisters : IMemoryMappedDevice
{
    public (uint Offset, int Size, uint Value) Written { get; private set; }

    public uint Value { get; set; }

    public uint Read(uint offset, int size) => Value + offset;

    public void Write(uint offset, int size, uint value) => Written = (offset, size, value);
}
