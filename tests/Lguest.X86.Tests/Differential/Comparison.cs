// The verdict: what the processor left behind against what the oracle left behind, and where the manual lets them differ.

using System.Runtime.Intrinsics;
using System.Text;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Differential;

/// <summary>Compares states after one instruction.</summary>
internal static class Comparison
{
    private static readonly string[] Names = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];

    /// <summary>The differences, a line each; empty when there are none.</summary>
    /// <param name="test">The case.</param>
    /// <param name="expected">State of the oracle.</param>
    /// <param name="actual">State of the processor.</param>
    /// <param name="flags">EFLAGS bits to compare.</param>
    /// <param name="floatingPoint">Compare x87 and SSE.</param>
    public static string Registers(TestCase test, in NativeState expected, in NativeState actual, uint flags, bool floatingPoint)
    {
        var text = new StringBuilder();
        for (int i = 0; i < 8; i++)
        {
            if (expected.General[i] != actual.General[i])
            {
                text.AppendLine($"  {Names[i]}: expected {expected.General[i]:x8}, got {actual.General[i]:x8} (was {test.Before.General[i]:x8})");
            }
        }
        if (((expected.Eflags ^ actual.Eflags) & flags) != 0)
        {
            text.AppendLine($"  eflags: expected {FlagsText(expected.Eflags)}, got {FlagsText(actual.Eflags)}, compared {FlagsText(flags)}");
        }
        if (floatingPoint)
        {
            FloatingPoint(text, test, expected, actual);
        }
        return text.ToString();
    }

    /// <summary>The differences of scratch memory; empty when there are none.</summary>
    public static string Memory(TestCase test, ReadOnlySpan<byte> expected, ReadOnlySpan<byte> actual)
    {
        if (expected.SequenceEqual(actual))
        {
            return "";
        }
        var text = new StringBuilder();
        int shown = 0;
        for (int i = 0; i < expected.Length && shown < 24; i++)
        {
            if (expected[i] != actual[i] && !Ignored(test, i))
            {
                text.AppendLine($"  scratch+{i:x} (operand {i - test.Offset:+0;-0}): expected {expected[i]:x2}, got {actual[i]:x2} (was {test.Scratch[i]:x2})");
                shown++;
            }
        }
        return text.ToString();
    }

    /// <summary>The case in words.</summary>
    public static string Describe(TestCase test)
    {
        var text = new StringBuilder();
        text.AppendLine($"{test.Instruction} ({test.Instruction.Code})");
        for (int i = 0; i < 8; i++)
        {
            text.Append($" {Names[i]}={test.Before.General[i]:x8}");
        }
        text.AppendLine($" flags {FlagsText(test.Before.Eflags)}");
        if (InstructionForms.IsFloatingPoint(test.Instruction.Code))
        {
            text.AppendLine($" fcw={test.Before.ControlWord:x4} fsw={test.Before.StatusWord:x4} tags={test.Before.ValidTags:x2} mxcsr={test.Before.Mxcsr:x}");
            for (int i = 0; i < test.Instruction.OpCount; i++)
            {
                if (test.Instruction.GetOpKind(i) == OpKind.Register && test.Instruction.GetOpRegister(i) is var register)
                {
                    int number = register.IsGPR() ? -1 : register.GetNumber();
                    text.AppendLine(register.IsXMM() ? $" {register}={test.Before.GetXmm(number).AsUInt64()}" : number >= 0 ? $" {register}: {Text(test.Before.GetSt(number))}" : "");
                }
            }
            if (test.Instruction.Code.Mnemonic().ToString().StartsWith('F'))
            {
                text.AppendLine($" st0={Text(test.Before.GetSt(0))} st1={Text(test.Before.GetSt(1))}");
            }
        }
        if (test.Offset >= 0)
        {
            int size = Math.Min(32, Math.Max(1, test.Instruction.MemorySize.GetSize()));
            text.AppendLine($" memory: {Convert.ToHexString(test.Scratch, test.Offset, size)}");
        }
        return text.ToString();
    }

    private static void FloatingPoint(StringBuilder text, TestCase test, in NativeState expected, in NativeState actual)
    {
        Mnemonic mnemonic = test.Instruction.Mnemonic;
        bool x87 = !FloatingPointRules.LeavesX87Alone(test.Instruction);
        if (expected.ControlWord != actual.ControlWord)
        {
            text.AppendLine($"  control word: expected {expected.ControlWord:x4}, got {actual.ControlWord:x4}");
        }
        int status = FloatingPointRules.DefinedStatus(mnemonic);
        if (x87 && ((expected.StatusWord ^ actual.StatusWord) & status) != 0)
        {
            text.AppendLine($"  status word: expected {expected.StatusWord:x4}, got {actual.StatusWord:x4} (was {test.Before.StatusWord:x4}), compared {status:x4}");
        }
        if (x87 && expected.ValidTags != actual.ValidTags)
        {
            text.AppendLine($"  tags: expected {expected.ValidTags:x2}, got {actual.ValidTags:x2} (was {test.Before.ValidTags:x2})");
        }
        if (expected.Mxcsr != actual.Mxcsr)
        {
            text.AppendLine($"  mxcsr: expected {expected.Mxcsr:x}, got {actual.Mxcsr:x} (was {test.Before.Mxcsr:x})");
        }
        for (int i = 0; i < 8; i++)
        {
            if (x87 && !FloatingPointRules.Agree(mnemonic, expected.GetSt(i), actual.GetSt(i)))
            {
                text.AppendLine($"  st{i}: expected {Text(expected.GetSt(i))}, got {Text(actual.GetSt(i))} (was {Text(test.Before.GetSt(i))})");
            }
            if (!FloatingPointRules.Agree(mnemonic, expected.GetXmm(i), actual.GetXmm(i)))
            {
                text.AppendLine($"  xmm{i}: expected {expected.GetXmm(i).AsUInt32()}, got {actual.GetXmm(i).AsUInt32()} (was {test.Before.GetXmm(i).AsUInt32()})");
            }
        }
    }

    // The addresses of the last x87 instruction differ between the two programs, and FXSAVE stores XMM8 to XMM15 in 64-bit mode.
    private static bool Ignored(TestCase test, int index)
    {
        int offset = index - test.Offset;
        return test.Instruction.Mnemonic switch
        {
            Mnemonic.Fxsave => offset is (>= 6 and < 24) or (>= 28 and < 32) or (>= 288 and < 512) || (offset is >= 32 and < 160 && offset % 16 >= 10),
            Mnemonic.Fnstenv or Mnemonic.Fnsave when test.Instruction.MemorySize is MemorySize.FpuEnv28 or MemorySize.FpuState108 => offset is >= 12 and < 28,
            Mnemonic.Fnstenv or Mnemonic.Fnsave => offset is >= 6 and < 14,
            _ => false,
        };
    }

    private static string Text(Float80 value) => $"{value.SignExponent:x4}:{value.Significand:x16}";

    private static string FlagsText(uint flags)
    {
        var text = new StringBuilder($"{flags:x}:");
        foreach ((uint bit, char letter) in (ReadOnlySpan<(uint, char)>)
            [(Eflags.Overflow, 'O'), (Eflags.Direction, 'D'), (Eflags.Sign, 'S'), (Eflags.Zero, 'Z'), (Eflags.Adjust, 'A'), (Eflags.Parity, 'P'), (Eflags.Carry, 'C')])
        {
            text.Append((flags & bit) != 0 ? letter : '-');
        }
        return text.ToString();
    }
}
