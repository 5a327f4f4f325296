// Privileges of the flags, limits of branches, stacks of 16 bits: examples, because neither oracle can show them.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Integer;

public sealed class ControlAndFlagTests : IDisposable
{
    private const uint Limit = TestMachine.CodeAddress + 0xFFF;
    private const uint Stack = 0x8_0000;

    private readonly TestMachine machine = new();

    public void Dispose() => machine.Dispose();

    private ref uint this[Register32 register] => ref machine.State.General[(int)register];

    private void MustFault(byte vector)
    {
        CpuState before = machine.State;
        Assert.False(machine.Step());
        Assert.Equal(vector, machine.FaultVector);
        Assert.Equal(0u, machine.FaultErrorCode);
        Assert.Equal(before.Eip, machine.State.Eip);
        Assert.Equal(before.Eflags, machine.State.Eflags);
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(before.General[i], machine.State.General[i]);
        }
    }

    public static TheoryData<string, byte[]> BranchesBeyondTheLimit
    {
        get
        {
            var data = new TheoryData<string, byte[]>();
            Add("jmp", a => a.jmp(Limit + 1));
            Add("jmp eax", a => a.jmp(eax));
            Add("je", a => a.je(Limit + 1));
            Add("call", a => a.call(Limit + 1));
            Add("call eax", a => a.call(eax));
            Add("ret", a => a.ret());
            Add("ret 8", a => a.ret(8));
            data.Add("loop", [0xE2, 0x80]);
            data.Add("loope", [0xE1, 0x80]);
            data.Add("jecxz", [0xE3, 0x80]);
            return data;

            void Add(string name, Action<Assembler> write) => data.Add(name, TestMachine.Assemble(write));
        }
    }

    [Theory]
    [MemberData(nameof(BranchesBeyondTheLimit))]
    public void ABranchBeyondTheLimitFaultsItself(string name, byte[] code)
    {
        bool backward = name is "loop" or "loope" or "jecxz";
        if (backward)
        {
            // Short branches reach below zero, which is beyond any limit.
            machine.Load(0, code);
        }
        else
        {
            machine.Load(code);
        }
        machine.State.Segments[(int)SegmentName.CS].Limit = Limit;
        machine.Processor.StateChanged();
        machine.State.Eflags = Eflags.AlwaysOne | Eflags.Zero;
        this[Register32.Eax] = Limit + 1;
        this[Register32.Ecx] = name == "jecxz" ? 0u : 5u;
        machine.Memory.Write(Stack, Limit + 1);
        MustFault(Vector.GeneralProtection);
    }

    [Theory]
    [InlineData(0, 0, true)]
    [InlineData(1, 0, false)]
    [InlineData(1, 1, true)]
    [InlineData(3, 2, false)]
    [InlineData(3, 3, true)]
    public void TheInterruptFlagBelongsToTheIoPrivilegeLevel(int level, int ioLevel, bool allowed)
    {
        machine.SetPrivilegeLevel(level);
        foreach (bool set in (bool[])[true, false])
        {
            machine.Load(a =>
            {
                if (set)
                {
                    a.sti();
                }
                else
                {
                    a.cli();
                }
            });
            machine.State.Eflags = Eflags.AlwaysOne | (uint)ioLevel << 12 | (set ? 0 : Eflags.Interrupt);
            if (allowed)
            {
                Assert.True(machine.Step());
                Assert.Equal(set, (machine.State.Eflags & Eflags.Interrupt) != 0);
            }
            else
            {
                MustFault(Vector.GeneralProtection);
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void StiShadowsTheNextInstructionOnlyWhenItEnables(bool enabled)
    {
        machine.Load(a => a.sti());
        machine.State.Eflags = Eflags.AlwaysOne | (enabled ? Eflags.Interrupt : 0);
        machine.Processor.InterruptShadow = false;
        Assert.True(machine.Step());
        Assert.Equal(!enabled, machine.Processor.InterruptShadow);
    }

    [Theory]
    [InlineData(0, 0, Eflags.Interrupt | Eflags.IoPrivilege)]
    [InlineData(1, 1, Eflags.Interrupt)]
    [InlineData(1, 0, 0u)]
    [InlineData(3, 0, 0u)]
    [InlineData(3, 3, Eflags.Interrupt)]
    public void PopfChangesWhatTheLevelMay(int level, int ioLevel, uint privileged)
    {
        const uint free = Eflags.Status | Eflags.Trap | Eflags.Direction | Eflags.NestedTask;
        const uint free32 = free | Eflags.AlignmentCheck | Eflags.Identification;
        uint before = Eflags.AlwaysOne | ((uint)ioLevel << 12);
        machine.SetPrivilegeLevel(level);

        machine.Load(a => a.popfd());
        machine.Memory.Write(Stack, 0xFFFF_FFFFu);
        machine.State.Eflags = before;
        Assert.True(machine.Step());
        Assert.Equal(before | free32 | privileged, machine.State.Eflags);
        Assert.Equal(Stack + 4, this[Register32.Esp]);

        machine.Load(a => a.popfd());
        this[Register32.Esp] = Stack;
        machine.Memory.Write(Stack, 0u);
        uint everything = before | free32 | Eflags.Interrupt | Eflags.VirtualInterrupt | Eflags.VirtualInterruptPending;
        machine.State.Eflags = everything;
        Assert.True(machine.Step());
        Assert.Equal(everything & ~(free32 | privileged), machine.State.Eflags);

        machine.Load(a => a.popf());
        this[Register32.Esp] = Stack;
        machine.Memory.Write(Stack, 0xFFFF_FFFFu);
        machine.State.Eflags = before;
        Assert.True(machine.Step());
        Assert.Equal(before | free | privileged, machine.State.Eflags);
        Assert.Equal(Stack + 2, this[Register32.Esp]);
    }

    [Fact]
    public void PushfHidesResumeAndVirtual8086()
    {
        machine.Load(a => a.pushfd());
        machine.State.Eflags = Eflags.AlwaysOne | Eflags.Resume | Eflags.Identification | Eflags.Carry;
        Assert.True(machine.Step());
        Assert.Equal(Eflags.AlwaysOne | Eflags.Identification | Eflags.Carry, BitConverter.ToUInt32(machine.Read(Stack - 4, 4)));
    }

    [Fact]
    public void Virtual8086CodeNeedsIoPrivilegeForItsFlags()
    {
        machine.SetPrivilegeLevel(3);
        foreach (Action<Assembler> write in (Action<Assembler>[])[a => a.pushfd(), a => a.popf(), a => a.cli(), a => a.sti()])
        {
            machine.Load(write);
            machine.State.Eflags = Eflags.AlwaysOne | Eflags.Virtual8086 | 0x2000;
            MustFault(Vector.GeneralProtection);
            machine.State.Eflags = Eflags.AlwaysOne | Eflags.Virtual8086 | 0x3000;
            Assert.True(machine.Step());
        }
    }

    [Fact]
    public void PopfSwitchesAlignmentChecksOn()
    {
        machine.SetPrivilegeLevel(3);
        machine.State.Cr0 |= Cr0.AlignmentMask;
        machine.Load(a =>
        {
            a.popfd();
            a.mov(eax, __dword_ptr[Stack + 1]);
        });
        machine.Memory.Write(Stack, Eflags.AlignmentCheck);
        Assert.True(machine.Step());
        MustFault(Vector.AlignmentCheck);
    }

    [Fact]
    public void ASmallStackWrapsAtSixteenBits()
    {
        ref Segment stack = ref machine.State.Segments[(int)SegmentName.SS];
        stack.Attributes &= ~0x40_0000u;
        stack.Limit = 0xFFFF;
        machine.Processor.StateChanged();

        this[Register32.Esp] = 0x1234_0002;
        this[Register32.Eax] = 0xAABB_CCDD;
        machine.Load(a => a.push(ax));
        Assert.True(machine.Step());
        machine.Load(a => a.push(ax));
        Assert.True(machine.Step());
        Assert.Equal(0x1234_FFFEu, this[Register32.Esp]);
        Assert.Equal(0xCCDD, BitConverter.ToUInt16(machine.Read(0xFFFE, 2)));

        machine.Load(a => a.pushad());
        this[Register32.Esp] = 0x1234_0010;
        Assert.True(machine.Step());
        Assert.Equal(0x1234_FFF0u, this[Register32.Esp]);
        Assert.Equal(0xAABB_CCDDu, BitConverter.ToUInt32(machine.Read(0xC, 4)));
        Assert.Equal(0x1234_0010u, BitConverter.ToUInt32(machine.Read(0xFFFC, 4)));

        machine.Load(a => a.popad());
        this[Register32.Eax] = 0;
        Assert.True(machine.Step());
        Assert.Equal(0x1234_0010u, this[Register32.Esp]);
        Assert.Equal(0xAABB_CCDDu, this[Register32.Eax]);

        machine.Load(a => a.leave());
        this[Register32.Ebp] = 0x5678_FFFC;
        Assert.True(machine.Step());
        Assert.Equal(0x1234_0000u, this[Register32.Esp]);
        Assert.Equal(0x1234_0010u, this[Register32.Ebp]);

        // A value across the end of the segment does not wrap: it faults.
        machine.Load(a => a.push(eax));
        this[Register32.Esp] = 2;
        MustFault(Vector.StackFault);
    }

    [Fact]
    public void LaterInstructionsAreTheirAncestors()
    {
        // TZCNT and LZCNT of zero leave the destination, as BSF and BSR do.
        this[Register32.Ecx] = 0;
        this[Register32.Eax] = 77;
        machine.Load([0xF3, 0x0F, 0xBC, 0xC1]);
        Assert.True(machine.Step());
        Assert.Equal(77u, this[Register32.Eax]);
        Assert.True(machine.State.Flags.Zero);
        this[Register32.Ecx] = 0x0010_0010;
        machine.Load([0xF3, 0x0F, 0xBC, 0xC1]);
        Assert.True(machine.Step());
        Assert.Equal(4u, this[Register32.Eax]);
        machine.Load([0xF3, 0x0F, 0xBD, 0xC1]);
        Assert.True(machine.Step());
        Assert.Equal(20u, this[Register32.Eax]);
    }

    [Theory]
    [InlineData("F30F1EFB")]
    [InlineData("F30F1EFA")]
    [InlineData("F30F1EC8")]
    [InlineData("0F1F840000000000")]
    [InlineData("0F0D08")]
    [InlineData("0F0D00")]
    [InlineData("0F1808")]
    [InlineData("F390")]
    [InlineData("6690")]
    [InlineData("0F18C0")]
    [InlineData("0F1900")]
    [InlineData("0F1A00")]
    [InlineData("0F1B00")]
    [InlineData("660F1A00")]
    [InlineData("660F1B00")]
    [InlineData("F30F1A00")]
    [InlineData("F20F1A00")]
    [InlineData("F30F1B00")]
    [InlineData("F20F1B00")]
    [InlineData("0F1C00")]
    [InlineData("0F1D00")]
    [InlineData("0F1E00")]
    public void HintsDoNothing(string code)
    {
        byte[] bytes = Convert.FromHexString(code);
        machine.Load(bytes);
        CpuState before = machine.State;
        Assert.True(machine.Step());
        Assert.Equal(TestMachine.CodeAddress + (uint)bytes.Length, machine.State.Eip);
        Assert.Equal(before.Eflags, machine.State.Eflags);
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(before.General[i], machine.State.General[i]);
        }
    }
}
