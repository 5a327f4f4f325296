using Iced.Intel;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Differential;

/// <summary>What is registered is tested, or says why not; what the processor should have is registered.</summary>
public sealed class CoverageTests
{
    private static readonly HashSet<CpuidFeature> Generation =
    [
        CpuidFeature.INTEL8086, CpuidFeature.INTEL186, CpuidFeature.INTEL286, CpuidFeature.INTEL386, CpuidFeature.INTEL486, CpuidFeature.FPU, CpuidFeature.FPU287,
        CpuidFeature.FPU387, CpuidFeature.CMOV, CpuidFeature.CX8, CpuidFeature.CPUID, CpuidFeature.TSC, CpuidFeature.MSR, CpuidFeature.FXSR, CpuidFeature.MMX,
        CpuidFeature.SSE, CpuidFeature.SSE2, CpuidFeature.MULTIBYTENOP, CpuidFeature.SEP, CpuidFeature.PAUSE, CpuidFeature.CLFSH,
    ];

    [Fact]
    public void EveryRegisteredFormHasAJudge()
    {
        var without = new List<string>();
        foreach (Code code in InstructionForms.Registered.Where(code => InstructionForms.JudgeOf(code) != Judge.Elsewhere))
        {
            bool unicorn = InstructionForms.JudgeOf(code) == Judge.Unicorn;
            var generator = new CaseGenerator(new Random(1), 0x4000, unicorn) { Selectors = [0x10, 0x18] };
            try
            {
                TestCase test = generator.Next(code);
                _ = TestMachine.Encode(test.Instruction, CaseGenerator.CodeAddress);
            }
            catch (Exception e) when (e is NotSupportedException or EncoderException)
            {
                without.Add($"{code}: {e.Message}");
            }
            if (unicorn && InstructionForms.IsFloatingPoint(code))
            {
                without.Add($"{code}: Unicorn is compared without x87 and SSE");
            }
        }
        Assert.True(without.Count == 0, "Neither tested nor excused:\n" + string.Join('\n', without));
    }

    [Fact]
    public void EveryInstructionOfTheGenerationIsRegistered()
    {
        IEnumerable<string> missing = Enum.GetValues<Code>()
            .Where(code => InstructionForms.Exists32(code) && code.Mnemonic() is not (Mnemonic.Ud0 or Mnemonic.Ud1) && code.CpuidFeatures().All(Generation.Contains) && !InstructionForms.Registered.Contains(code))
            .Select(code => code.ToString());
        Assert.True(!missing.Any(), "Not registered:\n" + string.Join(' ', missing));
    }

    [Fact]
    public void ExcusesAreStillNeeded()
    {
        IEnumerable<Mnemonic> stale = InstructionForms.Excused.Except(InstructionForms.Registered.Select(code => code.Mnemonic()));
        Assert.True(!stale.Any(), "Excused, but not registered: " + string.Join(' ', stale));
    }

    [Fact]
    public void ADifferenceIsSeen()
    {
        var generator = new CaseGenerator(new Random(1), 0x4000, false);
        TestCase test = generator.Next(Code.Add_rm32_r32);
        NativeState other = test.Before;
        Assert.Equal("", Comparison.Registers(test, test.Before, other, ~0u, true));
        other.General[3] ^= 1;
        Assert.Contains("ebx", Comparison.Registers(test, test.Before, other, ~0u, true));
        other = test.Before;
        other.Eflags ^= 1;
        Assert.Contains("eflags", Comparison.Registers(test, test.Before, other, ~0u, true));
        other = test.Before;
        other.SetSt(2, new State.Float80(1, 2));
        Assert.Contains("st2", Comparison.Registers(test, test.Before, other, ~0u, true));
        byte[] memory = [.. test.Scratch];
        memory[77] ^= 1;
        Assert.Contains("scratch+4d", Comparison.Memory(test, test.Scratch, memory));
    }
}
