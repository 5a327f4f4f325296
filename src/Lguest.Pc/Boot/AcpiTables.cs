// The ACPI tables of the board (ACPI specification 2.0, chapter 5). A kernel learns three things from them that it would otherwise have to be
// told by arguments: how the machine is switched off, where a timer is that checks its own, and which interrupts PCI slots have.

using System.Buffers.Binary;
using Lguest.Pc.Board;
using Lguest.Pc.Chips;
using Lguest.Pc.Pci;
using Lguest.X86.Memory;

namespace Lguest.Pc.Boot;

/// <summary>Writes the tables into the BIOS's part of memory, where kernels look for them.</summary>
internal static class AcpiTables
{
    /// <summary>The root pointer, from which all is found.</summary>
    public const uint RootPointer = 0x000F_0000;

    private const uint FirstTable = 0x000F_0040;
    private const int HeaderSize = 36;
    private const int FixedTableSize = 244;
    private const uint PciRootIdentifier = 0x030A_D041; // PNP0A03

    /// <summary>Writes all tables.</summary>
    public static void Write(MachineMemory memory)
    {
        uint next = FirstTable;
        uint Place(byte[] table)
        {
            uint address = (next + 63) & ~63u;
            memory.Write(address, table);
            next = address + (uint)table.Length;
            return address;
        }
        uint control = Place(ControlStructure());
        uint differentiated = Place(Finish("DSDT", 2, DifferentiatedDescription()));
        uint fixedDescription = Place(Finish("FACP", 3, FixedDescription(control, differentiated)));
        byte[] root = new byte[HeaderSize + 4];
        BinaryPrimitives.WriteUInt32LittleEndian(root.AsSpan(HeaderSize), fixedDescription);
        memory.Write(RootPointer, Pointer(Place(Finish("RSDT", 1, root))));
    }

    /// <summary>What the byte code says: the sleeping state S5 and the PCI root.</summary>
    internal static byte[] DifferentiatedDescription()
    {
        var aml = new AmlWriter();
        aml.Name("_S5_");
        aml.Package(4, static state =>
        {
            state.Integer(PowerManagement.PowerOffType);
            state.Integer(PowerManagement.PowerOffType);
            state.Integer(0);
            state.Integer(0);
        });
        aml.Scope("_SB_", static system => system.Device("PCI0", static root =>
        {
            root.Name("_HID");
            root.Integer(PciRootIdentifier);
            root.Name("_UID");
            root.Integer(0);
            root.Name("_BBN");
            root.Integer(0);
            root.Name("_CRS");
            root.Buffer(RootResources());
            root.Name("_PRT");
            root.Package(PciBus.DeviceCount - 1, WriteRouting);
        }));
        return [.. new byte[HeaderSize], .. aml.ToArray()];
    }

    /// <summary>Slot by slot: all functions, INTA#, no link device, the interrupt.</summary>
    private static void WriteRouting(AmlWriter routing)
    {
        for (uint slot = 1; slot < PciBus.DeviceCount; slot++)
        {
            uint address = (slot << 16) | 0xFFFF;
            byte irq = PcBoard.PciIrqs[(int)slot % PciBus.LinkCount];
            routing.Package(4, entry =>
            {
                entry.Integer(address);
                entry.Integer(0);
                entry.Integer(0);
                entry.Integer(irq);
            });
        }
    }

    /// <summary>What the root bridge passes on, as resource descriptors (6.4): bus numbers, its own ports, all other ports, the gap in memory.</summary>
    private static byte[] RootResources()
    {
        byte[] WordRange(byte type, byte flags, ushort first, ushort last)
        {
            byte[] bytes = [0x88, 13, 0, type, 0x0C, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(8), first);
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(10), last);
            BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(14), (ushort)(last - first + 1));
            return bytes;
        }
        const byte MemoryType = 0, PortType = 1, BusType = 2;
        byte[] memory = new byte[26];
        ReadOnlySpan<byte> head = [0x87, 23, 0, MemoryType, 0x0C, 0x01];
        head.CopyTo(memory);
        BinaryPrimitives.WriteUInt32LittleEndian(memory.AsSpan(10), PcBoard.PciGap);
        BinaryPrimitives.WriteUInt32LittleEndian(memory.AsSpan(14), PcBoard.PciGapEnd - 1);
        BinaryPrimitives.WriteUInt32LittleEndian(memory.AsSpan(22), PcBoard.PciGapEnd - PcBoard.PciGap);
        return
        [
            .. WordRange(BusType, 0, 0, 0xFF),
            0x47, 0x01, 0xF8, 0x0C, 0xF8, 0x0C, 1, 8,
            .. WordRange(PortType, 3, 0, 0xCF7),
            .. WordRange(PortType, 3, 0xD00, 0xFFFF),
            .. memory,
            0x79, 0,
        ];
    }

    private static byte[] FixedDescription(uint control, uint differentiated)
    {
        byte[] table = new byte[FixedTableSize];
        void Set32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(offset), value);
        void Set16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(table.AsSpan(offset), value);

        const ushort HasLegacyDevices = 1, HasNoScreen = 4, HasNoMessageInterrupts = 8;
        const uint FlushWorks = 1 << 0, HasHalt = 1 << 2, NoPowerButton = 1 << 4, NoSleepButton = 1 << 5, ClockWakesNobody = 1 << 6;
        const uint TimerHas32Bits = 1 << 8, HasResetRegister = 1 << 10;
        const ushort NoSuchState = 0xFFF;

        Set32(36, control);
        Set32(40, differentiated);
        Set16(46, PcBoard.AcpiIrq);
        Set32(56, PowerManagement.EventPort);
        Set32(64, PowerManagement.ControlPort);
        Set32(76, PowerManagement.TimerPort);
        table[88] = 4;
        table[89] = 2;
        table[91] = 4;
        Set16(96, NoSuchState);
        Set16(98, NoSuchState);
        table[108] = 0x32;
        Set16(109, HasLegacyDevices | HasNoScreen | HasNoMessageInterrupts);
        Set32(112, FlushWorks | HasHalt | NoPowerButton | NoSleepButton | ClockWakesNobody | TimerHas32Bits | HasResetRegister);
        // The reset register: a generic address (ports, 8 bits wide) and the value to write, the keyboard controller's pulse.
        table[116] = 1;
        table[117] = 8;
        Set32(120, 0x64);
        table[128] = 0xFE;
        return table;
    }

    /// <summary>FACS: what firmware and kernel would share while sleeping.</summary>
    private static byte[] ControlStructure()
    {
        byte[] table = new byte[64];
        "FACS"u8.CopyTo(table);
        BinaryPrimitives.WriteInt32LittleEndian(table.AsSpan(4), table.Length);
        table[32] = 1;
        return table;
    }

    private static byte[] Pointer(uint root)
    {
        byte[] pointer = new byte[20];
        "RSD PTR "u8.CopyTo(pointer);
        "LGUEST"u8.CopyTo(pointer.AsSpan(9));
        BinaryPrimitives.WriteUInt32LittleEndian(pointer.AsSpan(16), root);
        pointer[8] = Complement(pointer);
        return pointer;
    }

    /// <summary>Fills in the header that all tables have.</summary>
    private static byte[] Finish(string signature, byte revision, byte[] table)
    {
        for (int i = 0; i < 4; i++)
        {
            table[i] = (byte)signature[i];
        }
        BinaryPrimitives.WriteInt32LittleEndian(table.AsSpan(4), table.Length);
        table[8] = revision;
        "LGUEST"u8.CopyTo(table.AsSpan(10));
        "LGUESTPC"u8.CopyTo(table.AsSpan(16));
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(24), 1);
        "LGST"u8.CopyTo(table.AsSpan(28));
        BinaryPrimitives.WriteUInt32LittleEndian(table.AsSpan(32), 1);
        table[9] = Complement(table);
        return table;
    }

    /// <summary>The byte that makes the sum of all bytes 0.</summary>
    private static byte Complement(ReadOnlySpan<byte> bytes)
    {
        byte sum = 0;
        foreach (byte value in bytes)
        {
            sum += value;
        }
        return (byte)-sum;
    }
}
