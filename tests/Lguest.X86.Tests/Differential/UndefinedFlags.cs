// Which status flags Intel's manual leaves undefined. Iced knows it for each encoding; for shifts it depends on the count besides.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Differential;

/// <summary>The status flags that an instruction may leave in any state (Intel SDM volume 2).</summary>
internal static class UndefinedFlags
{
    /// <summary>Mask of EFLAGS bits.</summary>
    /// <param name="instruction">The instruction.</param>
    /// <param name="cl">CL before it.</param>
    public static uint Of(in Instruction instruction, byte cl)
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar:
                int count = ShiftCount(instruction, 1, cl);
                bool lost = count >= 8 * Processor.OperandSize(instruction, 0) && instruction.Mnemonic != Mnemonic.Sar;
                return count == 0 ? 0 : Eflags.Adjust | (count == 1 ? 0 : Eflags.Overflow) | (lost ? Eflags.Carry : 0);
            case Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr:
                return ShiftCount(instruction, 1, cl) is 0 or 1 ? 0 : Eflags.Overflow;
            case Mnemonic.Shld or Mnemonic.Shrd:
                count = ShiftCount(instruction, 2, cl);
                bool tooFar = count > 8 * Processor.OperandSize(instruction, 0);
                return count == 0 ? 0 : tooFar ? Eflags.Status : Eflags.Adjust | (count == 1 ? 0 : Eflags.Overflow);
            default:
                return FromRflags(instruction.RflagsUndefined);
        }
    }

    /// <summary>Whether the result is undefined too: SHLD and SHRD by more than the operand's bits.</summary>
    public static bool ResultIsUndefined(in Instruction instruction, byte cl) =>
        instruction.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && ShiftCount(instruction, 2, cl) > 8 * Processor.OperandSize(instruction, 0);

    private static int ShiftCount(in Instruction instruction, int operand, byte cl) =>
        (instruction.GetOpKind(operand) == OpKind.Register ? cl : (int)instruction.GetImmediate(operand)) & 31;

    private static uint FromRflags(RflagsBits bits) =>
        ((bits & RflagsBits.OF) != 0 ? Eflags.Overflow : 0)
        | ((bits & RflagsBits.SF) != 0 ? Eflags.Sign : 0)
        | ((bits & RflagsBits.ZF) != 0 ? Eflags.Zero : 0)
        | ((bits & RflagsBits.AF) != 0 ? Eflags.Adjust : 0)
        | ((bits & RflagsBits.CF) != 0 ? Eflags.Carry : 0)
        | ((bits & RflagsBits.PF) != 0 ? Eflags.Parity : 0);
}
