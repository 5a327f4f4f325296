// Between the two formats and 32-bit integers.

using System.Numerics;

namespace Lguest.X86.FloatingPoint;

internal static partial class Ieee<TFormat>
{
    /// <summary>What a conversion gives for numbers that no 32-bit integer can hold ("integer indefinite").</summary>
    private const int IndefiniteInteger = int.MinValue;

    /// <summary>The number nearest to an integer in the current rounding mode.</summary>
    public static ulong FromInt32(int value, ref IeeeStatus status)
    {
        if (value == 0)
        {
            return 0;
        }
        ulong magnitude = (ulong)Math.Abs((long)value);
        int shift = BitOperations.LeadingZeroCount(magnitude);
        return Pack(value < 0 ? SignBit : 0, 63 - shift, magnitude << shift, ref status);
    }

    /// <summary>A number of another format as one of this format.</summary>
    public static ulong From<TSource>(ulong value, ref IeeeStatus status)
        where TSource : struct, IIeeeFormat
    {
        value = Ieee<TSource>.FlushOperand(value, status);
        ulong sign = (value & Ieee<TSource>.SignBit) != 0 ? SignBit : 0;
        ulong magnitude = Ieee<TSource>.Magnitude(value);
        if (magnitude > Ieee<TSource>.Infinity)
        {
            ulong payload = (Ieee<TSource>.Quiet(value, ref status) & Ieee<TSource>.FractionMask) << Ieee<TSource>.Surplus;
            return sign | Infinity | (payload >> Surplus);
        }
        if (magnitude == 0 || magnitude == Ieee<TSource>.Infinity)
        {
            return magnitude == 0 ? sign : sign | Infinity;
        }
        Ieee<TSource>.NoteDenormals(value, value, ref status);
        ulong significand = Ieee<TSource>.Normalize(value, out int exponent);
        return Pack(sign, exponent, significand, ref status);
    }

    /// <summary>A number rounded to an integer; denormal operands raise no exception of their own.</summary>
    /// <param name="value">The number.</param>
    /// <param name="truncate">Round towards zero whatever the rounding mode.</param>
    /// <param name="status">Modes and exceptions.</param>
    public static int ToInt32(ulong value, bool truncate, ref IeeeStatus status)
    {
        value = FlushOperand(value, status);
        if (Magnitude(value) == 0)
        {
            return 0;
        }
        bool negative = (value & SignBit) != 0;
        ulong significand = Normalize(value, out int exponent);
        if (exponent > 31)
        {
            status.Raised |= Mxcsr.Invalid;
            return IndefiniteInteger;
        }
        const int fractionBits = 24;
        ulong scaled = ShiftRightSticky(significand, 63 - fractionBits - exponent);
        ulong integer = Round(scaled, fractionBits, negative, truncate ? IeeeRounding.Zero : status.Rounding);
        if (integer > (negative ? 1ul << 31 : int.MaxValue))
        {
            status.Raised |= Mxcsr.Invalid;
            return IndefiniteInteger;
        }
        status.Raised |= (scaled & ((1ul << fractionBits) - 1)) != 0 ? Mxcsr.Precision : 0;
        return negative ? (int)-(long)integer : (int)integer;
    }
}
