// A machine on which a random program runs in ring 3, with ring 0 as the exit: it has real descriptor tables and, if wanted, page
// tables that show the same memory twice, and two pages that refuse.

using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Programs;

/// <summary>Memory and processor for one program at a time.</summary>
internal sealed class ProgramMachine : IDisposable
{
    public const uint Alias = 0x100_0000;
    public const int Size = 0x2_0000;

    public const int DataSelector = 0x23;
    public const int FsSelector = 0x2B;
    public const int GsSelector = 0x33;

    private const uint Gdt = 0x1000;
    private const uint Idt = 0x1800;
    private const uint Directory = 0x2000;
    private const uint Table = 0x3000;
    private const uint UserWritable = 7;
    private const int CodeSelector = 0x1B;

    private static readonly byte[] Nothing = new byte[RandomProgram.CodeEnd - RandomProgram.Data];

    private readonly TestMachine machine;
    private readonly bool paging;
    private readonly CpuState start;

    public ProgramMachine(bool paging, bool stopsExactly = false, nuint? codeCacheBytes = null)
    {
        ProcessorOptions options = TestSettings.Processor(hostOwnsRing0: true);
        machine = new(stopsExactly
            ? new ProcessorOptions { Engine = EngineKind.Interpreter, StopsExactly = true }
            : options with { CodeCacheBytes = codeCacheBytes ?? options.CodeCacheBytes });
        this.paging = paging;
        MakeTables();
        machine.SetPrivilegeLevel(3);
        for (int i = 0; i < 6; i++)
        {
            machine.State.Segments[i].Selector = (ushort)((SegmentName)i switch
            {
                SegmentName.CS => CodeSelector,
                SegmentName.FS => FsSelector,
                SegmentName.GS => GsSelector,
                _ => DataSelector,
            });
        }
        machine.SetSegmentBase(SegmentName.FS, CaseGenerator.FsBase);
        machine.SetSegmentBase(SegmentName.GS, CaseGenerator.GsBase);
        machine.State.Gdtr = new DescriptorTable { Base = Gdt, Limit = 0x3F };
        machine.State.Idtr = new DescriptorTable { Base = Idt, Limit = 0x7FF };
        machine.State.Cr4 = Cr4.OsFxsr | Cr4.OsXmmExceptions;
        if (paging)
        {
            machine.State.Cr0 |= Cr0.Paging | Cr0.WriteProtect;
            machine.State.Cr3 = Directory;
            machine.Processor.CurrentAddressSpace = machine.Processor.CreateAddressSpace(Directory);
        }
        machine.Processor.StateChanged();
        start = machine.State;
    }

    public ref CpuState State => ref machine.State;

    public Processor Processor => machine.Processor;

    public byte FaultVector => machine.FaultVector;

    /// <summary>Puts a program and its data into memory and the processor at its start.</summary>
    public void Load(RandomProgram program, byte[] code, byte[] data, in NativeState registers)
    {
        machine.Memory.Write(RandomProgram.Data, Nothing);
        machine.Memory.Write(RandomProgram.Data, data);
        machine.Memory.Write(program.Start, code);
        machine.State = start;
        registers.CopyTo(ref machine.State);
        machine.State.Eflags = (registers.Eflags & Eflags.Status) | Eflags.Interrupt;
        machine.State.General[(int)Register32.Esp] = RandomProgram.StackTop;
        machine.State.Eip = program.Start;
        if (paging)
        {
            machine.State.Cr3 = Directory;
        }
        machine.Processor.StateChanged();
    }

    public bool Step() => machine.Step();

    /// <summary>All memory that a program can reach.</summary>
    public byte[] Memory() => machine.Read(RandomProgram.Data, (int)(RandomProgram.CodeEnd - RandomProgram.Data));

    public void Dispose() => machine.Dispose();

    private void MakeTables()
    {
        ulong[] descriptors = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_FB00_0000_FFFF, 0x00CF_F300_0000_FFFF, Data(CaseGenerator.FsBase), Data(CaseGenerator.GsBase)];
        for (int i = 0; i < descriptors.Length; i++)
        {
            machine.Memory.Write(Gdt + (uint)(i * 8), descriptors[i]);
        }
        for (uint vector = 0; vector < 256; vector++)
        {
            machine.Memory.Write(Idt + (vector * 8), 0x0000_EE00_0008_0000ul);
        }
        machine.Memory.Write(Directory, Table | UserWritable);
        machine.Memory.Write(Directory + ((Alias >> 22) * 4), Table | UserWritable);
        for (uint page = 0; page < 0x400; page++)
        {
            uint entry = page << 12;
            entry |= entry switch
            {
                RandomProgram.NotPresentPage => 0u,
                RandomProgram.ReadOnlyPage => 5u,
                _ => UserWritable,
            };
            machine.Memory.Write(Table + (page * 4), entry);
        }
    }

    /// <summary>Descriptor of a segment of all 4 GiB with a base, for ring 3.</summary>
    private static ulong Data(uint address) => 0x00CF_F300_0000_FFFF | ((ulong)(address & 0xFF_FFFF) << 16) | ((ulong)(address >> 24) << 56);
}
