using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.X87;

public sealed class X87ControlTests
{
    private const uint Area = 0x2_0000;

    [Theory]
    [InlineData(Code.Fninit)]
    [InlineData(Code.Fnclex)]
    [InlineData(Code.Fnstcw_m2byte)]
    [InlineData(Code.Fnstsw_m2byte)]
    [InlineData(Code.Fnop)]
    [InlineData(Code.Fincstp)]
    [InlineData(Code.Fdecstp)]
    [InlineData(Code.Ffree_sti)]
    [InlineData(Code.Ffreep_sti)]
    [InlineData(Code.Wait)]
    [InlineData(Code.Fldcw_m2byte)]
    [InlineData(Code.Fneni)]
    [InlineData(Code.Fndisi)]
    [InlineData(Code.Fnsetpm)]
    public void ActsLikeTheNativeCpu(Code code)
    {
        using var oracle = new X87Oracle();
        var operands = new X87Operands(code.GetHashCode());
        for (int i = 0; i < 200; i++)
        {
            NativeState state = operands.State(full: false);
            state.StatusWord |= (ushort)operands.Random.Next(64);
            operands.Random.NextBytes(oracle.Memory);
            oracle.Check(X87Oracle.Create(code, operands.Random.Next(8)), state);
        }
    }

    [Fact]
    public void StatusWordGoesToAx()
    {
        using var oracle = new X87Oracle();
        Instruction instruction = Instruction.Create(Code.Fnstsw_AX, Register.AX);
        oracle.Check(instruction, new NativeState { StatusWord = 0x7F3F });
    }

    [Theory]
    [InlineData(Code.Fldenv_m28byte, Code.Fnstenv_m28byte)]
    [InlineData(Code.Fldenv_m14byte, Code.Fnstenv_m14byte)]
    [InlineData(Code.Frstor_m108byte, Code.Fnsave_m108byte)]
    [InlineData(Code.Frstor_m94byte, Code.Fnsave_m94byte)]
    public void EnvironmentsAreLoadedAndStoredLikeTheNativeCpu(Code load, Code store)
    {
        const int Stored = 128;
        int[] selectors = store is Code.Fnstenv_m28byte or Code.Fnsave_m108byte ? [Stored + 16, Stored + 24] : [Stored + 8, Stored + 12];
        using var oracle = new X87Oracle();
        var operands = new X87Operands(7);
        for (int i = 0; i < 200; i++)
        {
            operands.Random.NextBytes(oracle.Memory);
            oracle.Check(X87Oracle.Create(load), operands.State(full: false));
            oracle.Check([X87Oracle.Create(load), X87Oracle.Create(store, displacement: Stored)], operands.State(full: false), selectors: selectors);
        }
    }

    [Fact]
    public void FxsaveStoresTheDocumentedImage()
    {
        using var machine = new TestMachine();
        FillState(machine);
        machine.Memory.Write(Area, Enumerable.Repeat((byte)0xEE, 512).ToArray());
        machine.State.General[(int)Register32.Ebx] = Area;
        machine.Load(a => a.fxsave(AssemblerRegisters.__[AssemblerRegisters.ebx]));
        Assert.True(machine.Step());
        byte[] image = machine.Read(Area, 512);
        Assert.Equal("7F0200290F002301785634121B000000DDCCBBAA23000000801F0000FFFF0000", Convert.ToHexString(image, 0, 32));
        for (int i = 0; i < 8; i++)
        {
            Assert.Equal(machine.State.Fpu.Registers[(5 + i) & 7].Significand, BitConverter.ToUInt64(image, 32 + (16 * i)));
            Assert.Equal(machine.State.Fpu.Registers[(5 + i) & 7].SignExponent, BitConverter.ToUInt16(image, 40 + (16 * i)));
            Assert.Equal(0, BitConverter.ToUInt16(image, 42 + (16 * i)));
            Assert.Equal((byte)(i + 1), image[160 + (16 * i)]);
            Assert.Equal((byte)(i + 1), image[175 + (16 * i)]);
        }
        Assert.All(image[288..], value => Assert.Equal(0xEE, value));
    }

    [Fact]
    public void FxrstorBringsBackWhatFxsaveStored()
    {
        using var machine = new TestMachine();
        FillState(machine);
        string saved = X87Oracle.Everything(machine.State.Fpu);
        machine.State.General[(int)Register32.Ebx] = Area;
        machine.Load(a =>
        {
            a.fxsave(AssemblerRegisters.__[AssemblerRegisters.ebx]);
            a.fninit();
            a.fxrstor(AssemblerRegisters.__[AssemblerRegisters.ebx]);
        });
        Assert.True(machine.Step());
        Assert.True(machine.Step());
        Assert.Equal(0x37F, machine.State.Fpu.ControlWord);
        Assert.Equal(0u, machine.State.Fpu.LastDataPointer);
        machine.State.Fpu.Xmm[3] = default;
        machine.State.Fpu.Mxcsr = 0;
        Assert.True(machine.Step());
        Assert.Equal(saved, X87Oracle.Everything(machine.State.Fpu));
    }

    [Theory]
    [InlineData(8u, 0x1F80u)]
    [InlineData(0u, 0x1_1F80u)]
    public void FxrstorRefusesMisalignedAreasAndReservedBits(uint offset, uint mxcsr)
    {
        using var machine = new TestMachine();
        machine.State.General[(int)Register32.Ebx] = Area + offset;
        machine.Memory.Write(Area + offset + 24, mxcsr);
        machine.Load(a => a.fxrstor(AssemblerRegisters.__[AssemblerRegisters.ebx]));
        string before = X87Oracle.Everything(machine.State.Fpu);
        Assert.False(machine.Step());
        Assert.Equal(Vector.GeneralProtection, machine.FaultVector);
        Assert.Equal(before, X87Oracle.Everything(machine.State.Fpu));
    }

    [Fact]
    public void WaitingInstructionsRaisePendingErrorsAndOthersDoNot()
    {
        foreach ((Code code, bool waits) in new[]
        {
            (Code.Fnop, true), (Code.Wait, true), (Code.Fincstp, true), (Code.Fldcw_m2byte, true),
            (Code.Frstor_m108byte, true), (Code.Fldenv_m28byte, true),
            (Code.Fninit, false), (Code.Fnclex, false), (Code.Fnstsw_m2byte, false), (Code.Fnstcw_m2byte, false), (Code.Fnsave_m108byte, false),
            (Code.Fnstenv_m28byte, false), (Code.Fxsave_m512byte, false), (Code.Fxrstor_m512byte, false),
        })
        {
            using var machine = new TestMachine();
            machine.State.General[(int)Register32.Ebx] = Area;
            machine.State.Fpu.ControlWord = 0x340;
            machine.State.Fpu.StatusWord = 0x8081;
            machine.Load(TestMachine.Encode(X87Oracle.Create(code)));
            Assert.Equal(!waits, machine.Step());
            if (waits)
            {
                Assert.Equal(Vector.X87FloatingPoint, machine.FaultVector);
            }
        }
    }

    [Theory]
    [InlineData(Cr0.Emulation, Code.Fninit, true)]
    [InlineData(Cr0.TaskSwitched, Code.Fnstsw_m2byte, true)]
    [InlineData(Cr0.TaskSwitched, Code.Fxsave_m512byte, true)]
    [InlineData(Cr0.TaskSwitched, Code.Fnop, true)]
    [InlineData(Cr0.TaskSwitched, Code.Wait, false)]
    [InlineData(Cr0.TaskSwitched | Cr0.MonitorCoprocessor, Code.Wait, true)]
    [InlineData(Cr0.Emulation | Cr0.MonitorCoprocessor, Code.Wait, false)]
    public void ControlRegisterDecidesWhetherTheUnitIsAvailable(uint bits, Code code, bool faults)
    {
        using var machine = new TestMachine();
        machine.State.Cr0 |= bits;
        machine.State.General[(int)Register32.Ebx] = Area;
        machine.Load(TestMachine.Encode(X87Oracle.Create(code)));
        Assert.Equal(!faults, machine.Step());
        if (faults)
        {
            Assert.Equal(Vector.DeviceNotAvailable, machine.FaultVector);
        }
    }

    private static void FillState(TestMachine machine)
    {
        ref FpuState fpu = ref machine.State.Fpu;
        fpu.ControlWord = 0x27F;
        fpu.StatusWord = 0x0100;
        fpu.Top = 5;
        fpu.ValidTags = 0x0F;
        fpu.LastOpcode = 0x123;
        fpu.LastInstructionPointer = 0x12345678;
        fpu.LastInstructionSelector = 0x1B;
        fpu.LastDataPointer = 0xAABBCCDD;
        fpu.LastDataSelector = 0x23;
        for (int i = 0; i < 8; i++)
        {
            fpu.Registers[i] = new Float80((ushort)(0x3FFF + i), 0x8000_0000_0000_0000 + (ulong)i);
            fpu.Xmm[i] = System.Runtime.Intrinsics.Vector128.Create((byte)(i + 1));
        }
    }
}
