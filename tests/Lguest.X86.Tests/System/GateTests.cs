// Interrupt and trap gates (Intel SDM volume 3, chapter 6): what an exception or an interrupt leaves behind, and what keeps it from being delivered.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class GateTests
{
    private const ushort Free = SystemMachine.Free;
    private const uint Handler = SystemMachine.Code + 0x800;
    private const uint Flags = Eflags.AlwaysOne | Eflags.Interrupt | Eflags.Carry | Eflags.Direction | Eflags.NestedTask;

    private static SystemMachine Machine(Engine engine, int ring, uint gateType, ushort handlerCode, Action<Iced.Intel.Assembler>? handler = null)
    {
        var m = new SystemMachine(engine);
        m.SetGate(0x80, handlerCode, Handler, gateType, dpl: 3);
        m.Assemble(Handler, handler ?? (a => a.@int(SystemMachine.Done)));
        m.Enter(ring);
        m.State.Eflags = Flags;
        return m;
    }

    [Theory]
    [InlineData(Engine.Blocks, 0xEu, true)]
    [InlineData(Engine.Blocks, 0xFu, false)]
    [InlineData(Engine.Reference, 0xEu, true)]
    [InlineData(Engine.Reference, 0xFu, false)]
    public void AGateToAnInnerRingBuildsTheWholeFrame(Engine engine, uint type, bool clearsInterrupt)
    {
        using SystemMachine m = Machine(engine, 3, type, SystemMachine.Code1, a =>
        {
            a.mov(eax, cs);
            a.mov(ebx, ss);
            a.mov(ecx, esp);
            a.pushfd();
            a.pop(edx);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(SystemMachine.Done, m.Run(a => a.@int(0x80)));
        Assert.Equal(SystemMachine.Code1, m[Register32.Eax]);
        Assert.Equal(SystemMachine.Data1, m[Register32.Ebx]);
        Assert.Equal(SystemMachine.Stack1 - 20, m[Register32.Ecx]);
        uint expected = Flags & ~Eflags.NestedTask;
        Assert.Equal(clearsInterrupt ? expected & ~Eflags.Interrupt : expected, m[Register32.Edx]);
        uint[] frame = new uint[5];
        for (uint i = 0; i < 5; i++)
        {
            frame[i] = m.Memory.Read<uint>(SystemMachine.Stack1 - 20 + (i * 4));
        }
        Assert.Equal([SystemMachine.Code + 2, SystemMachine.Code3, Flags, SystemMachine.Stack, SystemMachine.Data3], frame);
        Assert.Equal(SystemMachine.Data3, m.Selector(SegmentName.DS));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void AGateToTheSameRingKeepsTheStack(Engine engine)
    {
        using SystemMachine m = Machine(engine, 1, 0xF, SystemMachine.Code1 & 0xFFFC, a =>
        {
            a.mov(eax, cs);
            a.mov(ecx, esp);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(SystemMachine.Done, m.Run(a => a.@int(0x80)));
        Assert.Equal((SystemMachine.Code1, SystemMachine.Stack - 12), (m[Register32.Eax], m[Register32.Ecx]));
        Assert.Equal(SystemMachine.Code + 2, m.Memory.Read<uint>(SystemMachine.Stack - 12));
        Assert.Equal(SystemMachine.Code1, m.Memory.Read<uint>(SystemMachine.Stack - 8));
        Assert.Equal(Flags, m.Memory.Read<uint>(SystemMachine.Stack - 4));
    }

    [Theory]
    [InlineData(0x6u, true)]
    [InlineData(0x7u, false)]
    public void SixteenBitGatesPushWords(uint type, bool clearsInterrupt)
    {
        const ushort code16 = Free;
        using var m = new SystemMachine();
        m.SetDescriptor(code16, 0, 0xFFFFF, 0xBB, 0xC);
        m.SetGate(0x80, code16, 0xABCD_5000, type, dpl: 3);
        m.Assemble(0x5000, a =>
        {
            a.mov(ecx, esp);
            a.pushfd();
            a.@int(SystemMachine.Done);
        });
        m.Enter(3);
        m.State.Eflags = Flags;
        m[Register32.Esp] = 0x1234_5678;
        m.Assemble(0x4F00, a => a.@int(0x80));
        Assert.Equal(SystemMachine.Done, m.RunAt(0x4F00));
        Assert.Equal(SystemMachine.Stack1 - 10, m[Register32.Ecx]);
        ushort[] frame = new ushort[5];
        for (uint i = 0; i < 5; i++)
        {
            frame[i] = m.Memory.Read<ushort>(SystemMachine.Stack1 - 10 + (i * 2));
        }
        Assert.Equal([0x4F02, SystemMachine.Code3, (ushort)Flags, 0x5678, SystemMachine.Data3], frame);
        Assert.Equal(clearsInterrupt ? 0 : Eflags.Interrupt, m.Memory.Read<uint>(SystemMachine.Stack1 - 14) & Eflags.Interrupt);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void SoftwareInterruptsNeedTheGatesPermission(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.Enter(1);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.@int(0x21)));
        m.AssertFault(Vector.GeneralProtection, (0x21 * 8) + 2, SystemMachine.Code);
        m.SetGate(3, SystemMachine.Code0, SystemMachine.Handlers + (3 * 16), dpl: 0);
        m.Enter(3);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.int3()));
        m.AssertFault(Vector.GeneralProtection, (3 * 8) + 2, SystemMachine.Code);
        // A fault that the processor finds asks nobody.
        m.Enter(3);
        Assert.Equal(Vector.InvalidOpcode, m.Run(a => a.ud2()));
        m.AssertFault(Vector.InvalidOpcode, null, SystemMachine.Code);
    }

    [Fact]
    public void Int1AsksNobodyAndReturnsBehindItself()
    {
        using var m = new SystemMachine();
        m.Enter(3);
        uint before = m.State.Debug[6];
        Assert.Equal(Vector.Debug, m.Run(a =>
        {
            a.int1();
            a.nop();
        }));
        m.AssertFault(Vector.Debug, null, SystemMachine.Code + 1);
        Assert.Equal(before, m.State.Debug[6]);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void IntoAndBoundTrapOnlyWhenTheyMust(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.Enter(3);
        m.Memory.Write(SystemMachine.Data, 10);
        m.Memory.Write(SystemMachine.Data + 4, 20);
        m[Register32.Eax] = 20;
        Assert.Equal(Vector.Overflow, m.Run(a =>
        {
            a.bound(eax, __qword_ptr[SystemMachine.Data]);
            a.xor(ebx, ebx);
            a.into();
            a.mov(ebx, 0x7FFF_FFFF);
            a.inc(ebx);
            a.into();
        }));
        m.AssertFault(Vector.Overflow, null, SystemMachine.Code + 6 + 2 + 1 + 5 + 1 + 1);
        m.Enter(3);
        m[Register32.Eax] = 21;
        Assert.Equal(Vector.BoundRange, m.Run(a => a.bound(eax, __qword_ptr[SystemMachine.Data])));
        m.AssertFault(Vector.BoundRange, null, SystemMachine.Code);
    }

    [Theory]
    [InlineData(0x80, true, 0xE, 0x48, Vector.GeneralProtection, 0x48u)]
    [InlineData(0x80, false, 0xE, SystemMachine.Code0, Vector.SegmentNotPresent, (0x80u * 8) + 2)]
    [InlineData(0x80, true, 0x5, SystemMachine.Code0, Vector.GeneralProtection, SystemMachine.Code0)]
    [InlineData(0x80, true, 0xC, SystemMachine.Code0, Vector.GeneralProtection, (0x80u * 8) + 2)]
    [InlineData(0x80, true, 0xE, 0, Vector.GeneralProtection, 0u)]
    [InlineData(0x80, true, 0xE, 0x1000, Vector.GeneralProtection, 0x1000u)]
    [InlineData(0x80, true, 0xE, SystemMachine.Data0, Vector.GeneralProtection, SystemMachine.Data0)]
    [InlineData(0x80, true, 0xE, SystemMachine.Code3, Vector.GeneralProtection, SystemMachine.Code3 & 0xFFFCu)]
    [InlineData(0x80, true, 0xE, 0x50, Vector.SegmentNotPresent, 0x50u)]
    public void WrongGatesAreReported(int number, bool present, int type, int selector, byte vector, uint errorCode)
    {
        using var m = new SystemMachine();
        m.SetDescriptor(0x50, 0, 0xFFFFF, 0x1B, 0xC);
        m.SetGate((byte)number, (ushort)selector, Handler, (uint)type, 3, present);
        m.Enter(1);
        Assert.Equal(vector, m.Run(a => a.@int((byte)number)));
        m.AssertFault(vector, errorCode, SystemMachine.Code);
        Assert.Equal(SystemMachine.Stack, m.Frame(4));
    }

    [Fact]
    public void AVectorBehindTheTableIsReported()
    {
        using var m = new SystemMachine();
        m.State.Idtr.Limit = (0x80 * 8) + 6;
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.@int(0x80)));
        m.AssertFault(Vector.GeneralProtection, (0x80 * 8) + 2, SystemMachine.Code);
    }

    [Theory]
    [InlineData(0x21, 0x93, Vector.InvalidTss, 0x20u)]
    [InlineData(0x20, 0xB3, Vector.InvalidTss, 0x20u)]
    [InlineData(0x21, 0xB1, Vector.InvalidTss, 0x20u)]
    [InlineData(0x21, 0x33, Vector.StackFault, 0x20u)]
    [InlineData(0x00, 0xB3, Vector.InvalidTss, 0u)]
    [InlineData(0x1001, 0xB3, Vector.InvalidTss, 0x1000u)]
    public void AWrongInnerStackIsReported(int selector, int access, byte vector, uint errorCode)
    {
        using SystemMachine m = Machine(Engine.Blocks, 3, 0xE, SystemMachine.Code1);
        m.SetDescriptor(0x20, 0, 0xFFFFF, access, 0xC);
        m.Memory.Write(SystemMachine.Tss + 16, (uint)selector);
        Assert.Equal(vector, m.Run(a => a.@int(0x80)));
        m.AssertFault(vector, errorCode, SystemMachine.Code);
    }

    [Fact]
    public void ATssWithoutTheStackIsReported()
    {
        using SystemMachine m = Machine(Engine.Blocks, 3, 0xE, SystemMachine.Code1);
        m.State.TaskRegister.Limit = 16;
        Assert.Equal(Vector.InvalidTss, m.Run(a => a.@int(0x80)));
        m.AssertFault(Vector.InvalidTss, SystemMachine.Task, SystemMachine.Code);
    }

    [Theory]
    [InlineData(0xB3, 8u)]
    [InlineData(0xB7, 0x1008u)]
    public void AnInnerStackThatIsTooSmallIsReportedWithItsSelector(int access, uint esp)
    {
        using SystemMachine m = Machine(Engine.Blocks, 3, 0xE, SystemMachine.Code1);
        m.SetDescriptor(0x20, 0x30_0000, 0xFFF, access, 4);
        m.Memory.Write(SystemMachine.Tss + 12, esp);
        Assert.Equal(Vector.StackFault, m.Run(a => a.@int(0x80)));
        m.AssertFault(Vector.StackFault, 0x20, SystemMachine.Code);
        Assert.Equal(SystemMachine.Stack, m.Frame(4));
    }

    [Fact]
    public void AFrameThatCannotBeWrittenChangesNothing()
    {
        using var m = new SystemMachine(paging: true);
        m.SetGate(0x80, SystemMachine.Code1, Handler, 0xE, 3);
        m.Map(SystemMachine.Stack1 - 0x1000, 0, 0);
        m.Memory.Write(SystemMachine.Tss + 12, SystemMachine.Stack1 - 0x1000 + 8);
        m.Enter(3);
        Assert.Equal(Vector.PageFault, m.Run(a => a.@int(0x80)));
        m.AssertFault(Vector.PageFault, 2, SystemMachine.Code);
        Assert.Equal((uint)SystemMachine.Code3, m.Frame(2));
        Assert.Equal(SystemMachine.Stack, m.Frame(4));
    }

    [Fact]
    public void TheFrameIsPushedFromTheTop()
    {
        using var m = new SystemMachine(paging: true);
        m.SetGate(0x80, SystemMachine.Code1, Handler, 0xE, 3);
        m.Map(SystemMachine.Stack1, 0, 0);
        m.Map(SystemMachine.Stack1 - 0x1000, 0, 0);
        m.Memory.Write(SystemMachine.Tss + 12, SystemMachine.Stack1 + 8);
        m.Enter(3);
        Assert.Equal(Vector.PageFault, m.Run(a => a.@int(0x80)));
        Assert.Equal(SystemMachine.Stack1 + 4, m.State.Cr2);
    }

    [Fact]
    public void AnAccessedBitThatCannotBeWrittenChangesNothing()
    {
        using var m = new SystemMachine(paging: true);
        m.SetDescriptor(Free, 0, 0xFFFFF, 0xBA, 0xC);
        m.SetGate(0x80, Free, Handler, 0xE, 3);
        m.Map(SystemMachine.Gdt, SystemMachine.Gdt, SystemMachine.Present | SystemMachine.User);
        m.Enter(3);
        Assert.Equal(Vector.PageFault, m.Run(a => a.@int(0x80)));
        m.AssertFault(Vector.PageFault, 3, SystemMachine.Code);
        Assert.Equal((SystemMachine.Code3, SystemMachine.Stack, (uint)SystemMachine.Data3), ((ushort)m.Frame(2), m.Frame(4), m.Frame(5)));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ContributoryFaultsMakeADoubleFault(Engine engine)
    {
        using var m = new SystemMachine(engine, paging: true);
        m.SetGate(Vector.GeneralProtection, SystemMachine.Code0, 0, 0xE, 0, present: false);
        m.Enter(3);
        Assert.Equal(Vector.DoubleFault, m.Run(a => a.hlt()));
        m.AssertFault(Vector.DoubleFault, 0, SystemMachine.Code);

        // A page fault whose delivery is refused.
        m.SetGate(Vector.PageFault, 0xFF0, 0);
        m.Map(0x40_0000, 0, 0);
        m.Enter(3);
        Assert.Equal(Vector.DoubleFault, m.Run(a => a.mov(eax, __dword_ptr[0x40_0000])));

        // A benign one whose delivery is refused: only the second counts, and it was external to the program.
        m.SetGate(Vector.InvalidOpcode, SystemMachine.Code0, 0, 0xE, 0, present: false);
        m.Enter(3);
        Assert.Equal(Vector.SegmentNotPresent, m.Run(a => a.ud2()));
        m.AssertFault(Vector.SegmentNotPresent, (6 * 8) + 3, SystemMachine.Code);
    }

    [Fact]
    public void AFaultInADoubleFaultShutsDown()
    {
        using var m = new SystemMachine();
        m.State.Idtr.Limit = 0;
        m.Enter(3);
        m.Assemble(SystemMachine.Code, a => a.hlt());
        m.State.Eip = SystemMachine.Code;
        Assert.Equal(ExitKind.Shutdown, m.Processor.Run().Kind);
    }
}
