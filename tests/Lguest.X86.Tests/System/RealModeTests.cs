// Real and virtual-8086 mode (Intel SDM volume 3, chapter 20).

using Iced.Intel;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class RealModeTests
{
    private const ushort CodeSegment = 0x1000;
    private const uint CodeBase = 0x1_0000;
    private const ushort StackSegment = 0x2000;
    private const uint StackBase = 0x2_0000;
    private const uint Virtual = Eflags.AlwaysOne | Eflags.Virtual8086;

    /// <summary>Real mode with code at 1000:0000, a stack at 2000:1000, and a halting handler for each vector at 0F00:vector*16.</summary>
    private static SystemMachine Real(Engine engine = Engine.Blocks)
    {
        var m = new SystemMachine(engine);
        m.Processor.ResetToRealMode();
        if (engine == Engine.Reference)
        {
            m.Processor.SetDebugRegister(3, 0xFFFF_FFF0);
            m.Processor.SetDebugRegister(7, 0x440);
        }
        for (uint vector = 0; vector < 256; vector++)
        {
            m.Memory.Write(vector * 4, 0x0F00_0000u | (vector * 16));
            m.Memory.Write(0xF000 + (vector * 16), (byte)0xF4);
        }
        m.State.Idtr = new DescriptorTable { Base = 0, Limit = 0x3FF };
        m.Processor.LoadSegment(SegmentName.CS, CodeSegment);
        m.Processor.LoadSegment(SegmentName.SS, StackSegment);
        m[Register32.Esp] = 0x1000;
        m.State.Eip = 0;
        return m;
    }

    /// <summary>Runs to the next HLT.</summary>
    /// <returns>Vector of the handler that it lies in, or null.</returns>
    private static byte? Run(SystemMachine m, Action<Assembler> write)
    {
        m.Memory.Write(CodeBase, Oracles.TestMachine.Assemble(write, 0, 16));
        m.State.Eip = 0;
        return Run(m);
    }

    private static byte? Run(SystemMachine m)
    {
        Assert.Equal(ExitKind.Halt, m.Processor.Run().Kind);
        return m.Selector(SegmentName.CS) == 0x0F00 ? (byte)((m.State.Eip - 1) / 16) : null;
    }

    private static ushort Word(SystemMachine m, int index) =>
        m.Memory.Read<ushort>(m.State.Segments[(int)SegmentName.SS].Base + m[Register32.Esp] + ((uint)index * 2));

    [Fact]
    public void ResetStartsSixteenBytesBelowTheTop()
    {
        using var m = new SystemMachine(paging: true);
        byte[] rom = new byte[0x1_0000];
        Oracles.TestMachine.Assemble(a => a.jmp(0xF000, 0), 0xFFF0, 16).CopyTo(rom, 0xFFF0);
        Oracles.TestMachine.Assemble(a =>
        {
            a.mov(bx, cs);
            a.mov(eax, cr0);
            a.hlt();
        }, 0, 16).CopyTo(rom, 0);
        m.Memory.PlaceRom(0xF_0000, rom);
        m.Memory.PlaceRom(0xFFFF_0000, rom);
        for (int round = 0; round < 2; round++)
        {
            m.Processor.ResetToRealMode();
            Assert.Equal((0xFFFF_0000u, 0xFFF0u, 0x0001_06CAu), (m.State.Segments[(int)SegmentName.CS].Base, m.State.Eip, m[Register32.Edx]));
            Assert.Equal(ExitKind.Halt, m.Processor.Run().Kind);
            Assert.Equal((0xF_0000u, 0xF000u, 0x6000_0010u), (m.State.Segments[(int)SegmentName.CS].Base, m[Register32.Ebx], m[Register32.Eax]));
        }
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ASegmentIsItsNumberTimesSixteen(Engine engine)
    {
        using SystemMachine m = Real(engine);
        Assert.Null(Run(m, a =>
        {
            a.mov(ax, 0x3001);
            a.mov(ds, ax);
            a.mov(__dword_ptr[0x20], 0x1234_5678);
            a.push(ds);
            a.pop(es);
            a.mov(__word_ptr.cs[0x800], ax);
            a.les(di, __dword_ptr[0x20]);
            a.hlt();
        }));
        Assert.Equal(0x1234_5678u, m.Memory.Read<uint>(0x3_0030));
        Assert.Equal(0x3001, m.Memory.Read<ushort>(CodeBase + 0x800));
        Assert.Equal((0x1234, 0x5678u), (m.Selector(SegmentName.ES), m[Register32.Edi]));
        Assert.Equal((0x1_2340u, 0xFFFFu), (m.State.Segments[(int)SegmentName.ES].Base, m.State.Segments[(int)SegmentName.ES].Limit));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void FarTransfersNeedNoDescriptors(Engine engine)
    {
        using SystemMachine m = Real(engine);
        m.Memory.Write(0x3_0010, Oracles.TestMachine.Assemble(a =>
        {
            a.mov(ax, cs);
            a.retf(4);
        }, 0x10, 16));
        Assert.Null(Run(m, a =>
        {
            a.push((short)1);
            a.push((short)2);
            a.call(0x3000, 0x10);
            a.mov(bx, sp);
            a.mov(cx, cs);
            a.hlt();
        }));
        Assert.Equal((0x3000u, 0x1000u, (uint)CodeSegment), (m[Register32.Eax], m[Register32.Ebx], m[Register32.Ecx]));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void InterruptsGoThroughTheVectorTableAndReturn(Engine engine)
    {
        using SystemMachine m = Real(engine);
        m.Memory.Write(0xF000 + (0x21 * 16), Oracles.TestMachine.Assemble(a =>
        {
            a.pushf();
            a.pop(ax);
            a.iret();
        }, 0x210, 16));
        m.State.Eflags = Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Carry | Eflags.IoPrivilege | Eflags.NestedTask;
        Assert.Null(Run(m, a =>
        {
            a.@int(0x21);
            a.mov(bx, sp);
            a.hlt();
        }));
        Assert.Equal(Eflags.AlwaysOne | Eflags.Carry | Eflags.IoPrivilege | Eflags.NestedTask, m[Register32.Eax]);
        Assert.Equal(Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Carry | Eflags.IoPrivilege | Eflags.NestedTask, m.State.Eflags);
        Assert.Equal(0x1000u, m[Register32.Ebx]);
        m.Processor.RequestInterrupt(8);
        Assert.Equal((byte)8, Run(m, a => a.hlt()));
        Assert.Equal((0x0FFAu, 0, (int)CodeSegment), (m[Register32.Esp], Word(m, 0), Word(m, 1)));
    }

    [Theory]
    [InlineData("divide", Vector.DivideError)]
    [InlineData("limit", Vector.GeneralProtection)]
    [InlineData("stack", Vector.StackFault)]
    [InlineData("lar", Vector.InvalidOpcode)]
    [InlineData("lldt", Vector.InvalidOpcode)]
    [InlineData("str", Vector.InvalidOpcode)]
    [InlineData("verr", Vector.InvalidOpcode)]
    [InlineData("arpl", Vector.InvalidOpcode)]
    [InlineData("sysenter", Vector.GeneralProtection)]
    [InlineData("far", Vector.GeneralProtection)]
    public void FaultsPushNoErrorCode(string what, byte vector)
    {
        using SystemMachine m = Real();
        m[Register32.Ebp] = 0xFFFF;
        m.Memory.Write(0x4000, 0x1_0000u);
        Assert.Equal(vector, Run(m, a =>
        {
            a.nop();
            switch (what)
            {
                case "divide": a.div(cl); break;
                case "limit": a.mov(ax, __word_ptr[0xFFFF]); break;
                case "stack": a.mov(ax, __word_ptr[bp]); break;
                case "lar": a.lar(ax, bx); break;
                case "lldt": a.lldt(ax); break;
                case "str": a.str(ax); break;
                case "verr": a.verr(ax); break;
                case "arpl": a.arpl(ax, bx); break;
                case "sysenter": a.sysenter(); break;
                default: a.jmp(__fword_ptr[0x4000]); break;
            }
        }));
        Assert.Equal((0x0FFAu, 1, (int)CodeSegment), (m[Register32.Esp], Word(m, 0), Word(m, 1)));
    }

    [Fact]
    public void AVectorBehindTheTableShutsDown()
    {
        using SystemMachine m = Real();
        m.State.Idtr.Limit = 0x1F;
        m.Memory.Write(CodeBase, [0xCD, 0x21]);
        Assert.Equal(ExitKind.Shutdown, m.Processor.Run().Kind);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AWalkToProtectedModeAndBackLeavesBigSegments(Engine engine)
    {
        using SystemMachine m = Real(engine);
        m.Memory.Write(0x123_4560, 0x89AB_CDEFu);
        m.Memory.Write(CodeBase + 0x700, (ushort)0xFFF);
        m.Memory.Write(CodeBase + 0x702, SystemMachine.Gdt);
        Assert.Null(Run(m, a =>
        {
            a.lgdt(__fword_ptr.cs[0x700]);
            a.mov(eax, cr0);
            a.or(al, 1);
            a.mov(cr0, eax);
            a.mov(bx, SystemMachine.Data0);
            a.mov(ds, bx);
            a.and(al, 0xFE - 0x100);
            a.mov(cr0, eax);
            a.mov(edi, 0x123_4560);
            a.mov(ecx, __dword_ptr[edi]);
            a.mov(bx, 0x10);
            a.mov(ds, bx);
            a.mov(edx, __dword_ptr[edi - 0x100]);
            a.mov(si, cs);
            a.hlt();
        }));
        Assert.Equal((0x89AB_CDEFu, 0x89AB_CDEFu), (m[Register32.Ecx], m[Register32.Edx]));
        Assert.Equal((uint)CodeSegment, m[Register32.Esi]);
    }

    [Fact]
    public void FlatSegmentsInRealModeAreStillLoadedWithoutDescriptors()
    {
        using var m = new SystemMachine();
        m.State.Idtr = new DescriptorTable { Base = 0, Limit = 0x3FF };
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, SystemMachine.Data3 & ~3);
            a.mov(ds, ecx);
            a.mov(eax, cr0);
            a.and(eax, ~1);
            a.mov(cr0, eax);
            a.mov(ds, ecx);
            a.mov(es, ecx);
            a.mov(ebx, ds);
            a.hlt();
        }));
        Assert.Equal((0x300u, 0x300u), (m.State.Segments[(int)SegmentName.DS].Base, m.State.Segments[(int)SegmentName.ES].Base));
    }

    /// <summary>A program of virtual-8086 mode at 1000:0000; handlers are those of <see cref="SystemMachine"/>.</summary>
    private static byte RunVirtual(SystemMachine m, uint eflags, Action<Assembler> write)
    {
        m.Memory.Write(CodeBase, Oracles.TestMachine.Assemble(write, 0, 16));
        m.Assemble(SystemMachine.Code + 0x8000, a =>
        {
            a.push(0x5000);
            a.push(0x4000);
            a.push(0x3000);
            a.push(0x2800);
            a.push(StackSegment);
            a.push(0x1000);
            a.push((int)eflags);
            a.push(CodeSegment);
            a.push(0);
            a.iretd();
        });
        m.Enter(0);
        return m.RunAt(SystemMachine.Code + 0x8000);
    }

    [Theory]
    [InlineData(Engine.Blocks, false)]
    [InlineData(Engine.Blocks, true)]
    [InlineData(Engine.Reference, false)]
    public void AFaultLeavesVirtual8086ModeWithNineWords(Engine engine, bool paging)
    {
        using var m = new SystemMachine(engine, paging: paging);
        Assert.Equal(Vector.GeneralProtection, RunVirtual(m, Virtual | Eflags.Carry, a =>
        {
            a.mov(ax, 0x3456);
            a.mov(ds, ax);
            a.mov(__word_ptr[2], ax);
            a.push(ax);
            a.cli();
        }));
        Assert.Equal(0x3456, m.Memory.Read<ushort>(0x3_4562));
        Assert.Equal(0x3456, m.Memory.Read<ushort>(StackBase + 0xFFE));
        Assert.Equal(SystemMachine.Stack0 - 40, m[Register32.Esp]);
        uint[] frame = [.. Enumerable.Range(0, 10).Select(m.Frame)];
        Assert.Equal([0u, 9, CodeSegment, Virtual | Eflags.Carry | Eflags.Resume, 0xFFE, StackSegment, 0x2800, 0x3456, 0x4000, 0x5000], frame);
        Assert.Equal((0, 0u), (m.State.PrivilegeLevel, m.State.Eflags & Eflags.Virtual8086));
        foreach (SegmentName name in (SegmentName[])[SegmentName.ES, SegmentName.DS, SegmentName.FS, SegmentName.GS])
        {
            Assert.Equal(((ushort)0, false), (m.Selector(name), m.State.Segments[(int)name].Present));
        }
    }

    [Theory]
    [InlineData("cli")]
    [InlineData("sti")]
    [InlineData("pushf")]
    [InlineData("popf")]
    [InlineData("int")]
    [InlineData("iret")]
    [InlineData("hlt")]
    [InlineData("mov cr")]
    [InlineData("in")]
    public void TheMonitorIsAskedForWhatItGuards(string what)
    {
        using var m = new SystemMachine();
        bool always = what is "hlt" or "mov cr" or "in";
        void Write(Assembler a)
        {
            switch (what)
            {
                case "cli": a.cli(); break;
                case "sti": a.sti(); break;
                case "pushf": a.pushf(); break;
                case "popf": a.popf(); break;
                case "int": a.@int(SystemMachine.Done); break;
                case "iret": a.iret(); break;
                case "hlt": a.hlt(); break;
                case "mov cr": a.mov(eax, cr0); break;
                default: a.@in(al, 0x80); break;
            }
            a.int3();
        }
        Assert.Equal(Vector.GeneralProtection, RunVirtual(m, Virtual, Write));
        m.AssertFault(Vector.GeneralProtection, 0, 0);
        byte expected = always ? Vector.GeneralProtection : what == "int" ? SystemMachine.Done : Vector.Breakpoint;
        m.Memory.Write(StackBase + 0x1000, 0x1000_0000u);
        m.Memory.Write(StackBase + 0x1000, what == "iret" ? 0x1000_0001u : 0u);
        Assert.Equal(expected, RunVirtual(m, Virtual | Eflags.IoPrivilege, Write));
    }

    [Fact]
    public void AVirtual8086ProgramReachesPortsOfItsBitmapAndIoplDoesNotHelp()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(SystemMachine.Task, SystemMachine.Tss, 0x88, 0x8B, 0);
        m.State.TaskRegister = m.DescriptorOf(SystemMachine.Task).ToSegment(SystemMachine.Task);
        m.Memory.Write(SystemMachine.Tss + 0x68 + 0x10, (ushort)0xFF02);
        Assert.Equal(Vector.GeneralProtection, RunVirtual(m, Virtual | Eflags.IoPrivilege, a =>
        {
            a.@in(al, 0x80);
            a.@in(al, 0x81);
        }));
        m.AssertFault(Vector.GeneralProtection, 0, 2);
    }

    [Fact]
    public void FlagsOfAVirtual8086ProgramKeepIoplAndMode()
    {
        using var m = new SystemMachine();
        Assert.Equal(Vector.Breakpoint, RunVirtual(m, Virtual | Eflags.IoPrivilege, a =>
        {
            a.mov(eax, (int)(Eflags.Interrupt | Eflags.Carry));
            a.push(eax);
            a.popfd();
            a.pushfd();
            a.pop(ebx);
            a.int3();
        }));
        Assert.Equal(Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Carry | Eflags.IoPrivilege, m[Register32.Ebx]);
        Assert.Equal(Virtual | Eflags.Interrupt | Eflags.Carry | Eflags.IoPrivilege, m.Frame(2));
    }

    [Fact]
    public void AHandlerOfAnOuterRingIsRefused()
    {
        using var m = new SystemMachine();
        m.SetGate(Vector.Breakpoint, SystemMachine.Code1, 0x1234, dpl: 3);
        Assert.Equal(Vector.GeneralProtection, RunVirtual(m, Virtual, a => a.int3()));
        Assert.Equal(SystemMachine.Code1 & ~3u, m.Frame(0));
    }

    [Fact]
    public void ATaskCanBeginInVirtual8086Mode()
    {
        using var m = new SystemMachine();
        const uint tss = 0xD000;
        m.SetDescriptor(SystemMachine.Free, tss, 0x67, 0x89, 0);
        m.Memory.Write(tss + 4, SystemMachine.Stack0);
        m.Memory.Write(tss + 8, (uint)SystemMachine.Data0);
        m.Memory.Write(tss + 0x24, Virtual);
        m.Memory.Write(tss + 0x38, 0x800u);
        m.Memory.Write(tss + 0x4C, (uint)CodeSegment);
        m.Memory.Write(tss + 0x50, (uint)StackSegment);
        m.Memory.Write(CodeBase, [0x50, 0xCC]);
        Assert.Equal(Vector.Breakpoint, m.RunAt(Write()));
        uint[] frame = [.. Enumerable.Range(0, 5).Select(m.Frame)];
        Assert.Equal([2u, CodeSegment, Virtual, 0x7FE, StackSegment], frame);

        uint Write()
        {
            m.Assemble(SystemMachine.Code + 0x8000, a => a.jmp(SystemMachine.Free, 0));
            return SystemMachine.Code + 0x8000;
        }
    }
}
