// Where Unicorn is wrong or chose differently from the processor that we describe. Each entry has its reason here and in
// docs/oracles.md; the native CPU judges these forms where it can.

using Iced.Intel;

namespace Lguest.X86.Tests.Differential;

/// <summary>Cases in which Unicorn is not believed.</summary>
internal static class UnicornMistakes
{
    /// <summary>Forms that are not compared at all.</summary>
    public static bool Disqualify(in Instruction instruction) => instruction.Code switch
    {
        // Undefined by the manual; processors clear the word, Unicorn swaps all 32 bits.
        Code.Bswap_r16 => true,

        // Group 3 /1 is an undocumented TEST on every processor since the 8086; Unicorn raises #UD.
        Code.Test_rm8_imm8_F6r1 or Code.Test_rm16_imm16_F7r1 or Code.Test_rm32_imm32_F7r1 => true,

        // Hints with a register operand are reserved NOPs on Intel's processors; Unicorn raises #UD for some.
        _ when instruction.Mnemonic == Mnemonic.Reservednop => instruction.Op0Kind == OpKind.Register,
        _ => false,
    };

    /// <summary>Forms whose flags are not compared: Unicorn computes those of LOCK NEG from the wrong operand.</summary>
    public static bool FlagsAreWrong(in Instruction instruction) => instruction.Mnemonic == Mnemonic.Neg && instruction.HasLockPrefix;
}
