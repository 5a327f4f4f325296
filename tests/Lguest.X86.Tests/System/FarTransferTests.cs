// Far calls and jumps, directly and through call gates (Intel SDM volume 3, 5.8): who may go where, and what follows them.

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class FarTransferTests
{
    private const ushort Free = SystemMachine.Free;
    private const uint Handler = SystemMachine.Code + 0x800;

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
