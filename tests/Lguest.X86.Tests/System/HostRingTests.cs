// Ring 0 is C#: a gate that leads there returns from Run with the interrupted program's state, and TryLeaveHostRing goes back.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class HostRingTests
{
    private const ushort Free = SystemMachine.Free;
    private const uint Handler = SystemMachine.Code + 0x800;

    private static SystemMachine Machine(Engine engine, int ring)
    {
        var m = new SystemMachine(engine, hostRing: true, paging: true);
        m.Enter(ring);
        m.State.Eflags = Eflags.AlwaysOne | Eflags.Interrupt;
        return m;
    }

    private static ProcessorExit Run(SystemMachine m, Action<Iced.Intel.Assembler> write)
    {
        m.Assemble(SystemMachine.Code, write);
        m.State.Eip = SystemMachine.Code;
        return m.Processor.Run();
    }

    [Theory]
    [InlineData(Engine.Blocks, 1)]
    [InlineData(Engine.Blocks, 3)]
    [InlineData(Engine.Reference, 1)]
    public void AFaultComesBackAtItsInstruction(Engine engine, int ring)
    {
        using SystemMachine m = Machine(engine, ring);
        m.Map(0x40_0000, 0, 0);
        ProcessorExit exit = Run(m, a =>
        {
            a.inc(ecx);
            a.mov(__dword_ptr[0x40_0010], ecx);
        });
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, Vector.PageFault, ring == 3 ? 6u : 2u), exit);
        Assert.Equal((SystemMachine.Code + 1, 0x40_0010u), (m.State.Eip, m.State.Cr2));
        Assert.Equal((ring, SystemMachine.Stack), (m.State.PrivilegeLevel, m[Register32.Esp]));
        Assert.Equal(Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Resume, m.State.Eflags);
        Assert.Equal(1u, m[Register32.Ecx]);

        // The page comes, and the program goes on as if nothing had been.
        m.Map(0x40_0000, 0x40_0000, SystemMachine.All);
        m.Memory.Write(SystemMachine.Code + 7, (byte)0xCD);
        m.Memory.Write(SystemMachine.Code + 8, SystemMachine.Done);
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, SystemMachine.Done, 0), m.Processor.Run());
        Assert.Equal(1u, m.Memory.Read<uint>(0x40_0010));
        Assert.Equal(Eflags.AlwaysOne | Eflags.Interrupt, m.State.Eflags);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ASoftwareInterruptComesBackBehindItself(Engine engine)
    {
        using SystemMachine m = Machine(engine, 3);
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, SystemMachine.Done, 0), Run(m, a =>
        {
            a.nop();
            a.@int(SystemMachine.Done);
            a.mov(ecx, 5);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal(SystemMachine.Code + 3, m.State.Eip);
        Assert.Equal(0u, m.State.Eflags & Eflags.Resume);
        Assert.Equal(2, m.Processor.InstructionCount);
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, SystemMachine.Done, 0), m.Processor.Run());
        Assert.Equal(SystemMachine.Code + 10, m.State.Eip);
        Assert.Equal(5u, m[Register32.Ecx]);
    }

    [Fact]
    public void TheGateOfTheHostStillAsksForPrivilege()
    {
        using SystemMachine m = Machine(Engine.Blocks, 1);
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, Vector.GeneralProtection, (0x21 * 8) + 2), Run(m, a => a.@int(0x21)));
        Assert.Equal(SystemMachine.Code, m.State.Eip);
    }

    [Fact]
    public void AGateToTheGuestsRingDoesNotComeBack()
    {
        using SystemMachine m = Machine(Engine.Blocks, 3);
        m.SetGate(0x80, SystemMachine.Code1, Handler, 0xF, 3);
        m.Assemble(Handler, a => a.iretd());
        Assert.Equal(SystemMachine.Done, Run(m, a =>
        {
            a.@int(0x80);
            a.mov(ecx, 9);
            a.@int(SystemMachine.Done);
        }).Vector);
        Assert.Equal((9u, 3), (m[Register32.Ecx], m.State.PrivilegeLevel));
        Assert.Equal(SystemMachine.Stack, m[Register32.Esp]);
    }

    [Theory]
    [InlineData("hlt")]
    [InlineData("cli")]
    [InlineData("mov cr3")]
    [InlineData("mov from cr0")]
    [InlineData("lgdt")]
    [InlineData("lidt")]
    [InlineData("ltr")]
    [InlineData("lldt")]
    [InlineData("invlpg")]
    [InlineData("wrmsr")]
    [InlineData("rdmsr")]
    [InlineData("clts")]
    [InlineData("lmsw")]
    [InlineData("mov dr")]
    [InlineData("in")]
    [InlineData("out")]
    [InlineData("sysenter")]
    [InlineData("sysexit")]
    [InlineData("wbinvd")]
    public void PrivilegedInstructionsFaultInRingOne(string name)
    {
        using SystemMachine m = Machine(Engine.Blocks, 1);
        m[Register32.Ecx] = 0x174;
        ProcessorExit exit = Run(m, a =>
        {
            a.nop();
            switch (name)
            {
                case "hlt": a.hlt(); break;
                case "cli": a.cli(); break;
                case "mov cr3": a.mov(cr3, eax); break;
                case "mov from cr0": a.mov(eax, cr0); break;
                case "lgdt": a.lgdt(__[SystemMachine.Data]); break;
                case "lidt": a.lidt(__[SystemMachine.Data]); break;
                case "ltr": a.ltr(ax); break;
                case "lldt": a.lldt(ax); break;
                case "invlpg": a.invlpg(__byte_ptr[0]); break;
                case "wrmsr": a.wrmsr(); break;
                case "rdmsr": a.rdmsr(); break;
                case "clts": a.clts(); break;
                case "lmsw": a.lmsw(ax); break;
                case "mov dr": a.mov(dr7, eax); break;
                case "in": a.@in(al, dx); break;
                case "out": a.@out(0x80, al); break;
                case "sysenter": a.sysenter(); break;
                case "sysexit": a.sysexit(); break;
                default: a.wbinvd(); break;
            }
        });
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, Vector.GeneralProtection, 0), exit);
        Assert.Equal(SystemMachine.Code + 1, m.State.Eip);
    }

    [Fact]
    public void ACallGateIntoTheHostsRingIsRefused()
    {
        using SystemMachine m = Machine(Engine.Blocks, 3);
        m.SetCallGate(Free, SystemMachine.Code0, Handler, 0);
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, Vector.GeneralProtection, SystemMachine.Code0), Run(m, a => a.call(Free, 0)));
        Assert.Equal((3, SystemMachine.Code), (m.State.PrivilegeLevel, m.State.Eip));
    }

    [Fact]
    public void AnInterruptComesBackBetweenInstructions()
    {
        using SystemMachine m = Machine(Engine.Blocks, 3);
        m.Processor.RequestInterrupt(0x2A);
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, 0x2A, 0), Run(m, a => a.nop()));
        Assert.Equal(SystemMachine.Code, m.State.Eip);
    }

    private static OuterRingFrame Frame(int ring) => new()
    {
        Gs = SystemMachine.Data3,
        Fs = 0,
        Ds = ring == 1 ? SystemMachine.Data1 : SystemMachine.Data3,
        Es = SystemMachine.Data1,
        Eip = Handler,
        Eflags = Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Carry | Eflags.IoPrivilege | Eflags.Virtual8086,
        Esp = 0x7_5554,
        Cs = ring == 1 ? SystemMachine.Code1 : SystemMachine.Code3,
        Ss = ring == 1 ? SystemMachine.Data1 : SystemMachine.Data3,
    };

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void LeavingLoadsWhatTheFrameSays(int ring)
    {
        using SystemMachine m = Machine(Engine.Blocks, 1);
        OuterRingFrame frame = Frame(ring);
        Assert.True(m.Processor.TryLeaveHostRing(frame, out _));
        Assert.Equal((Handler, 0x7_5554u, ring), (m.State.Eip, m[Register32.Esp], m.State.PrivilegeLevel));
        Assert.Equal(frame.Eflags & ~Eflags.Virtual8086, m.State.Eflags);
        ushort[] expected = [ring == 1 ? SystemMachine.Data1 : (ushort)0, frame.Cs, frame.Ss, frame.Ds, 0, SystemMachine.Data3];
        for (int i = 0; i < 6; i++)
        {
            Assert.Equal(expected[i], m.State.Segments[i].Selector);
        }
        m.Assemble(Handler, a => a.@int(SystemMachine.Done));
        Assert.Equal(SystemMachine.Done, m.Processor.Run().Vector);
    }

    [Theory]
    [InlineData("gs", Vector.GeneralProtection, 0xFF0u)]
    [InlineData("fs", Vector.SegmentNotPresent, Free)]
    [InlineData("ds", Vector.GeneralProtection, SystemMachine.Task)]
    [InlineData("es", Vector.GeneralProtection, 0x1000u)]
    [InlineData("cs null", Vector.GeneralProtection, 0u)]
    [InlineData("cs ring 0", Vector.GeneralProtection, SystemMachine.Code0)]
    [InlineData("cs data", Vector.GeneralProtection, SystemMachine.Data3 & 0xFFFCu)]
    [InlineData("cs absent", Vector.SegmentNotPresent, Free + 8u)]
    [InlineData("ss null", Vector.GeneralProtection, 0u)]
    [InlineData("ss ring", Vector.GeneralProtection, SystemMachine.Data1 & 0xFFFCu)]
    [InlineData("ss absent", Vector.StackFault, Free)]
    [InlineData("eip", Vector.GeneralProtection, 0u)]
    public void LeavingWithAWrongFrameSaysWhyAndChangesNothing(string what, byte vector, uint errorCode)
    {
        using SystemMachine m = Machine(Engine.Blocks, 1);
        m.SetDescriptor(Free, 0, 0xFFFFF, 0x73, 0xC);
        m.SetDescriptor(Free + 8, 0, 0xFFFFF, 0x7B, 0xC);
        m.SetDescriptor(Free + 16, 0, 0xFFF, 0xFB, 4);
        OuterRingFrame frame = Frame(3);
        switch (what)
        {
            case "gs": frame.Gs = 0xFF0; break;
            case "fs": frame.Fs = Free | 3; break;
            case "ds": frame.Ds = SystemMachine.Task; break;
            case "es": frame.Es = 0x1003; break;
            case "cs null": frame.Cs = 3; break;
            case "cs ring 0": frame.Cs = SystemMachine.Code0; break;
            case "cs data": frame.Cs = SystemMachine.Data3; break;
            case "cs absent": frame.Cs = (Free + 8) | 3; break;
            case "ss null": frame.Ss = 3; break;
            case "ss ring": frame.Ss = SystemMachine.Data1; break;
            case "ss absent": frame.Ss = Free | 3; break;
            default: frame.Cs = (Free + 16) | 3; break;
        }
        CpuState before = m.State;
        Assert.False(m.Processor.TryLeaveHostRing(frame, out ProcessorExit fault));
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, vector, errorCode), fault);
        Assert.Equal((before.PrivilegeLevel, before.Eip, before.Eflags), (m.State.PrivilegeLevel, m.State.Eip, m.State.Eflags));
        for (int i = 0; i < 6; i++)
        {
            Assert.Equal(before.Segments[i], m.State.Segments[i]);
        }

        // A Guest that goes on nevertheless is still in its own ring.
        Assert.Equal(new ProcessorExit(ExitKind.HostRing, Vector.GeneralProtection, 0), Run(m, a => a.hlt()));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void CountsAreExactAcrossFaultsAndEarlyExits(Engine engine)
    {
        using SystemMachine m = Machine(engine, 1);
        m.Map(0x40_0000, 0, 0);
        ProcessorExit exit = Run(m, a =>
        {
            a.nop();
            a.inc(ecx);
            a.cpuid();
            a.mov(eax, __dword_ptr[0x40_0000]);
            a.nop();
            a.nop();
            a.cpuid();
            a.mov(__byte_ptr[SystemMachine.Code], 0x90);
            a.hlt();
        });
        Assert.Equal((Vector.PageFault, 3L), (exit.Vector, m.Processor.InstructionCount));
        m.Map(0x40_0000, 0x40_0000, SystemMachine.All);
        Assert.Equal(Vector.GeneralProtection, m.Processor.Run().Vector);
        Assert.Equal(8L, m.Processor.InstructionCount);
    }
}
