// Hardware task switches as Intel's manual describes them (SDM volume 3, chapter 7).

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class TaskTests
{
    private const ushort Other = SystemMachine.Free;
    private const ushort Gate = SystemMachine.Free + 8;
    private const uint OtherTss = 0xD000;
    private const uint OtherCode = 0x1_8000;
    private const uint OtherStack = 0x5_0000;
    private const uint Busy = 2;

    /// <summary>A second task of ring 0, with recognisable registers.</summary>
    private static SystemMachine Machine(Engine engine = Engine.Blocks, bool task32 = true, bool paging = false)
    {
        var m = new SystemMachine(engine, paging: paging);
        m.SetDescriptor(Other, OtherTss, task32 ? 0x67u : 0x2Bu, task32 ? 0x89 : 0x81, 0);
        m.SetCallGate(Gate, Other, 0, 0, 5, dpl: 0);
        WriteTask(m, task32, OtherCode, Eflags.AlwaysOne | Eflags.Carry, OtherStack, SystemMachine.Code0, SystemMachine.Data0);
        m.Assemble(OtherCode, a => a.hlt());
        m.State.Eflags = Eflags.AlwaysOne | Eflags.Zero;
        return m;
    }

    private static void WriteTask(SystemMachine m, bool task32, uint eip, uint eflags, uint esp, ushort code, ushort data)
    {
        for (uint i = 0; i < 8; i++)
        {
            uint value = i == 4 ? esp : 0xA0 + i;
            m.Memory.Write(OtherTss + (task32 ? 0x28 + (i * 4) : 0x12 + (i * 2)), task32 ? value : (ushort)value);
        }
        for (uint i = 0; i < (task32 ? 6u : 4u); i++)
        {
            m.Memory.Write(OtherTss + (task32 ? 0x48 + (i * 4) : 0x22 + (i * 2)), i == 1 ? code : data);
        }
        m.Memory.Write(OtherTss + (task32 ? 0x20u : 0x0E), task32 ? eip : (ushort)eip);
        if (task32)
        {
            m.Memory.Write(OtherTss + 0x1C, SystemMachine.Directory);
            m.Memory.Write(OtherTss + 0x24, eflags);
        }
        else
        {
            m.Memory.Write(OtherTss + 0x10, (ushort)eflags);
            m.Memory.Write(OtherTss + 0x0E, (ushort)eip);
        }
    }

    /// <summary>Whether both descriptors are busy: the first task's, the other's.</summary>
    private static (bool First, bool Other) BusyTasks(SystemMachine m) =>
        ((m.AccessByte(SystemMachine.Task) & Busy) != 0, (m.AccessByte(Other) & Busy) != 0);

    [Theory]
    [InlineData(Engine.Blocks, Other)]
    [InlineData(Engine.Reference, Other)]
    [InlineData(Engine.Blocks, Gate)]
    public void AJumpLeavesTheOldTaskForGood(Engine engine, ushort target)
    {
        using SystemMachine m = Machine(engine);
        m.State.Debug[7] |= 0x101;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, 0x1234_5678);
            a.mov(edi, 0x0BCD_EF01);
            a.jmp(target, 0xDEAD);
        }));
        Assert.Equal(OtherCode + 1, m.State.Eip);
        Assert.Equal((0xA0u, 0xA7u, OtherStack), (m[Register32.Eax], m[Register32.Edi], m[Register32.Esp]));
        Assert.Equal(Eflags.AlwaysOne | Eflags.Carry, m.State.Eflags);
        Assert.Equal((false, true), BusyTasks(m));
        Assert.Equal((Other, OtherTss), (m.State.TaskRegister.Selector, m.State.TaskRegister.Base));
        Assert.Equal(Cr0.TaskSwitched, m.State.Cr0 & Cr0.TaskSwitched);
        Assert.Equal(0u, m.State.Debug[7] & 0x155);
        Assert.Equal(0, m.Memory.Read<ushort>(OtherTss));
        Assert.Equal(
            (SystemMachine.Code + 5 + 5 + 7, Eflags.AlwaysOne | Eflags.Zero, 0x1234_5678u, 0x0BCD_EF01u, SystemMachine.Stack),
            (m.Memory.Read<uint>(SystemMachine.Tss + 0x20), m.Memory.Read<uint>(SystemMachine.Tss + 0x24) & ~Eflags.Resume, m.Memory.Read<uint>(SystemMachine.Tss + 0x28),
                m.Memory.Read<uint>(SystemMachine.Tss + 0x44), m.Memory.Read<uint>(SystemMachine.Tss + 0x38)));
        Assert.Equal(
            (SystemMachine.Data0, SystemMachine.Code0, SystemMachine.Data0),
            (m.Memory.Read<ushort>(SystemMachine.Tss + 0x48), m.Memory.Read<ushort>(SystemMachine.Tss + 0x4C), m.Memory.Read<ushort>(SystemMachine.Tss + 0x5C)));
    }

    [Theory]
    [InlineData(Engine.Blocks)]
    [InlineData(Engine.Reference)]
    public void ACalledTaskReturnsAndGoesOnWhenItIsCalledAgain(Engine engine)
    {
        using SystemMachine m = Machine(engine);
        m.Assemble(OtherCode, a =>
        {
            Iced.Intel.Label again = a.CreateLabel();
            a.Label(ref again);
            a.inc(eax);
            a.pushfd();
            a.pop(ebx);
            a.iretd();
            a.jmp(again);
        });
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, 0x77);
            a.call(Other, 0);
            a.clts();
            a.call(Gate, 0);
            a.mov(edx, cr0);
            a.hlt();
        }));
        Assert.Equal((0x77u, SystemMachine.Stack), (m[Register32.Ecx], m[Register32.Esp]));
        Assert.Equal(Eflags.AlwaysOne | Eflags.Zero, m.State.Eflags);
        Assert.Equal((true, false), BusyTasks(m));
        Assert.Equal(SystemMachine.Task, m.State.TaskRegister.Selector);
        Assert.Equal(SystemMachine.Task, m.Memory.Read<ushort>(OtherTss));
        Assert.Equal(0xA2u, m.Memory.Read<uint>(OtherTss + 0x28));
        Assert.Equal(Eflags.NestedTask, m.Memory.Read<uint>(OtherTss + 0x34) & Eflags.NestedTask);
        Assert.Equal(0u, m.Memory.Read<uint>(OtherTss + 0x24) & Eflags.NestedTask);
        Assert.Equal(Cr0.TaskSwitched, m[Register32.Edx] & Cr0.TaskSwitched);
    }

    [Fact]
    public void ATaskOfThe286HasSixteenBits()
    {
        using SystemMachine m = Machine(task32: false);
        m.SetDescriptor(SystemMachine.Free + 0x10, 0, 0xFFFFF, 0x9B, 0xC);
        m.Memory.Write(OtherTss + 0x0E, (ushort)0x8000);
        m.SetDescriptor(SystemMachine.Free + 0x10, 0x1_0000, 0xFFFF, 0x9B, 0);
        m.Memory.Write(OtherTss + 0x24, (ushort)(SystemMachine.Free + 0x10));
        m.Assemble(OtherCode, a => a.iret(), 16);
        m[Register32.Ebp] = 0x1234_5678;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.call(Other, 0);
            a.hlt();
        }));
        Assert.Equal(0x1234_5678u, m[Register32.Ebp]);
        Assert.Equal(0x8001, m.Memory.Read<ushort>(OtherTss + 0x0E));
        Assert.Equal((0xA0, 0xA7), (m.Memory.Read<ushort>(OtherTss + 0x12), m.Memory.Read<ushort>(OtherTss + 0x20)));
        Assert.Equal(SystemMachine.Task, m.Memory.Read<ushort>(OtherTss));
    }

    [Theory]
    [InlineData(Engine.Blocks, "int")]
    [InlineData(Engine.Reference, "int")]
    [InlineData(Engine.Blocks, "fault")]
    [InlineData(Engine.Blocks, "device")]
    public void AnInterruptGoesThroughATaskGate(Engine engine, string cause)
    {
        using SystemMachine m = Machine(engine);
        byte vector = cause == "fault" ? Vector.GeneralProtection : (byte)0x40;
        m.SetGate(vector, Other, 0, 5);
        if (cause == "device")
        {
            m.State.SystemFlags |= Eflags.Interrupt;
            m.Processor.RequestInterrupt(vector);
        }
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            if (cause == "fault")
            {
                a.mov(eax, SystemMachine.Task);
                a.mov(ds, eax);
            }
            else
            {
                a.@int(0x40);
            }
        }));
        Assert.Equal(OtherCode + 1, m.State.Eip);
        Assert.Equal((true, true), BusyTasks(m));
        Assert.Equal(Eflags.NestedTask | Eflags.Carry | Eflags.AlwaysOne, m.State.Eflags);
        Assert.Equal(SystemMachine.Task, m.Memory.Read<ushort>(OtherTss));
        uint eip = cause switch { "int" => 2u, "fault" => 5, _ => 0 };
        Assert.Equal(SystemMachine.Code + eip, m.Memory.Read<uint>(SystemMachine.Tss + 0x20));
        if (cause == "fault")
        {
            Assert.Equal((OtherStack - 4, (uint)SystemMachine.Task), (m[Register32.Esp], m.Frame(0)));
            Assert.Equal(Eflags.Resume, m.Memory.Read<uint>(SystemMachine.Tss + 0x24) & Eflags.Resume);
        }
        else
        {
            Assert.Equal(OtherStack, m[Register32.Esp]);
        }
    }

    [Fact]
    public void ADoubleFaultSurvivesABrokenStack()
    {
        using SystemMachine m = Machine(paging: true);
        m.SetGate(Vector.DoubleFault, Other, 0, 5);
        m.Map(0x40_0000, 0, 0);
        m[Register32.Esp] = 0x40_0800;
        m.State.Eip = SystemMachine.Code;
        m.Assemble(SystemMachine.Code, a => a.push(eax));
        Assert.Equal(SystemMachine.Done, m.Continue());
        Assert.Equal((OtherCode + 1, 0u), (m.State.Eip, m.Frame(0)));
        Assert.Equal((0x40_0800u, SystemMachine.Code), (m.Memory.Read<uint>(SystemMachine.Tss + 0x38), m.Memory.Read<uint>(SystemMachine.Tss + 0x20)));
    }

    [Fact]
    public void ATaskBringsItsPageTables()
    {
        using SystemMachine m = Machine(paging: true);
        const uint otherDirectory = 0xE000;
        m.Memory.Write(otherDirectory, m.DirectoryEntry(0));
        m.Memory.Write(OtherTss + 0x1C, otherDirectory);
        m.Assemble(OtherCode, a => a.mov(eax, __dword_ptr[0x40_0000]));
        Assert.Equal(Vector.PageFault, m.Run(a =>
        {
            a.mov(eax, __dword_ptr[0x40_0000]);
            a.jmp(Other, 0);
        }));
        Assert.Equal(otherDirectory, m.State.Cr3);
        m.AssertFault(Vector.PageFault, 0, OtherCode);
    }

    [Fact]
    public void ATaskCanTrapAtItsFirstInstruction()
    {
        using SystemMachine m = Machine();
        m.Memory.Write(OtherTss + 0x64, (byte)1);
        Assert.Equal(Vector.Debug, m.Run(a => a.jmp(Other, 0)));
        m.AssertFault(Vector.Debug, null, OtherCode);
        Assert.Equal(0x8000u, m.State.Debug[6] & 0xE000);
    }

    [Fact]
    public void ATaskOfAnOuterRingStartsThere()
    {
        using SystemMachine m = Machine();
        WriteTask(m, true, OtherCode, Eflags.AlwaysOne, OtherStack, SystemMachine.Code3, SystemMachine.Data3);
        m.Memory.Write(OtherTss + 4, SystemMachine.Stack0);
        m.Memory.Write(OtherTss + 8, (uint)SystemMachine.Data0);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Other, 0)));
        m.AssertFault(Vector.GeneralProtection, 0, OtherCode);
        Assert.Equal(((uint)SystemMachine.Code3, OtherStack), (m.Frame(2), m.Frame(4)));
    }

    [Theory]
    [InlineData("busy", Vector.GeneralProtection, Other)]
    [InlineData("absent", Vector.SegmentNotPresent, Other)]
    [InlineData("short", Vector.InvalidTss, Other)]
    [InlineData("gate absent", Vector.SegmentNotPresent, Gate)]
    [InlineData("gate to data", Vector.GeneralProtection, SystemMachine.Data0)]
    [InlineData("gate to local", Vector.GeneralProtection, 0x0Cu)]
    public void WhatIsNoTaskIsRefusedInTheOldOne(string what, byte vector, uint errorCode)
    {
        using SystemMachine m = Machine();
        ushort target = Gate;
        switch (what)
        {
            case "busy": m.SetDescriptor(Other, OtherTss, 0x67, 0x8B, 0); break;
            case "absent": m.SetDescriptor(Other, OtherTss, 0x67, 0x09, 0); break;
            case "short": m.SetDescriptor(Other, OtherTss, 0x66, 0x89, 0); break;
            case "gate absent": m.SetCallGate(Gate, Other, 0, 0, 5, dpl: 0, present: false); break;
            case "gate to data": m.SetCallGate(Gate, SystemMachine.Data0, 0, 0, 5, dpl: 0); break;
            default: m.SetCallGate(Gate, 0x0C, 0, 0, 5, dpl: 0); break;
        }
        Assert.Equal(vector, m.Run(a => a.call(target, 0)));
        m.AssertFault(vector, errorCode, SystemMachine.Code);
        Assert.Equal(SystemMachine.Task, m.State.TaskRegister.Selector);
        Assert.Equal(0u, m.Memory.Read<uint>(SystemMachine.Tss + 0x20));
    }

    [Theory]
    [InlineData(Other)]
    [InlineData(Gate)]
    public void AnOuterRingNeedsPermission(ushort target)
    {
        using SystemMachine m = Machine();
        m.Enter(3);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(target, 0)));
        m.AssertFault(Vector.GeneralProtection, target, SystemMachine.Code);
    }

    [Theory]
    [InlineData(0x60u, SystemMachine.Data0, Vector.InvalidTss, SystemMachine.Data0)]
    [InlineData(0x4Cu, SystemMachine.Data0, Vector.InvalidTss, SystemMachine.Data0)]
    [InlineData(0x4Cu, (ushort)0, Vector.InvalidTss, (ushort)0)]
    [InlineData(0x50u, (ushort)0, Vector.InvalidTss, (ushort)0)]
    [InlineData(0x50u, SystemMachine.Data3, Vector.InvalidTss, (ushort)(SystemMachine.Data3 & ~3))]
    [InlineData(0x48u, (ushort)0xFF8, Vector.InvalidTss, (ushort)0xFF8)]
    [InlineData(0x58u, (ushort)0x60, Vector.SegmentNotPresent, (ushort)0x60)]
    public void AWrongSelectorFaultsInTheNewTask(uint offset, ushort selector, byte vector, ushort errorCode)
    {
        using SystemMachine m = Machine();
        const ushort handler = SystemMachine.Free + 0x20;
        const uint handlerTss = 0xD800;
        m.SetDescriptor(0x60, 0, 0xFFFFF, 0x13, 0xC);
        m.Memory.Write(OtherTss + offset, selector);
        // A third task takes the exception, since the second one may have no stack.
        for (uint i = 0; i < 0x68; i += 4)
        {
            m.Memory.Write(handlerTss + i, m.Memory.Read<uint>(OtherTss + i));
        }
        m.Memory.Write(handlerTss + offset, offset == 0x60 ? (ushort)0 : offset == 0x4C ? SystemMachine.Code0 : SystemMachine.Data0);
        m.SetDescriptor(handler, handlerTss, 0x67, 0x89, 0);
        m.SetGate(vector, handler, 0, 5);
        Assert.Equal(SystemMachine.Done, m.Run(a => a.jmp(Other, 0)));
        Assert.Equal((handler, Other), (m.State.TaskRegister.Selector, m.Memory.Read<ushort>(handlerTss)));
        Assert.Equal((uint)errorCode, m.Frame(0));
        Assert.Equal((OtherCode, selector), (m.Memory.Read<uint>(OtherTss + 0x20), m.Memory.Read<ushort>(OtherTss + offset)));
    }

    [Theory]
    [InlineData((ushort)0x0C)]
    [InlineData(Other)]
    [InlineData(SystemMachine.Data0)]
    public void AReturnNeedsABusyTask(ushort link)
    {
        using SystemMachine m = Machine();
        m.Memory.Write(SystemMachine.Tss, link);
        m.State.SystemFlags |= Eflags.NestedTask;
        Assert.Equal(Vector.InvalidTss, m.Run(a => a.iretd()));
        m.AssertFault(Vector.InvalidTss, link, SystemMachine.Code);
    }

    [Fact]
    public void AHostsRingHasNoTasks()
    {
        using var m = new SystemMachine(hostRing: true);
        m.SetDescriptor(Other, OtherTss, 0x67, 0xE9, 0);
        m.SetGate(0x40, Other, 0, 5, dpl: 3);
        m.SetGate(Vector.GeneralProtection, SystemMachine.Code0, 0);
        m.Enter(1);
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.jmp(Other, 0)));
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.@int(0x40)));
        Assert.Equal(0u, m.Memory.Read<uint>(SystemMachine.Tss + 0x20));
    }
}
