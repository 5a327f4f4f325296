// Flags that only some rings may change, and IRET (Intel SDM volume 3, 2.3 and 6.12): what a ring gets back, and what it may not give itself.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class FlagAndReturnTests
{
    private const ushort Free = SystemMachine.Free;
    private const uint Handler = SystemMachine.Code + 0x800;

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
}
