// Comparisons, into a mask (CMPPS and its kin) or into EFLAGS (COMISS and its kin).

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

internal static class SseCompare
{
    // The low two bits of a predicate name the question, bit 2 negates the answer.
    private const int NegatePredicate = 4;

    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Cmpps, Packed<Binary32, float>);
        table.Add(Mnemonic.Cmppd, Packed<Binary64, double>);
        table.Add(Mnemonic.Cmpss, Scalar<Binary32, float>);
        table.Add(Code.Cmpsd_xmm_xmmm64_imm8, Scalar<Binary64, double>);
        table.Add(Mnemonic.Comiss, ToFlags<Binary32>(true));
        table.Add(Mnemonic.Comisd, ToFlags<Binary64>(true));
        table.Add(Mnemonic.Ucomiss, ToFlags<Binary32>(false));
        table.Add(Mnemonic.Ucomisd, ToFlags<Binary64>(false));
    }

    private static void Packed<TFormat, TNumber>(Processor cpu, in Instruction instruction)
        where TFormat : struct, IIeeeFormat
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = Compare<TFormat, TNumber>(cpu, destination, source, instruction.Immediate8 & 7, SseNumbers<TFormat>.Count);
    }

    private static void Scalar<TFormat, TNumber>(Processor cpu, in Instruction instruction)
        where TFormat : struct, IIeeeFormat
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction, SseNumbers<TFormat>.Size);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        Vector128<byte> mask = Compare<TFormat, TNumber>(cpu, destination, source, instruction.Immediate8 & 7, 1);
        destination = SseNumbers<TFormat>.WithLowest(destination, mask);
    }

    private static Vector128<byte> Compare<TFormat, TNumber>(Processor cpu, Vector128<byte> first, Vector128<byte> second, int predicate, int lanes)
        where TFormat : struct, IIeeeFormat
    {
        if (SseNumbers<TFormat>.AllSet(SseNumbers<TFormat>.Ordinary(first) & SseNumbers<TFormat>.Ordinary(second), lanes))
        {
            return CompareOrdinary(first.As<byte, TNumber>(), second.As<byte, TNumber>(), predicate).AsByte();
        }
        var status = new IeeeStatus(cpu.State.Fpu.Mxcsr);
        Vector128<byte> result = default;
        for (int lane = 0; lane < lanes; lane++)
        {
            bool signaling = (predicate & 3) is 1 or 2;
            IeeeRelation relation = Ieee<TFormat>.Compare(
                SseNumbers<TFormat>.Get(first, lane), SseNumbers<TFormat>.Get(second, lane), signaling, ref status);
            bool answer = (predicate & 3) switch
            {
                0 => relation == IeeeRelation.Equal,
                1 => relation == IeeeRelation.Less,
                2 => relation is IeeeRelation.Less or IeeeRelation.Equal,
                _ => relation == IeeeRelation.Unordered,
            };
            result = SseNumbers<TFormat>.With(result, lane, answer != ((predicate & NegatePredicate) != 0) ? ulong.MaxValue : 0);
        }
        SseExceptions.Report(cpu, status.Raised);
        return result;
    }

    private static Vector128<TNumber> CompareOrdinary<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second, int predicate)
    {
        Vector128<TNumber> answer = (predicate & 3) switch
        {
            0 => Vector128.Equals(first, second),
            1 => Vector128.LessThan(first, second),
            2 => Vector128.LessThanOrEqual(first, second),
            _ => Vector128<TNumber>.Zero,
        };
        return (predicate & NegatePredicate) != 0 ? ~answer : answer;
    }

    private static InstructionHandler ToFlags<TFormat>(bool signaling)
        where TFormat : struct, IIeeeFormat => (cpu, in instruction) =>
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction, SseNumbers<TFormat>.Size);
        var status = new IeeeStatus(cpu.State.Fpu.Mxcsr);
        IeeeRelation relation = Ieee<TFormat>.Compare(
            SseNumbers<TFormat>.Get(Xmm(cpu, instruction.Op0Register), 0), SseNumbers<TFormat>.Get(source, 0), signaling, ref status);
        SseExceptions.Report(cpu, status.Raised);
        cpu.State.Flags.Value = relation switch
        {
            IeeeRelation.Less => Eflags.Carry,
            IeeeRelation.Equal => Eflags.Zero,
            IeeeRelation.Greater => 0,
            _ => Eflags.Zero | Eflags.Parity | Eflags.Carry,
        };
    };
}
