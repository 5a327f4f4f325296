// Gates, frames and returns (Intel SDM volume 3, chapters 5 and 6): what an exception, an interrupt, a call and their returns leave behind.

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

    [Theory]
    [InlineData(0, 0xFFFF_FFFFu, 0x0025_7FD7u)]
    [InlineData(1, 0xFFFF_FFFFu, 0x0024_4DD7u)]
    [InlineData(3, 0xFFFF_FFFFu, 0x0024_4DD7u)]
    public void PopfChangesWhatTheRingMay(int ring, uint value, uint expected)
    {
        using var m = new SystemMachine();
        m.Enter(ring);
        m.State.Eflags = Eflags.AlwaysOne;
        m.Run(a =>
        {
            a.push(unchecked((int)(value & ~Eflags.Trap)));
            a.popfd();
            a.pushfd();
            a.pop(ecx);
            a.push(0x02);
            a.popfd();
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(expected & ~(Eflags.Trap | Eflags.Resume), m[Register32.Ecx]);
    }

    [Fact]
    public void PopfOfAWordKeepsTheUpperHalf()
    {
        using var m = new SystemMachine();
        m.State.Eflags = Eflags.Identification | Eflags.AlwaysOne;
        m.Run(a =>
        {
            a.push((short)0);
            a.popf();
            a.pushfd();
            a.pop(ecx);
            a.hlt();
        });
        Assert.Equal(Eflags.Identification | Eflags.AlwaysOne, m[Register32.Ecx]);
    }

    [Theory]
    [InlineData(1, 1u, true)]
    [InlineData(1, 0u, false)]
    [InlineData(3, 2u, false)]
    [InlineData(3, 3u, true)]
    public void InterruptFlagNeedsIoPrivilege(int ring, uint ioPrivilege, bool allowed)
    {
        using var m = new SystemMachine();
        m.Enter(ring);
        m.State.Eflags = (ioPrivilege << 12) | Eflags.AlwaysOne;
        Assert.Equal(allowed ? SystemMachine.Done : Vector.GeneralProtection, m.Run(a =>
        {
            a.sti();
            a.@int(SystemMachine.Done);
        }));
        m.Enter(ring);
        m.State.Eflags = (ioPrivilege << 12) | Eflags.Interrupt;
        m.Run(a =>
        {
            a.push(0);
            a.popfd();
            a.pushfd();
            a.pop(ecx);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(allowed ? 0 : Eflags.Interrupt, m[Register32.Ecx] & Eflags.Interrupt);
        Assert.Equal(ioPrivilege << 12, m[Register32.Ecx] & Eflags.IoPrivilege);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void IretToAnOuterRingDropsInnerSegments(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Free, 0, 0xFFFFF, 0x9F, 0xC);
        m.Enter(1);
        m.Load(SegmentName.FS, Free);
        m.Load(SegmentName.GS, SystemMachine.Data3);
        m.Assemble(Handler, a =>
        {
            a.mov(eax, ds);
            a.mov(ebx, es);
            a.mov(ecx, fs);
            a.mov(edx, gs);
            a.@int(SystemMachine.Done);
        });
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.push((int)SystemMachine.Data3);
            a.push(0x1234_5678);
            a.push((int)(Eflags.Interrupt | Eflags.IoPrivilege | Eflags.Carry));
            a.push((int)SystemMachine.Code3);
            a.push((int)Handler);
            a.iretd();
        }));
        Assert.Equal((0u, 0u, (uint)Free, (uint)SystemMachine.Data3), (m[Register32.Eax], m[Register32.Ebx], m[Register32.Ecx], m[Register32.Edx]));
        // The frame that the end of the program built in ring 0.
        Assert.Equal(
            (SystemMachine.Code3, Eflags.AlwaysOne | Eflags.Carry, 0x1234_5678u, SystemMachine.Data3),
            (m.Frame(1), m.Frame(2), m.Frame(3), m.Frame(4)));
        Assert.Equal(0u, m.State.Segments[(int)SegmentName.DS].Attributes);
    }

    [Theory]
    [InlineData(0, 0x3_7FD7u)]
    [InlineData(1, 0x0_4DD7u)]
    public void IretRestoresTheFlagsThatTheRingMayChange(int ring, uint changeable)
    {
        using var m = new SystemMachine();
        m.Enter(ring);
        ushort code = ring == 0 ? SystemMachine.Code0 : SystemMachine.Code1;
        m.State.Eflags = 2;
        m.Assemble(Handler, a =>
        {
            a.pushfd();
            a.pop(ecx);
            a.push(0);
            a.popfd();
            a.@int(SystemMachine.Done);
        });
        m.Run(a =>
        {
            a.push(unchecked((int)~(Eflags.Trap | Eflags.Virtual8086)));
            a.push((int)code);
            a.push((int)Handler);
            a.iretd();
        });
        uint expected = (changeable & ~(Eflags.Trap | Eflags.Virtual8086 | Eflags.Resume)) | Eflags.AlignmentCheck | Eflags.Identification;
        Assert.Equal(expected, m[Register32.Ecx] & ~(Eflags.VirtualInterrupt | Eflags.VirtualInterruptPending));
    }

    [Theory]
    [InlineData(SystemMachine.Code0, SystemMachine.Data3, Vector.GeneralProtection, SystemMachine.Code0)]
    [InlineData(SystemMachine.Data3, SystemMachine.Data3, Vector.GeneralProtection, SystemMachine.Data3 & 0xFFFCu)]
    [InlineData(0, SystemMachine.Data3, Vector.GeneralProtection, 0u)]
    [InlineData(0x1003, SystemMachine.Data3, Vector.GeneralProtection, 0x1000u)]
    [InlineData(Free | 3, SystemMachine.Data3, Vector.SegmentNotPresent, Free)]
    [InlineData(SystemMachine.Code3, 0, Vector.GeneralProtection, 0u)]
    [InlineData(SystemMachine.Code3, SystemMachine.Data1, Vector.GeneralProtection, SystemMachine.Data1 & 0xFFFCu)]
    [InlineData(SystemMachine.Code3, SystemMachine.Code3, Vector.GeneralProtection, SystemMachine.Code3 & 0xFFFCu)]
    [InlineData(SystemMachine.Code3, (Free + 8) | 3, Vector.StackFault, Free + 8u)]
    public void AWrongReturnFaultsAtTheReturn(int code, int stack, byte vector, uint errorCode)
    {
        foreach (bool far in new[] { false, true })
        {
            using var m = new SystemMachine();
            m.SetDescriptor(Free, 0, 0xFFFFF, 0x7B, 0xC);
            m.SetDescriptor(Free + 8, 0, 0xFFFFF, 0x73, 0xC);
            m.Enter(1);
            m.Load(SegmentName.GS, SystemMachine.Data3);
            Assert.Equal(vector, m.Run(a =>
            {
                a.push(stack);
                a.push(0x1234_5678);
                if (!far)
                {
                    a.push((int)Eflags.Interrupt);
                }
                a.push(code);
                a.push((int)Handler);
                if (far)
                {
                    a.retf();
                }
                else
                {
                    a.iretd();
                }
            }));
            Assert.Equal(errorCode, m.Frame(0));
            Assert.Equal(far ? (byte)0xCB : (byte)0xCF, m.Memory.Read<byte>(m.Frame(1)));
            Assert.Equal(SystemMachine.Code1, m.Frame(2));
            Assert.Equal(SystemMachine.Stack - (far ? 16u : 20u), m.Frame(4));
            Assert.Equal(SystemMachine.Data1, m.Frame(5));
            Assert.Equal((SystemMachine.Data1, SystemMachine.Data3), (m.Selector(SegmentName.DS), m.Selector(SegmentName.GS)));
        }
    }

    [Fact]
    public void IretBehindTheLimitFaultsAtTheReturn()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(Free, 0, 0xFFF, 0xBB, 4);
        m.Enter(1);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.push(2);
            a.push(Free | 1);
            a.push(0x1000);
            a.iretd();
        }));
        Assert.Equal((0u, (byte)0xCF), (m.Frame(0), m.Memory.Read<byte>(m.Frame(1))));
    }

    [Fact]
    public void AReturnFromANestedTaskHasNoTaskToReturnTo()
    {
        using var m = new SystemMachine();
        m.State.Eflags = Eflags.NestedTask;
        Assert.Equal(Vector.InvalidTss, m.Run(a => a.iretd()));
        m.AssertFault(Vector.InvalidTss, 0, SystemMachine.Code);
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void FarCallsReturnToTheirRing(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetDescriptor(Free, 0, 0xFFFFF, 0x9B, 0xC);
        m.Assemble(Handler, a =>
        {
            a.mov(eax, cs);
            a.mov(ebx, __dword_ptr[esp]);
            a.mov(ecx, __dword_ptr[esp + 4]);
            a.retf(8);
        });
        m.Memory.Write(SystemMachine.Data, Handler);
        m.Memory.Write(SystemMachine.Data + 4, Free);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.push(1);
            a.push(2);
            a.call(Free, Handler);
            a.mov(esi, esp);
            a.push(1);
            a.push(2);
            a.call(__fword_ptr[SystemMachine.Data]);
            a.mov(edi, cs);
            a.hlt();
        }));
        Assert.Equal((uint)Free, m[Register32.Eax]);
        Assert.Equal((uint)SystemMachine.Code0, m[Register32.Ecx]);
        Assert.Equal((SystemMachine.Stack, SystemMachine.Stack), (m[Register32.Esi], m[Register32.Esp]));
        Assert.Equal((uint)SystemMachine.Code0, m[Register32.Edi]);
    }

    [Theory]
    [InlineData(SystemMachine.Code0, SystemMachine.Code0)]
    [InlineData(SystemMachine.Code3, SystemMachine.Code3 & 0xFFFC)]
    [InlineData(SystemMachine.Data1, SystemMachine.Data1 & 0xFFFC)]
    [InlineData(SystemMachine.Code1 | 3, SystemMachine.Code1 & 0xFFFC)]
    [InlineData(0, 0)]
    public void FarJumpsStayInTheirRing(int selector, int errorCode)
    {
        using var m = new SystemMachine();
        m.Enter(1);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp((ushort)selector, Handler)));
        m.AssertFault(Vector.GeneralProtection, (uint)errorCode, SystemMachine.Code);
        m.Enter(1);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.call((ushort)selector, Handler)));
        m.AssertFault(Vector.GeneralProtection, (uint)errorCode, SystemMachine.Code);
        Assert.Equal(SystemMachine.Stack, m.Frame(4));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void CallGatesCopyParametersAndReturnsReleaseThem(Engine engine)
    {
        using var m = new SystemMachine(engine);
        m.SetCallGate(Free, SystemMachine.Code1, Handler, 3);
        m.Assemble(Handler, a =>
        {
            a.mov(edi, esp);
            a.mov(esi, cs);
            a.retf(12);
        });
        m.Enter(3);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.push(0x33);
            a.push(0x22);
            a.push(0x11);
            a.call(Free | 3, 0xDEAD);
            a.mov(ebp, esp);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal((uint)SystemMachine.Code1, m[Register32.Esi]);
        Assert.Equal(SystemMachine.Stack1 - 28, m[Register32.Edi]);
        uint[] frame = new uint[7];
        for (uint i = 0; i < 7; i++)
        {
            frame[i] = m.Memory.Read<uint>(SystemMachine.Stack1 - 28 + (i * 4));
        }
        Assert.Equal([SystemMachine.Code + 6 + 7, SystemMachine.Code3, 0x11, 0x22, 0x33, SystemMachine.Stack - 12, SystemMachine.Data3], frame);
        Assert.Equal(SystemMachine.Stack, m[Register32.Ebp]);
    }

    [Theory]
    [InlineData(1, true, SystemMachine.Code1, 3, Vector.GeneralProtection, Free)]
    [InlineData(3, false, SystemMachine.Code1, 3, Vector.SegmentNotPresent, Free)]
    [InlineData(3, true, SystemMachine.Data1, 3, Vector.GeneralProtection, SystemMachine.Data1 & 0xFFFCu)]
    [InlineData(3, true, 0, 3, Vector.GeneralProtection, 0u)]
    [InlineData(3, true, SystemMachine.Code3, 1, Vector.GeneralProtection, SystemMachine.Code3 & 0xFFFCu)]
    public void WrongCallGatesAreReported(int dpl, bool present, int target, int ring, byte vector, uint errorCode)
    {
        using var m = new SystemMachine();
        m.SetCallGate(Free, (ushort)target, Handler, 0, dpl: dpl, present: present);
        m.Enter(ring);
        Assert.Equal(vector, m.Run(a => a.call(Free | 1, 0)));
        m.AssertFault(vector, errorCode, SystemMachine.Code);
    }

    [Fact]
    public void AJumpThroughAGateCannotChangeTheRing()
    {
        using var m = new SystemMachine();
        m.SetCallGate(Free, SystemMachine.Code1, Handler, 0);
        m.Assemble(Handler, a => a.@int(SystemMachine.Done));
        m.Enter(3);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Free, 0)));
        m.AssertFault(Vector.GeneralProtection, SystemMachine.Code1 & 0xFFFCu, SystemMachine.Code);
        m.Enter(1);
        Assert.Equal(SystemMachine.Done, m.Run(a => a.jmp(Free, 0)));
        Assert.Equal(Handler + 2, m.Frame(0));
    }
}
