// A machine with an operating system's furniture: GDT, IDT, TSS and page tables. Every vector has a handler that halts, so a program
// that is interrupted stops there and the test looks at the vector, the frame and the state. A program that ends by itself ends with
// HLT in ring 0, or with INT 0xFF anywhere.

using Iced.Intel;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.SystemLevel;

/// <summary>How a test wants the processor to run.</summary>
public enum Engine
{
    /// <summary>Decoded blocks.</summary>
    Blocks,

    /// <summary>One instruction at a time by the reference handlers, as when a breakpoint is armed.</summary>
    Reference,
}

internal sealed class SystemMachine : IDisposable
{
    public const uint Gdt = 0x1000;
    public const uint Idt = 0x2000;
    public const uint Tss = 0x3000;
    public const uint Ldt = 0x4000;
    public const uint Directory = 0x5000;
    public const uint Tables = 0x6000;
    public const uint Handlers = 0xB000;
    public const uint Code = 0x1_0000;
    public const uint Data = 0x2_0000;
    public const uint Stack0 = 0x7_0000;
    public const uint Stack1 = 0x6_0000;
    public const uint Stack = 0x8_0000;

    public const ushort Code0 = 0x08;
    public const ushort Data0 = 0x10;
    public const ushort Code1 = 0x19;
    public const ushort Data1 = 0x21;
    public const ushort Code3 = 0x2B;
    public const ushort Data3 = 0x33;
    public const ushort Task = 0x38;
    public const ushort Local = 0x40;

    /// <summary>First selector that tests may define.</summary>
    public const ushort Free = 0x48;

    /// <summary>A gate that every ring may use to end a program.</summary>
    public const byte Done = 0xFF;

    public const uint Present = 1;
    public const uint Writable = 2;
    public const uint User = 4;
    public const uint Accessed = 0x20;
    public const uint Dirty = 0x40;
    public const uint Large = 0x80;
    public const uint All = Present | Writable | User;

    private const uint GateInterrupt32 = 0xE;

    public SystemMachine(Engine engine = Engine.Blocks, bool hostRing = false, bool paging = false, nuint? codeCacheBytes = null, int? translateAfter = null, IInterruptController? controller = null)
    {
        Memory = new MachineMemory(0x4000, 1024);
        ProcessorOptions options = Differential.TestSettings.Processor(hostRing) with { TimeStampCounter = static () => 0x1_2345_6789 };
        Processor = new Processor(Memory, options with
        {
            CodeCacheBytes = codeCacheBytes ?? options.CodeCacheBytes,
            TranslateAfter = translateAfter ?? options.TranslateAfter,
            InterruptController = controller,
        });
        State.Gdtr = new DescriptorTable { Base = Gdt, Limit = 0xFFF };
        State.Idtr = new DescriptorTable { Base = Idt, Limit = 0x7FF };
        for (int ring = 0; ring <= 3; ring++)
        {
            if (ring != 2)
            {
                int index = ring == 3 ? 5 : 1 + (ring * 2);
                SetDescriptor((ushort)(index * 8), 0, 0xFFFFF, 0x9B | (ring << 5), 0xC);
                SetDescriptor((ushort)((index + 1) * 8), 0, 0xFFFFF, 0x93 | (ring << 5), 0xC);
            }
        }
        SetDescriptor(Task, Tss, 0x67, 0x8B, 0);
        SetDescriptor(Local, Ldt, 0xFF, 0x82, 0);
        State.TaskRegister = DescriptorOf(Task).ToSegment(Task);
        Memory.Write(Tss + 4, Stack0);
        Memory.Write(Tss + 8, (uint)Data0);
        Memory.Write(Tss + 12, Stack1);
        Memory.Write(Tss + 16, (uint)Data1);
        Memory.Write(Tss + 0x64, 0x68_0000u);
        for (int vector = 0; vector < 256; vector++)
        {
            Memory.Write(Handlers + ((uint)vector * 16), (byte)0xF4);
            SetGate((byte)vector, Code0, Handlers + ((uint)vector * 16), dpl: vector is 3 or 4 or Done ? 3 : 0);
        }
        if (paging)
        {
            for (uint i = 0; i < 4; i++)
            {
                Memory.Write(Directory + (i * 4), (Tables + (i * 0x1000)) | All);
            }
            for (uint page = 0; page < 0x1000; page++)
            {
                Memory.Write(Tables + (page * 4), (page << 12) | All);
            }
            State.Cr0 |= Cr0.Paging | Cr0.WriteProtect;
            Space = Processor.CreateAddressSpace(Directory);
            Processor.CurrentAddressSpace = Space;
        }
        else
        {
            Space = Processor.CurrentAddressSpace;
        }
        if (engine == Engine.Reference)
        {
            Processor.SetDebugRegister(3, 0xFFFF_FFF0);
            Processor.SetDebugRegister(7, 0x440);
        }
        Enter(0);
    }

    public MachineMemory Memory { get; }

    public Processor Processor { get; }

    public AddressSpace Space { get; }

    public ref CpuState State => ref Processor.State;

    public ref uint this[Register32 register] => ref State.General[(int)register];

    /// <summary>The frame on top of the current stack, word by word.</summary>
    public uint Frame(int index) => Memory.Read<uint>(State.Segments[(int)SegmentName.SS].Base + this[Register32.Esp] + ((uint)index * 4));

    public ushort Selector(SegmentName name) => State.Segments[(int)name].Selector;

    /// <summary>Writes a descriptor.</summary>
    /// <param name="selector">Its selector; TI chooses the table.</param>
    /// <param name="address">Base.</param>
    /// <param name="limit">20 bits.</param>
    /// <param name="access">Type, S, DPL and P.</param>
    /// <param name="flags">AVL, L, D/B and G.</param>
    public void SetDescriptor(ushort selector, uint address, uint limit, int access, int flags)
    {
        uint place = ((selector & 4) != 0 ? Ldt : Gdt) + (selector & 0xFFF8u);
        Memory.Write(place, (address << 16) | (limit & 0xFFFF));
        Memory.Write(place + 4, (address & 0xFF00_0000) | ((uint)flags << 20) | (limit & 0xF_0000) | ((uint)access << 8) | ((address >> 16) & 0xFF));
    }

    public byte AccessByte(ushort selector) => Memory.Read<byte>(((selector & 4) != 0 ? Ldt : Gdt) + (selector & 0xFFF8u) + 5);

    public Processor.Descriptor DescriptorOf(ushort selector)
    {
        uint place = ((selector & 4) != 0 ? Ldt : Gdt) + (selector & 0xFFF8u);
        return new Processor.Descriptor(Memory.Read<uint>(place), Memory.Read<uint>(place + 4));
    }

    /// <summary>Writes a gate into the IDT.</summary>
    public void SetGate(byte vector, ushort selector, uint offset, uint type = GateInterrupt32, int dpl = 0, bool present = true) =>
        WriteGate(Idt + ((uint)vector * 8), selector, offset, type, dpl, present, 0);

    /// <summary>Writes a call gate into the GDT.</summary>
    public void SetCallGate(ushort gate, ushort selector, uint offset, int parameters, uint type = 0xC, int dpl = 3, bool present = true) =>
        WriteGate(Gdt + (gate & 0xFFF8u), selector, offset, type, dpl, present, parameters);

    private void WriteGate(uint place, ushort selector, uint offset, uint type, int dpl, bool present, int parameters)
    {
        Memory.Write(place, ((uint)selector << 16) | (offset & 0xFFFF));
        Memory.Write(place + 4, (offset & 0xFFFF_0000) | (present ? 0x8000u : 0) | ((uint)dpl << 13) | (type << 8) | (uint)parameters);
    }

    /// <summary>Maps a linear page (below 16 MiB) to a physical one. Says nothing to the TLB.</summary>
    public void Map(uint linear, uint physical, uint flags) => Memory.Write(Tables + ((linear >> 12) * 4), (physical & 0xFFFF_F000) | flags);

    public uint TableEntry(uint linear) => Memory.Read<uint>(Tables + ((linear >> 12) * 4));

    public uint DirectoryEntry(uint linear) => Memory.Read<uint>(Directory + ((linear >> 22) * 4));

    /// <summary>Loads CS, SS and the data segments of a ring, with the ring's stack.</summary>
    public void Enter(int ring)
    {
        (ushort code, ushort data) = ring switch { 0 => (Code0, Data0), 1 => (Code1, Data1), _ => (Code3, Data3) };
        for (int i = 0; i < 6; i++)
        {
            ushort selector = i == (int)SegmentName.CS ? code : data;
            State.Segments[i] = DescriptorOf(selector).ToSegment(selector);
        }
        State.PrivilegeLevel = ring;
        this[Register32.Esp] = Stack;
        Processor.StateChanged();
    }

    /// <summary>Loads one segment register with a descriptor, unchecked.</summary>
    public void Load(SegmentName name, ushort selector) => Processor.SetSegment(name, DescriptorOf(selector).ToSegment(selector));

    public void Assemble(uint address, Action<Assembler> write, int bits = 32) => Memory.Write(address, TestMachine.Assemble(write, address, bits));

    /// <summary>Assembles a program at <see cref="Code"/> and runs it until it ends or is interrupted.</summary>
    /// <returns>The vector that ended it; <see cref="Done"/> for a HLT of its own.</returns>
    public byte Run(Action<Assembler> write)
    {
        Assemble(Code, write);
        return RunAt(Code);
    }

    /// <summary>Runs from an address.</summary>
    public byte RunAt(uint address)
    {
        State.Eip = address;
        return Continue();
    }

    /// <summary>Runs on.</summary>
    public byte Continue()
    {
        ProcessorExit exit = Processor.Run();
        if (exit.Kind == ExitKind.HostRing)
        {
            return exit.Vector;
        }
        Assert.Equal(ExitKind.Halt, exit.Kind);
        uint handler = State.Eip - 1 - Handlers;
        return handler < 256 * 16 ? (byte)(handler / 16) : Done;
    }

    /// <summary>Asserts that a program is refused in ring 0 with an error code, at one of its instructions, and changes nothing.</summary>
    public void AssertFault(byte vector, uint? errorCode, uint eip)
    {
        int first = errorCode is null ? 0 : 1;
        if (errorCode is { } code)
        {
            Assert.Equal((vector, code), (vector, Frame(0)));
        }
        Assert.Equal(eip, Frame(first));
    }

    public void Dispose()
    {
        Processor.Dispose();
        Memory.Dispose();
    }
}
