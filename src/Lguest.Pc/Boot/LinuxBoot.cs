// What a boot loader owes a Linux kernel by the 32-bit boot protocol (Documentation/x86/boot.rst, version 2.15): a page of parameters whose
// address is in ESI, among them a memory map, a command line and an initrd; flat segments of fixed numbers; and interrupts off.

using System.Buffers.Binary;
using System.Text;
using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.Pc.Boot;

/// <summary>Where an initrd was put.</summary>
/// <param name="Address">First address.</param>
/// <param name="Length">Bytes; 0 for none.</param>
public readonly record struct InitrdPlace(uint Address, uint Length);

/// <summary>Prepares a machine for a Linux kernel that has been loaded.</summary>
public static class LinuxBoot
{
    /// <summary>Bytes of a command line, including its final 0, when the kernel does not say.</summary>
    public const int DefaultCommandLineSize = 2048;

    /// <summary>Where the setup header begins, in the file and in the parameters.</summary>
    public const int HeaderOffset = 0x1F1;

    private const uint Descriptors = 0x6000;
    private const uint Parameters = 0x7000;
    private const uint CommandLine = 0x8000;
    private const int ParametersSize = 4096;
    private const ushort CodeSelector = 0x10, DataSelector = 0x18;
    private const byte UnknownLoader = 0xFF;
    private const byte LoadedHigh = 1;

    /// <summary>Writes everything and sets the processor on the kernel's first instruction.</summary>
    /// <param name="processor">A processor that has not run, in flat protected mode.</param>
    /// <param name="header">The setup header from the kernel's file, from <see cref="HeaderOffset"/> on; empty for a vmlinux.</param>
    /// <param name="entry">Physical address of the 32-bit entry.</param>
    /// <param name="commandLine">ASCII or Latin-1, shorter than the kernel's limit.</param>
    /// <param name="initrd">Where the initrd is.</param>
    public static void Prepare(Processor processor, ReadOnlySpan<byte> header, uint entry, string commandLine, InitrdPlace initrd)
    {
        ArgumentNullException.ThrowIfNull(processor);
        MachineMemory memory = processor.Memory;
        AcpiTables.Write(memory);
        byte[] parameters = new byte[ParametersSize];
        void Set32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(parameters.AsSpan(offset), value);

        header.CopyTo(parameters.AsSpan(HeaderOffset));
        if (header.IsEmpty)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(parameters.AsSpan(0x1FE), 0xAA55);
            "HdrS"u8.CopyTo(parameters.AsSpan(0x202));
            BinaryPrimitives.WriteUInt16LittleEndian(parameters.AsSpan(0x206), 0x020F);
        }
        parameters[0x210] = UnknownLoader;
        parameters[0x211] |= LoadedHigh;
        Set32(0x218, initrd.Length == 0 ? 0 : initrd.Address);
        Set32(0x21C, initrd.Length);
        Set32(0x228, CommandLine);
        Set32(0x070, AcpiTables.RootPointer);
        WriteMemoryMap(parameters, (ulong)memory.GuestFrames * MachineMemory.FrameSize);
        memory.Write(Parameters, parameters);
        memory.Write(CommandLine, Encoding.Latin1.GetBytes(commandLine + "\0"));
        memory.Write(Descriptors, FlatDescriptors());

        ref CpuState state = ref processor.State;
        state.Gdtr = new DescriptorTable { Base = Descriptors, Limit = 31 };
        for (int i = 0; i < 6; i++)
        {
            state.Segments[i].Selector = i == (int)SegmentName.CS ? CodeSelector : DataSelector;
        }
        state.General[(int)Register32.Esi] = Parameters;
        state.Eip = entry;
        processor.StateChanged();
    }

    private static void WriteMemoryMap(byte[] parameters, ulong size)
    {
        MemoryRange[] ranges = MemoryRanges.Of(size);
        parameters[0x1E8] = (byte)ranges.Length;
        for (int i = 0; i < ranges.Length; i++)
        {
            Span<byte> entry = parameters.AsSpan(0x2D0 + (20 * i), 20);
            BinaryPrimitives.WriteUInt64LittleEndian(entry, ranges[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(entry[8..], ranges[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(entry[16..], ranges[i].Kind);
        }
    }

    /// <summary>Two empty descriptors, and flat segments for code and data.</summary>
    private static byte[] FlatDescriptors() =>
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0xFF, 0xFF, 0, 0, 0, 0x9B, 0xCF, 0,
        0xFF, 0xFF, 0, 0, 0, 0x93, 0xCF, 0,
    ];
}
