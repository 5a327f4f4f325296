// What a boot loader owes a program with a multiboot header (Multiboot Specification 0.6.96): two magic numbers to recognise each other by,
// and a structure that says where memory, command line and modules are.

using System.Buffers.Binary;
using System.Text;
using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.Pc.Boot;

/// <summary>Prepares a machine for a multiboot program that has been loaded.</summary>
public static class MultibootBoot
{
    /// <summary>What the program's header begins with.</summary>
    public const uint HeaderMagic = 0x1BAD_B002;

    /// <summary>The header lies in the first bytes of the file, this many, on a multiple of 4.</summary>
    public const int HeaderSearch = 8192;

    private const uint LoaderMagic = 0x2BAD_B002;
    private const uint Information = 0x6000;
    private const uint MemoryMap = 0x6100;
    private const uint Module = 0x6400;
    private const uint LoaderName = 0x6500;
    private const uint CommandLine = 0x7000;
    private const int InformationSize = 88;

    /// <summary>Longest command line, without its final 0.</summary>
    public const int LongestCommandLine = 4095;

    /// <summary>Writes everything and sets the processor on the program's first instruction.</summary>
    /// <param name="processor">A processor that has not run, in flat protected mode.</param>
    /// <param name="entry">Physical address of the first instruction.</param>
    /// <param name="commandLine">ASCII or Latin-1.</param>
    /// <param name="module">The one module, if there is one.</param>
    public static void Prepare(Processor processor, uint entry, string commandLine, InitrdPlace module)
    {
        ArgumentNullException.ThrowIfNull(processor);
        MachineMemory memory = processor.Memory;
        AcpiTables.Write(memory);
        ulong size = (ulong)memory.GuestFrames * MachineMemory.FrameSize;
        MemoryRange[] ranges = MemoryRanges.Of(size);
        const int EntrySize = 24;
        byte[] map = new byte[ranges.Length * EntrySize];
        for (int i = 0; i < ranges.Length; i++)
        {
            Span<byte> range = map.AsSpan(i * EntrySize, EntrySize);
            // The size does not count its own word.
            BinaryPrimitives.WriteUInt32LittleEndian(range, EntrySize - 4);
            BinaryPrimitives.WriteUInt64LittleEndian(range[4..], ranges[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(range[12..], ranges[i].Length);
            BinaryPrimitives.WriteUInt32LittleEndian(range[20..], ranges[i].Kind);
        }
        memory.Write(MemoryMap, map);
        memory.Write(CommandLine, Encoding.Latin1.GetBytes(commandLine + "\0"));
        memory.Write(LoaderName, "lguest\0"u8);

        const uint HasMemory = 1, HasCommandLine = 4, HasModules = 8, HasMap = 1 << 6, HasName = 1 << 9;
        byte[] information = new byte[InformationSize];
        void Set(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(information.AsSpan(offset), value);
        Set(0, HasMemory | HasCommandLine | HasModules | HasMap | HasName);
        Set(4, MemoryRanges.BaseEnd / 1024);
        Set(8, (uint)((size - MemoryRanges.ExtendedStart) / 1024));
        Set(16, CommandLine);
        if (module.Length > 0)
        {
            Set(20, 1);
            Set(24, Module);
            memory.Write(Module, module.Address);
            memory.Write(Module + 4, module.Address + module.Length);
        }
        Set(44, (uint)map.Length);
        Set(48, MemoryMap);
        Set(64, LoaderName);
        memory.Write(Information, information);

        ref CpuState state = ref processor.State;
        state.General[(int)Register32.Eax] = LoaderMagic;
        state.General[(int)Register32.Ebx] = Information;
        state.Eip = entry;
        processor.StateChanged();
    }
}
