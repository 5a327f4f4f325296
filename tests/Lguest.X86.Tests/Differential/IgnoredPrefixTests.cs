using Iced.Intel;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Differential;

/// <summary>Encodings to which later processors gave a meaning, and which must mean on this one what they always did.</summary>
public sealed class IgnoredPrefixTests
{
    [Theory]
    [InlineData(Code.Bsf_r32_rm32)]
    [InlineData(Code.Bsr_r32_rm32)]
    [InlineData(Code.Bsf_r16_rm16)]
    [InlineData(Code.Bsr_r16_rm16)]
    public void BitScansIgnoreRep(Code code)
    {
        using var native = new NativeCpu();
        using var machine = new TestMachine();
        var generator = new CaseGenerator(TestSettings.RandomFor(code.ToString()), native.ScratchAddress, false);
        for (int round = TestSettings.RoundsOf(100); round > 0; round--)
        {
            TestCase test = generator.Next(code);
            NativeState expected = test.Before;
            test.Scratch.CopyTo(native.Scratch);
            native.Run(NativeCpu.Encode(test.Instruction), ref expected);

            test.Before.CopyTo(ref machine.State);
            machine.Memory.Write(native.ScratchAddress, test.Scratch);
            machine.Load([0xF3, .. TestMachine.Encode(test.Instruction)]);
            Assert.True(machine.Step());
            Assert.Equal("", Comparison.Registers(test, expected, NativeState.From(machine.State), State.Eflags.Zero, false));
        }
    }

    [Theory]
    [InlineData(0x0F, 0x0D, 0x10)] // PREFETCHWT1 [EAX]
    [InlineData(0x0F, 0x18, 0x38)] // PREFETCHIT0 [EAX]
    [InlineData(0x0F, 0x18, 0xC0)] // a hint with a register
    [InlineData(0x0F, 0x1F, 0x00)] // NOP [EAX]
    public void HintsDoNothing(byte first, byte second, byte third)
    {
        using var machine = new TestMachine();
        machine.State.General[0] = 0xF000_0000;
        machine.Load([first, second, third]);
        Assert.True(machine.Step());
        Assert.Equal(TestMachine.CodeAddress + 3, machine.State.Eip);
    }
}
