// Addition to square root. Hardware does the arithmetic where its answer is beyond doubt and leaves no trace in MXCSR; everything else
// (other rounding modes, special operands, results near the ends of the range, the first rounded result) is computed by Ieee.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

/// <summary>An operation in its two forms.</summary>
internal interface ISseOperation
{
    /// <summary>Ignores the destination's old value.</summary>
    static abstract bool IsUnary { get; }

    /// <summary>The result may be rounded, overflow or underflow.</summary>
    static abstract bool Rounds { get; }

    /// <summary>By hardware: right for ordinary operands, to nearest.</summary>
    static abstract Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second);

    /// <summary>By integers: right always.</summary>
    static abstract ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
        where TFormat : struct, IIeeeFormat;
}

internal static class SseArithmetic
{
    public static void Register(InstructionTable table)
    {
        Add<Addition>(table, Mnemonic.Addps, Mnemonic.Addpd, Mnemonic.Addss, Mnemonic.Addsd);
        Add<Subtraction>(table, Mnemonic.Subps, Mnemonic.Subpd, Mnemonic.Subss, Mnemonic.Subsd);
        Add<Multiplication>(table, Mnemonic.Mulps, Mnemonic.Mulpd, Mnemonic.Mulss, Mnemonic.Mulsd);
        Add<Division>(table, Mnemonic.Divps, Mnemonic.Divpd, Mnemonic.Divss, Mnemonic.Divsd);
        Add<SquareRoot>(table, Mnemonic.Sqrtps, Mnemonic.Sqrtpd, Mnemonic.Sqrtss, Mnemonic.Sqrtsd);
        Add<Minimum>(table, Mnemonic.Minps, Mnemonic.Minpd, Mnemonic.Minss, Mnemonic.Minsd);
        Add<Maximum>(table, Mnemonic.Maxps, Mnemonic.Maxpd, Mnemonic.Maxss, Mnemonic.Maxsd);
        table.Add(Mnemonic.Rcpps, Approximate(Reciprocal, 4));
        table.Add(Mnemonic.Rcpss, Approximate(Reciprocal, 1));
        table.Add(Mnemonic.Rsqrtps, Approximate(ReciprocalRoot, 4));
        table.Add(Mnemonic.Rsqrtss, Approximate(ReciprocalRoot, 1));
    }

    private static void Add<TOperation>(InstructionTable table, Mnemonic packedSingle, Mnemonic packedDouble, Mnemonic single, Mnemonic @double)
        where TOperation : struct, ISseOperation
    {
        table.Add(packedSingle, Packed<TOperation, Binary32, float>);
        table.Add(packedDouble, Packed<TOperation, Binary64, double>);
        table.Add(single, Scalar<TOperation, Binary32, float>);
        table.Add(@double, Scalar<TOperation, Binary64, double>);
    }

    private static void Packed<TOperation, TFormat, TNumber>(Processor cpu, in Instruction instruction)
        where TOperation : struct, ISseOperation
        where TFormat : struct, IIeeeFormat
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = Compute<TOperation, TFormat, TNumber>(cpu, destination, source, SseNumbers<TFormat>.Count);
    }

    private static void Scalar<TOperation, TFormat, TNumber>(Processor cpu, in Instruction instruction)
        where TOperation : struct, ISseOperation
        where TFormat : struct, IIeeeFormat
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction, SseNumbers<TFormat>.Size);
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = SseNumbers<TFormat>.WithLowest(destination, Compute<TOperation, TFormat, TNumber>(cpu, destination, source, 1));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Compute<TOperation, TFormat, TNumber>(Processor cpu, Vector128<byte> first, Vector128<byte> second, int lanes)
        where TOperation : struct, ISseOperation
        where TFormat : struct, IIeeeFormat
    {
        first = TOperation.IsUnary ? second : first;
        if (!TOperation.Rounds || SseExceptions.RoundsQuietly(cpu.State.Fpu.Mxcsr))
        {
            Vector128<byte> result = TOperation.Fast(first.As<byte, TNumber>(), second.As<byte, TNumber>()).AsByte();
            Vector128<byte> safe = SseNumbers<TFormat>.Ordinary(first) & SseNumbers<TFormat>.Ordinary(second);
            safe = TOperation.Rounds ? safe & SseNumbers<TFormat>.SafeResult(result) : safe;
            if (SseNumbers<TFormat>.AllSet(safe, lanes))
            {
                return result;
            }
        }
        return ComputeExactly<TOperation, TFormat>(cpu, first, second, lanes);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Vector128<byte> ComputeExactly<TOperation, TFormat>(Processor cpu, Vector128<byte> first, Vector128<byte> second, int lanes)
        where TOperation : struct, ISseOperation
        where TFormat : struct, IIeeeFormat
    {
        var status = new IeeeStatus(cpu.State.Fpu.Mxcsr);
        Vector128<byte> result = default;
        for (int lane = 0; lane < lanes; lane++)
        {
            ulong number = TOperation.Exact<TFormat>(SseNumbers<TFormat>.Get(first, lane), SseNumbers<TFormat>.Get(second, lane), ref status);
            result = SseNumbers<TFormat>.With(result, lane, number);
        }
        SseExceptions.Report(cpu, status.Raised);
        return result;
    }

    /// <summary>RCPPS and its kin: no exceptions, no rounding modes, no denormals (Intel SDM volume 2, RCPPS).</summary>
    private static InstructionHandler Approximate(Func<float, float> operation, int lanes) => (cpu, in instruction) =>
    {
        RequireSse(cpu);
        Vector128<float> source = (lanes == 1 ? XmmSource(cpu, instruction, 4) : XmmSource(cpu, instruction)).AsSingle();
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        Vector128<float> result = destination.AsSingle();
        for (int lane = 0; lane < lanes; lane++)
        {
            result = result.WithElement(lane, operation(source[lane]));
        }
        destination = result.AsByte();
    };

    private static float Reciprocal(float value)
    {
        if (float.IsNaN(value))
        {
            return QuietNaN(value);
        }
        float result = ToTwelveBits((float)(1.0 / WithoutDenormals(value)));
        return WithoutDenormals(result);
    }

    private static float ReciprocalRoot(float value)
    {
        if (float.IsNaN(value))
        {
            return QuietNaN(value);
        }
        value = WithoutDenormals(value);
        if (value < 0)
        {
            return BitConverter.UInt32BitsToSingle(0xFFC0_0000);
        }
        return value == 0 ? 1 / value : ToTwelveBits((float)(1.0 / Math.Sqrt(value)));
    }

    private static float QuietNaN(float value) => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) | 0x0040_0000);

    private static float WithoutDenormals(float value) => float.IsSubnormal(value) ? MathF.CopySign(0, value) : value;

    /// <summary>The architecture promises an error below 1.5 * 2^-12; real processors keep twelve bits or so, and so does this one.</summary>
    private static float ToTwelveBits(float value) =>
        float.IsFinite(value) ? BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(value) + 0x800) & 0xFFFF_F000) : value;

    private readonly struct Addition : ISseOperation
    {
        public static bool IsUnary => false;

        public static bool Rounds => true;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) => first + second;

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.Add(first, second, ref status);
    }

    private readonly struct Subtraction : ISseOperation
    {
        public static bool IsUnary => false;

        public static bool Rounds => true;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) => first - second;

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.Subtract(first, second, ref status);
    }

    private readonly struct Multiplication : ISseOperation
    {
        public static bool IsUnary => false;

        public static bool Rounds => true;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) => first * second;

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.Multiply(first, second, ref status);
    }

    private readonly struct Division : ISseOperation
    {
        public static bool IsUnary => false;

        public static bool Rounds => true;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) => first / second;

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.Divide(first, second, ref status);
    }

    private readonly struct SquareRoot : ISseOperation
    {
        public static bool IsUnary => true;

        public static bool Rounds => true;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) => Vector128.Sqrt(second);

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.SquareRoot(second, ref status);
    }

    private readonly struct Minimum : ISseOperation
    {
        public static bool IsUnary => false;

        public static bool Rounds => false;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) =>
            Vector128.ConditionalSelect(Vector128.LessThan(first, second), first, second);

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.Minimum(first, second, ref status);
    }

    private readonly struct Maximum : ISseOperation
    {
        public static bool IsUnary => false;

        public static bool Rounds => false;

        public static Vector128<TNumber> Fast<TNumber>(Vector128<TNumber> first, Vector128<TNumber> second) =>
            Vector128.ConditionalSelect(Vector128.GreaterThan(first, second), first, second);

        public static ulong Exact<TFormat>(ulong first, ulong second, ref IeeeStatus status)
            where TFormat : struct, IIeeeFormat => Ieee<TFormat>.Maximum(first, second, ref status);
    }
}
