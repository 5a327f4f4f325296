// Logic on whole XMM registers and the rearranging of their floating-point lanes; like the moves, these look at no number.

using System.Runtime.Intrinsics;
using Iced.Intel;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

internal static class SseShuffles
{
    public static void Register(InstructionTable table)
    {
        InstructionHandler and = MmxInstructions.Packed(static (a, b) => a & b);
        InstructionHandler andNot = MmxInstructions.Packed(static (a, b) => ~a & b);
        InstructionHandler or = MmxInstructions.Packed(static (a, b) => a | b);
        InstructionHandler xor = MmxInstructions.Packed(static (a, b) => a ^ b);
        table.Add(Mnemonic.Andps, and);
        table.Add(Mnemonic.Andpd, and);
        table.Add(Mnemonic.Andnps, andNot);
        table.Add(Mnemonic.Andnpd, andNot);
        table.Add(Mnemonic.Orps, or);
        table.Add(Mnemonic.Orpd, or);
        table.Add(Mnemonic.Xorps, xor);
        table.Add(Mnemonic.Xorpd, xor);

        table.Add(Mnemonic.Unpcklps, MmxInstructions.Packed(MmxShuffles.InterleaveLowDoublewords));
        table.Add(Mnemonic.Unpckhps, MmxInstructions.Packed(MmxShuffles.InterleaveHighDoublewords));
        table.Add(Mnemonic.Unpcklpd, MmxInstructions.Packed(static (a, b) => Vector128.Create(a.GetLower(), b.GetLower())));
        table.Add(Mnemonic.Unpckhpd, MmxInstructions.Packed(static (a, b) => Vector128.Create(a.GetUpper(), b.GetUpper())));
        table.Add(Mnemonic.Shufps, ShuffleSingle);
        table.Add(Mnemonic.Shufpd, ShuffleDouble);
    }

    private static void ShuffleSingle(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        int order = instruction.Immediate8;
        destination = Vector128.Create(
            MmxShuffles.ShuffleDoublewords(destination, order).GetLower(),
            MmxShuffles.ShuffleDoublewords(source, order).GetUpper());
    }

    private static void ShuffleDouble(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        int order = instruction.Immediate8;
        destination = Vector128.Create(destination.AsUInt64()[order & 1], source.AsUInt64()[(order >> 1) & 1]).AsByte();
    }
}
