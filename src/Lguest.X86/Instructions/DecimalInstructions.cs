// Arithmetic on decimal digits, packed (two a byte) and unpacked (one a byte). OF is undefined everywhere and left clear; AAA and AAS
// leave SF, ZF and PF of the digit.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class DecimalInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Aaa, static (Processor cpu, in Instruction _) => AdjustUnpacked(cpu, 0x106));
        table.Add(Mnemonic.Aas, static (Processor cpu, in Instruction _) => AdjustUnpacked(cpu, -0x106));
        table.Add(Mnemonic.Daa, AdjustPackedSum);
        table.Add(Mnemonic.Das, AdjustPackedDifference);
        table.Add(Mnemonic.Aam, AdjustProduct);
        table.Add(Mnemonic.Aad, AdjustDividend);
    }

    private static uint Accumulator(Processor cpu) => cpu.State.General[(int)Register32.Eax] & 0xFFFF;

    private static void AdjustUnpacked(Processor cpu, int correction)
    {
        uint ax = Accumulator(cpu);
        bool adjust = (ax & 0xF) > 9 || cpu.State.Flags.Adjust;
        if (adjust)
        {
            ax = (uint)(ax + correction);
        }
        ax &= 0xFF0F;
        cpu.WriteRegister(Iced.Intel.Register.AX, ax);
        cpu.State.Flags.SetResult(ax, 1, adjust, false, adjust);
    }

    private static void AdjustPackedSum(Processor cpu, in Instruction instruction)
    {
        uint al = Accumulator(cpu) & 0xFF;
        bool adjust = (al & 0xF) > 9 || cpu.State.Flags.Adjust;
        bool carry = al > 0x99 || cpu.State.Flags.Carry;
        uint result = al + (adjust ? 6u : 0) + (carry ? 0x60u : 0);
        cpu.WriteRegister(Iced.Intel.Register.AL, result);
        cpu.State.Flags.SetResult(result, 1, carry, false, adjust);
    }

    // A borrow out of the low digit's correction sets CF even when the high digit needs none.
    private static void AdjustPackedDifference(Processor cpu, in Instruction instruction)
    {
        uint al = Accumulator(cpu) & 0xFF;
        bool adjust = (al & 0xF) > 9 || cpu.State.Flags.Adjust;
        bool carry = al > 0x99 || cpu.State.Flags.Carry;
        uint result = al - (adjust ? 6u : 0) - (carry ? 0x60u : 0);
        cpu.WriteRegister(Iced.Intel.Register.AL, result);
        cpu.State.Flags.SetResult(result, 1, carry || (adjust && al < 6), false, adjust);
    }

    private static void AdjustProduct(Processor cpu, in Instruction instruction)
    {
        uint radix = instruction.Immediate8;
        if (radix == 0)
        {
            throw cpu.Fault(Vector.DivideError);
        }
        uint al = Accumulator(cpu) & 0xFF;
        cpu.WriteRegister(Iced.Intel.Register.AX, ((al / radix) << 8) | (al % radix));
        cpu.State.Flags.SetLogic(al % radix, 1);
    }

    private static void AdjustDividend(Processor cpu, in Instruction instruction)
    {
        uint ax = Accumulator(cpu);
        uint result = ((ax & 0xFF) + ((ax >> 8) * instruction.Immediate8)) & 0xFF;
        cpu.WriteRegister(Iced.Intel.Register.AX, result);
        cpu.State.Flags.SetLogic(result, 1);
    }
}
