using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.X87;

public sealed class X87ExceptionTests
{
    private const uint Data = 0x2_0000;

    [Fact]
    public void AnUnmaskedErrorIsRaisedByTheNextWaitingInstruction()
    {
        using var machine = new TestMachine();
        machine.State.Fpu.ControlWord = 0x37B;
        machine.Load(a =>
        {
            a.fld1();
            a.fldz();
            a.fdivp(st1, st0);
            a.fnstsw(ax);
            a.fld1();
        });
        for (int i = 0; i < 4; i++)
        {
            Assert.True(machine.Step());
        }
        Assert.Equal(0xB084u, machine.State.General[0] & 0xFFFF);
        Assert.Equal(6, machine.State.Fpu.Top);
        Assert.False(machine.Step());
        Assert.Equal(Vector.X87FloatingPoint, machine.FaultVector);
        Assert.Equal(6, machine.State.Fpu.Top);
    }

    [Fact]
    public void PointersAndOpcodeNameTheCulprit()
    {
        using var machine = new TestMachine();
        machine.State.Fpu.ControlWord = 0x37B;
        machine.State.Segments[(int)SegmentName.CS].Selector = 0x08;
        machine.State.Segments[(int)SegmentName.ES].Selector = 0x10;
        machine.State.General[(int)Register32.Ebx] = Data;
        machine.Load(a =>
        {
            a.fld1();
            a.db(0x26, 0xD8, 0x73, 0x08); // fdiv dword ptr es:[ebx+8]
            a.fnstcw(__word_ptr[0x2_1000]);
        });
        Assert.True(machine.Step());
        Assert.Equal(TestMachine.CodeAddress, machine.State.Fpu.LastInstructionPointer);
        Assert.Equal(0, machine.State.Fpu.LastOpcode);
        Assert.True(machine.Step());
        Assert.True(machine.Step());
        ref FpuState fpu = ref machine.State.Fpu;
        Assert.Equal(0x8084, fpu.StatusWord);
        Assert.Equal(TestMachine.CodeAddress + 2, fpu.LastInstructionPointer);
        Assert.Equal(0x08, fpu.LastInstructionSelector);
        Assert.Equal(Data + 8, fpu.LastDataPointer);
        Assert.Equal(0x10, fpu.LastDataSelector);
        Assert.Equal(0x073, fpu.LastOpcode);
    }

    [Theory]
    [InlineData(Code.Fld_m32fp)]
    [InlineData(Code.Fld_m80fp)]
    [InlineData(Code.Fbld_m80bcd)]
    [InlineData(Code.Fstp_m64fp)]
    [InlineData(Code.Fstp_m80fp)]
    [InlineData(Code.Fbstp_m80bcd)]
    [InlineData(Code.Fistp_m16int)]
    [InlineData(Code.Fadd_m64fp)]
    [InlineData(Code.Ficomp_m32int)]
    [InlineData(Code.Fldcw_m2byte)]
    [InlineData(Code.Fldenv_m28byte)]
    [InlineData(Code.Frstor_m108byte)]
    [InlineData(Code.Fnsave_m108byte)]
    [InlineData(Code.Fnstenv_m14byte)]
    [InlineData(Code.Fxrstor_m512byte)]
    public void AMemoryFaultLeavesUnitAndMemoryAlone(Code code)
    {
        using var machine = new TestMachine();
        machine.State.Segments[(int)SegmentName.DS].Limit = Data;
        machine.State.General[(int)Register32.Ebx] = Data;
        machine.State.Fpu.ControlWord = 0x37F;
        machine.State.Fpu.Top = 3;
        machine.State.Fpu.ValidTags = 0x18;
        machine.Memory.Write(Data, 0xCCu);
        machine.Load(TestMachine.Encode(X87Oracle.Create(code)));
        string before = X87Oracle.Everything(machine.State.Fpu);
        Assert.False(machine.Step());
        Assert.Equal(Vector.GeneralProtection, machine.FaultVector);
        Assert.Equal(before, X87Oracle.Everything(machine.State.Fpu));
        Assert.Equal(0xCCu, machine.Memory.Read<uint>(Data));
    }

    [Theory]
    [InlineData(Code.Fld_m80fp, 8u)]
    [InlineData(Code.Fstp_m80fp, 8u)]
    [InlineData(Code.Fbld_m80bcd, 8u)]
    [InlineData(Code.Fld_m64fp, 8u)]
    [InlineData(Code.Fnstenv_m28byte, 4u)]
    [InlineData(Code.Frstor_m108byte, 4u)]
    [InlineData(Code.Fnsave_m94byte, 2u)]
    public void AlignmentIsCheckedByTheTypeOfTheOperand(Code code, uint alignment)
    {
        using var machine = new TestMachine();
        machine.SetPrivilegeLevel(3);
        machine.State.Cr0 |= Cr0.AlignmentMask;
        machine.State.SystemFlags |= Eflags.AlignmentCheck;
        machine.Processor.StateChanged();
        foreach (uint offset in new[] { 0u, alignment, alignment / 2 })
        {
            machine.State.Fpu.ValidTags = 0;
            machine.State.General[(int)Register32.Ebx] = Data + offset;
            machine.Load(TestMachine.Encode(X87Oracle.Create(code)));
            Assert.Equal(offset % alignment == 0, machine.Step());
        }
        Assert.Equal(Vector.AlignmentCheck, machine.FaultVector);
    }

    /// <summary>Ten bytes over the end of a present page: the first eight must not be written alone.</summary>
    [Fact]
    public void AStoreOverTwoPagesHappensEntirelyOrNotAtAll()
    {
        using var machine = new TestMachine();
        const uint directory = 0x10_0000;
        const uint table = 0x10_1000;
        machine.Memory.Write(directory, table | 3);
        for (uint page = 0; page < 0x400; page++)
        {
            machine.Memory.Write(table + (page * 4), (page << 12) | (page == 0x21 ? 0u : 3u));
        }
        machine.Processor.CurrentAddressSpace = machine.Processor.CreateAddressSpace(directory);
        machine.State.Cr0 |= Cr0.Paging;
        machine.Processor.StateChanged();
        machine.State.General[(int)Register32.Ebx] = 0x2_0FF8;
        machine.Load(a =>
        {
            a.fldpi();
            a.fstp(__tword_ptr[ebx]);
        });
        Assert.True(machine.Step());
        Assert.False(machine.Step());
        Assert.Equal(Vector.PageFault, machine.FaultVector);
        Assert.Equal(0x2_1000u, machine.State.Cr2);
        Assert.Equal(0ul, machine.Memory.Read<ulong>(0x2_0FF8));
        Assert.Equal(7, machine.State.Fpu.Top);
        machine.State.General[(int)Register32.Ebx] = 0x2_0FF6;
        Assert.True(machine.Step());
        Assert.Equal(0xC90F_DAA2_2168_C235, machine.Memory.Read<ulong>(0x2_0FF6));
        Assert.Equal(0, machine.State.Fpu.Top);
    }
}
