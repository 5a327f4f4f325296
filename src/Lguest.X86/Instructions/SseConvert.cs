// Conversions among 32-bit integers, single and double precision, in XMM, MMX and general registers.

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

internal static class SseConvert
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Cvtss2sd, ScalarToScalar<Binary32, Binary64>);
        table.Add(Mnemonic.Cvtsd2ss, ScalarToScalar<Binary64, Binary32>);
        table.Add(Mnemonic.Cvtps2pd, SingleToDouble);
        table.Add(Mnemonic.Cvtpd2ps, DoubleToSingle);

        table.Add(Mnemonic.Cvtsi2ss, GeneralToScalar<Binary32>);
        table.Add(Mnemonic.Cvtsi2sd, GeneralToScalar<Binary64>);
        table.Add(Mnemonic.Cvtdq2ps, IntegerToSingle);
        table.Add(Mnemonic.Cvtdq2pd, IntegerToDouble);
        table.Add(Mnemonic.Cvtpi2ps, MmxToSingle);
        table.Add(Mnemonic.Cvtpi2pd, MmxToDouble);

        AddToInteger<Binary32>(table, false, Mnemonic.Cvtss2si, Mnemonic.Cvtps2dq, Mnemonic.Cvtps2pi);
        AddToInteger<Binary32>(table, true, Mnemonic.Cvttss2si, Mnemonic.Cvttps2dq, Mnemonic.Cvttps2pi);
        AddToInteger<Binary64>(table, false, Mnemonic.Cvtsd2si, Mnemonic.Cvtpd2dq, Mnemonic.Cvtpd2pi);
        AddToInteger<Binary64>(table, true, Mnemonic.Cvttsd2si, Mnemonic.Cvttpd2dq, Mnemonic.Cvttpd2pi);
    }

    private static void AddToInteger<TFormat>(InstructionTable table, bool truncate, Mnemonic scalar, Mnemonic packed, Mnemonic mmx)
        where TFormat : struct, IIeeeFormat
    {
        table.Add(scalar, (cpu, in instruction) =>
        {
            RequireSse(cpu);
            Vector128<byte> source = XmmSource(cpu, instruction, SseNumbers<TFormat>.Size);
            Vector128<byte> integer = ToIntegers<TFormat>(cpu, source, 1, truncate);
            cpu.WriteRegister(instruction.Op0Register, integer.AsUInt32().ToScalar());
        });
        table.Add(packed, (cpu, in instruction) =>
        {
            RequireSse(cpu);
            Vector128<byte> source = XmmSource(cpu, instruction);
            Xmm(cpu, instruction.Op0Register) = ToIntegers<TFormat>(cpu, source, SseNumbers<TFormat>.Count, truncate);
        });
        table.Add(mmx, (cpu, in instruction) =>
        {
            RequireSse(cpu);
            RequireMmx(cpu);
            Vector128<byte> source = SseNumbers<TFormat>.Size == 4 ? XmmSource(cpu, instruction, 8) : XmmSource(cpu, instruction);
            WriteMmx(cpu, instruction.Op0Register, Low(ToIntegers<TFormat>(cpu, source, 2, truncate)));
        });
    }

    private static Vector128<byte> ToIntegers<TFormat>(Processor cpu, Vector128<byte> source, int lanes, bool truncate)
        where TFormat : struct, IIeeeFormat
    {
        var status = new IeeeStatus(cpu.State.Fpu.Mxcsr);
        Vector128<int> result = default;
        for (int lane = 0; lane < lanes; lane++)
        {
            result = result.WithElement(lane, Ieee<TFormat>.ToInt32(SseNumbers<TFormat>.Get(source, lane), truncate, ref status));
        }
        SseExceptions.Report(cpu, status.Raised);
        return result.AsByte();
    }

    private static Vector128<byte> FromIntegers<TFormat>(Processor cpu, Vector128<byte> source, int lanes)
        where TFormat : struct, IIeeeFormat
    {
        var status = new IeeeStatus(cpu.State.Fpu.Mxcsr);
        Vector128<byte> result = default;
        for (int lane = 0; lane < lanes; lane++)
        {
            result = SseNumbers<TFormat>.With(result, lane, Ieee<TFormat>.FromInt32(source.AsInt32()[lane], ref status));
        }
        SseExceptions.Report(cpu, status.Raised);
        return result;
    }

    private static Vector128<byte> Between<TSource, TTarget>(Processor cpu, Vector128<byte> source, int lanes)
        where TSource : struct, IIeeeFormat
        where TTarget : struct, IIeeeFormat
    {
        var status = new IeeeStatus(cpu.State.Fpu.Mxcsr);
        Vector128<byte> result = default;
        for (int lane = 0; lane < lanes; lane++)
        {
            ulong number = Ieee<TTarget>.From<TSource>(SseNumbers<TSource>.Get(source, lane), ref status);
            result = SseNumbers<TTarget>.With(result, lane, number);
        }
        SseExceptions.Report(cpu, status.Raised);
        return result;
    }

    private static void ScalarToScalar<TSource, TTarget>(Processor cpu, in Instruction instruction)
        where TSource : struct, IIeeeFormat
        where TTarget : struct, IIeeeFormat
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction, SseNumbers<TSource>.Size);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = SseNumbers<TTarget>.WithLowest(destination, Between<TSource, TTarget>(cpu, source, 1));
    }

    private static void SingleToDouble(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        Xmm(cpu, instruction.Op0Register) = Between<Binary32, Binary64>(cpu, XmmSource(cpu, instruction, 8), 2);
    }

    private static void DoubleToSingle(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        Xmm(cpu, instruction.Op0Register) = Between<Binary64, Binary32>(cpu, XmmSource(cpu, instruction), 2);
    }

    private static void GeneralToScalar<TFormat>(Processor cpu, in Instruction instruction)
        where TFormat : struct, IIeeeFormat
    {
        RequireSse(cpu);
        Vector128<byte> source = Widen(cpu.ReadOperand(instruction, 1));
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = SseNumbers<TFormat>.WithLowest(destination, FromIntegers<TFormat>(cpu, source, 1));
    }

    private static void IntegerToSingle(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        Xmm(cpu, instruction.Op0Register) = FromIntegers<Binary32>(cpu, XmmSource(cpu, instruction), 4);
    }

    private static void IntegerToDouble(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        Xmm(cpu, instruction.Op0Register) = FromIntegers<Binary64>(cpu, XmmSource(cpu, instruction, 8), 2);
    }

    private static void MmxToSingle(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        RequireMmx(cpu);
        Vector128<byte> numbers = FromIntegers<Binary32>(cpu, Widen(MmxSource(cpu, instruction)), 2);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = destination.AsUInt64().WithElement(0, Low(numbers)).AsByte();
        EnterMmx(cpu);
    }

    // Unlike CVTPI2PS, this one leaves the x87 alone when its operand is in memory (Intel SDM volume 2, CVTPI2PD).
    private static void MmxToDouble(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        bool register = instruction.Op1Kind == OpKind.Register;
        if (register)
        {
            RequireMmx(cpu);
        }
        Xmm(cpu, instruction.Op0Register) = FromIntegers<Binary64>(cpu, Widen(MmxSource(cpu, instruction)), 2);
        if (register)
        {
            EnterMmx(cpu);
        }
    }
}
