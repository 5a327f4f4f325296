// What a PC is built from, besides its memory.

using Lguest.Pc.Chips;
using Lguest.Pc.Pci;
using Lguest.X86;

namespace Lguest.Pc.Board;

/// <summary>Describes a <see cref="PcGuest"/>.</summary>
public sealed record PcOptions
{
    /// <summary>What is at the other end of the first serial port, COM1.</summary>
    public required ISerialConsole Console { get; init; }

    /// <summary>The engine and its choices; ports, interrupts and the owner of ring 0 are the board's.</summary>
    public ProcessorOptions Processor { get; init; } = new();

    /// <summary>Cards on the PCI bus, in the order of their slots.</summary>
    public IReadOnlyList<PciFunction> Cards { get; init; } = [];

    /// <summary>Gives the machine the device by which test programs end it (QEMU's isa-debug-exit).</summary>
    public bool HasDebugExit { get; init; }

    /// <summary>Ports whose OUTs are reported.</summary>
    public IReadOnlyList<ushort> TracedPorts { get; init; } = [];

    /// <summary>Takes what is written to a traced port: port, size in bytes, value. Called on the thread that runs the processor.</summary>
    public Action<ushort, int, uint>? PortTraced { get; init; }
}

/// <summary>A serial peer that may keep what it takes for a while.</summary>
public interface ISerialConsole : ISerialPeer
{
    /// <summary>Takes a byte of the debug port (E9h). Called on the thread that runs the processor.</summary>
    void Print(byte value);

    /// <summary>Lets everything that was sent be seen. Called on the thread that runs the processor.</summary>
    void Flush();
}
