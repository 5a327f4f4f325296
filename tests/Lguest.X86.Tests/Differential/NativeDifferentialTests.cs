using System.Numerics;
using System.Text;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using Vector = Lguest.X86.State.Vector;

namespace Lguest.X86.Tests.Differential;

/// <summary>Every instruction form that exists in 64-bit mode, against the CPU that runs the tests.</summary>
public sealed class NativeDifferentialTests : IDisposable
{
    private const int RoundsPerForm = 150;
    private const int FailuresShown = 3;

    private readonly ITestOutputHelper output;
    private readonly NativeCpu native = new();
    private readonly TestMachine machine = new();
    private readonly CpuState start;
    private readonly byte[] result = new byte[NativeCpu.ScratchSize];

    public NativeDifferentialTests(ITestOutputHelper output)
    {
        this.output = output;
        machine.State.Cr4 = Cr4.OsFxsr | Cr4.OsXmmExceptions;
        machine.Processor.StateChanged();
        start = machine.State;
    }

    public static TheoryData<Mnemonic> Mnemonics => [.. InstructionForms.MnemonicsFor(code => InstructionForms.JudgeOf(code) == Judge.Native)];

    [Theory]
    [MemberData(nameof(Mnemonics))]
    public void AgreesWithTheNativeCpu(Mnemonic mnemonic)
    {
        var failures = new StringBuilder();
        int failed = 0;
        int total = 0;
        foreach (Code code in InstructionForms.Registered.Where(code => code.Mnemonic() == mnemonic && InstructionForms.JudgeOf(code) == Judge.Native))
        {
            var generator = new CaseGenerator(TestSettings.RandomFor(code.ToString()), native.ScratchAddress, false);
            int undefinedDifferences = 0;
            int failedBefore = failed;
            for (int round = TestSettings.RoundsOf(RoundsPerForm); round > 0; round--)
            {
                TestCase test = generator.Next(code);
                string differences = Try(test, ref undefinedDifferences);
                total++;
                if (differences.Length > 0 && failed++ - failedBefore < FailuresShown)
                {
                    failures.Append(Comparison.Describe(test)).Append(differences);
                }
            }
            if (undefinedDifferences > 0)
            {
                output.WriteLine($"{code}: undefined flags differ from this CPU's in {undefinedDifferences} cases");
            }
        }
        Assert.True(failed == 0, $"{failed} of {total} cases differ, {TestSettings.Description}\n{failures}");
    }

    public void Dispose()
    {
        native.Dispose();
        machine.Dispose();
    }

    private string Try(TestCase test, ref int undefinedDifferences)
    {
        byte[] code = TestMachine.Encode(test.Instruction);
        machine.State = start;
        test.Before.CopyTo(ref machine.State);
        machine.Memory.Write(native.ScratchAddress, test.Scratch);
        machine.Load(code);
        bool completed = machine.Step();
        if (Divides(test) is bool quotientFits && !quotientFits)
        {
            return completed || machine.FaultVector != Vector.DivideError || machine.State.Eip != TestMachine.CodeAddress ? "  must raise #DE\n" : "";
        }
        if (!completed)
        {
            return $"  raised vector {machine.FaultVector}\n";
        }

        NativeState expected = test.Before;
        test.Scratch.CopyTo(native.Scratch);
        native.Run(NativeCpu.Encode(test.Instruction), ref expected);

        NativeState actual = NativeState.From(machine.State);
        uint undefined = UndefinedFlags.Of(test.Instruction, test.Cl);
        undefinedDifferences += ((expected.Eflags ^ actual.Eflags) & undefined) != 0 ? 1 : 0;
        if (UndefinedFlags.ResultIsUndefined(test.Instruction, test.Cl) || FloatingPointRules.ResultIsUndefined(test))
        {
            return "";
        }
        uint defined = (Eflags.Status | Eflags.Direction) & ~undefined;
        machine.Memory.Read(native.ScratchAddress, result);
        string eip = machine.State.Eip == TestMachine.CodeAddress + (uint)code.Length ? "" : $"  eip: got {machine.State.Eip:x}\n";
        return eip + Comparison.Registers(test, expected, actual, defined, true) + Comparison.Memory(test, native.Scratch, result);
    }

    // Null when the instruction does not divide; otherwise whether it can be run natively without #DE.
    private static bool? Divides(TestCase test)
    {
        bool signed = test.Instruction.Mnemonic == Mnemonic.Idiv;
        if (!signed && test.Instruction.Mnemonic != Mnemonic.Div)
        {
            return null;
        }
        uint eax = test.Before.General[0];
        uint edx = test.Before.General[2];
        int bits = 8 * Processor.OperandSize(test.Instruction, 0);
        BigInteger dividend = bits switch
        {
            8 => eax & 0xFFFF,
            16 => ((edx & 0xFFFF) << 16) | (eax & 0xFFFF),
            _ => ((ulong)edx << 32) | eax,
        };
        BigInteger divisor = Operand(test, bits);
        if (signed)
        {
            dividend -= (dividend >> ((2 * bits) - 1)) << (2 * bits);
            divisor -= (divisor >> (bits - 1)) << bits;
        }
        if (divisor.IsZero)
        {
            return false;
        }
        var quotient = BigInteger.Divide(dividend, divisor);
        BigInteger limit = BigInteger.One << (signed ? bits - 1 : bits);
        return quotient < limit && quotient >= (signed ? -limit : 0);
    }

    private static uint Operand(TestCase test, int bits)
    {
        uint mask = (uint)((1ul << bits) - 1);
        if (test.Offset >= 0)
        {
            return BitConverter.ToUInt32(test.Scratch, test.Offset) & mask;
        }
        Register register = test.Instruction.Op0Register;
        uint value = test.Before.General[register.GetFullRegister32().GetNumber()];
        return (register is >= Register.AH and <= Register.BH ? value >> 8 : value) & mask;
    }
}
