// The board: which chip sits at which ports and pulls which wire. It is the PC that kernels expect without being told, and no more: two
// interrupt controllers, a timer, a clock, a serial port, a PCI bus, and ACPI's few registers.

using Lguest.Pc.Chips;
using Lguest.Pc.Pci;
using Lguest.X86.Memory;

namespace Lguest.Pc.Board;

/// <summary>The chips of a PC and the wires between them.</summary>
internal sealed class PcBoard : IDisposable
{
    /// <summary>First address of the gap below 4 GiB that PCI cards share. RAM ends below it.</summary>
    public const uint PciGap = 0xE000_0000;

    /// <summary>First address behind that gap.</summary>
    public const uint PciGapEnd = 0xFEC0_0000;

    /// <summary>The interrupt of ACPI events.</summary>
    public const byte AcpiIrq = 9;

    private const ushort FirstSerialPort = 0x3F8;
    private const int TimerIrq = 0, SerialIrq = 4, ClockIrq = 8, NumericErrorIrq = 13;
    private const int BaseMemoryKilobytes = 640;

    private readonly Pit8254 timer;
    private readonly Rtc146818 clock;

    /// <summary>Builds a board.</summary>
    /// <param name="memory">The machine's memory.</param>
    /// <param name="options">What is on it.</param>
    /// <param name="time">The time of its chips.</param>
    /// <param name="signal">Called whenever the interrupt controller has something for the processor, by any thread.</param>
    /// <param name="ignoreNumericError">The processor's pin IGNNE#: called when the Guest has told the board that it sees to a numeric error.</param>
    /// <param name="end">Called when the Guest ends the machine.</param>
    public PcBoard(MachineMemory memory, PcOptions options, TimeProvider time, Action signal, Action ignoreNumericError, Action<PcEnd> end)
    {
        Interrupts = new PicPair(signal);
        Interrupts.Connect(Ports);
        timer = new Pit8254(Interrupts.Line(TimerIrq), time);
        timer.Connect(Ports);
        clock = new Rtc146818(Interrupts.Line(ClockIrq), time);
        clock.Connect(Ports);
        StoreMemorySize(memory.GuestFrames);
        Serial = new Uart16550(FirstSerialPort, Interrupts.Line(SerialIrq), options.Console);
        Serial.Connect(Ports);
        NumericError = Interrupts.Line(NumericErrorIrq);
        var systemPorts = new SystemPorts(() => end(new PcEnd(PcEndKind.Reset)), options.Console.Print, () =>
        {
            NumericError.Set(false);
            ignoreNumericError();
        });
        systemPorts.Connect(Ports);
        new PowerManagement(() => end(new PcEnd(PcEndKind.PowerOff)), time).Connect(Ports);
        if (options.HasDebugExit)
        {
            new DebugExit(status => end(new PcEnd(PcEndKind.DebugExit, status))).Connect(Ports);
        }
        Pci = new PciBus(memory, [.. PciIrqs.Select(irq => (Interrupts.Line(irq), irq))]);
        foreach (PciFunction card in options.Cards)
        {
            Pci.Add(card);
        }
        Pci.Configure(PciGap);
        Pci.Register(Ports);
        foreach (byte irq in PciIrqs)
        {
            // As firmware does: wires that are shared are level-triggered.
            ushort port = (ushort)(0x4D0 + (irq / 8));
            Ports.Write(port, 1, Ports.Read(port, 1) | (1u << (irq % 8)));
        }
        if (options.PortTraced is { } traced)
        {
            foreach (ushort port in options.TracedPorts)
            {
                Ports.Trace(port, traced);
            }
        }
    }

    /// <summary>The interrupts of the bus's four wires, from the one of INTA# of slot 0 on.</summary>
    public static IReadOnlyList<byte> PciIrqs { get; } = [10, 11, 10, 11];

    public PortBus Ports { get; } = new();

    public PicPair Interrupts { get; }

    public Uart16550 Serial { get; }

    /// <summary>The wire by which the processor tells of numeric errors, if its Guest wants it so.</summary>
    public IInterruptLine NumericError { get; }

    public PciBus Pci { get; }

    public void Dispose()
    {
        timer.Dispose();
        clock.Dispose();
    }

    /// <summary>What a BIOS leaves in the CMOS memory about RAM, for programs that look there.</summary>
    private void StoreMemorySize(uint frames)
    {
        void Store16(int address, uint value)
        {
            clock.Store(address, (byte)value);
            clock.Store(address + 1, (byte)(value >> 8));
        }
        uint kilobytes = frames * 4;
        uint extended = Math.Min(kilobytes - Math.Min(kilobytes, 1024), 0xFFFF);
        Store16(0x15, BaseMemoryKilobytes);
        Store16(0x17, extended);
        Store16(0x30, extended);
        uint above16 = (kilobytes - Math.Min(kilobytes, 16 * 1024)) / 64;
        Store16(0x34, Math.Min(above16, 0xFFFF));
    }
}
