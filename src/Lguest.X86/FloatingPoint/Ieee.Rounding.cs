// The two ends of every operation: taking operands apart, with DAZ and the rules for NaNs, and putting the result together, with
// rounding, FZ, overflow and underflow.

using System.Numerics;

namespace Lguest.X86.FloatingPoint;

internal static partial class Ieee<TFormat>
{
    private static ulong Magnitude(ulong value) => value & (SignBit - 1);

    private static bool IsNaN(ulong value) => Magnitude(value) > Infinity;

    private static bool IsSignaling(ulong value) => IsNaN(value) && (value & QuietBit) == 0;

    private static bool IsDenormal(ulong value) => Magnitude(value) - 1 < FractionMask;

    /// <summary>Applies DAZ to both operands and answers for NaNs: the first operand's if it is one, made quiet.</summary>
    private static bool Prepare(ref ulong first, ref ulong second, ref IeeeStatus status, out ulong nan)
    {
        first = FlushOperand(first, status);
        second = FlushOperand(second, status);
        nan = 0;
        if (!IsNaN(first) && !IsNaN(second))
        {
            return false;
        }
        status.Raised |= IsSignaling(first) || IsSignaling(second) ? Mxcsr.Invalid : 0;
        nan = (IsNaN(first) ? first : second) | QuietBit;
        return true;
    }

    private static ulong FlushOperand(ulong value, in IeeeStatus status) =>
        status.DenormalsAreZero && IsDenormal(value) ? value & SignBit : value;

    private static ulong Quiet(ulong nan, ref IeeeStatus status)
    {
        status.Raised |= IsSignaling(nan) ? Mxcsr.Invalid : 0;
        return nan | QuietBit;
    }

    private static ulong Invalid(ref IeeeStatus status)
    {
        status.Raised |= Mxcsr.Invalid;
        return DefaultNaN;
    }

    private static void NoteDenormals(ulong first, ulong second, ref IeeeStatus status) =>
        status.Raised |= IsDenormal(first) || IsDenormal(second) ? Mxcsr.Denormal : 0;

    /// <summary>Takes a finite number other than zero apart.</summary>
    private static ulong Normalize(ulong value, out int exponent)
    {
        ulong fraction = value & FractionMask;
        exponent = (int)(value >> TFormat.FractionBits) & ExponentMask;
        if (exponent != 0)
        {
            exponent -= Bias;
            return (fraction << Surplus) | (1ul << 63);
        }
        int shift = BitOperations.LeadingZeroCount(fraction);
        exponent = MinExponent + Surplus - shift;
        return fraction << shift;
    }

    /// <summary>Shifts right and remembers in the lowest bit whether a one was lost.</summary>
    private static ulong ShiftRightSticky(ulong value, int count) => count switch
    {
        0 => value,
        < 64 => (value >> count) | (value << (64 - count) != 0 ? 1ul : 0),
        _ => value != 0 ? 1ul : 0,
    };

    /// <summary>Drops the lowest bits of a significand by a rounding mode.</summary>
    private static ulong Round(ulong significand, int drop, bool negative, IeeeRounding rounding)
    {
        ulong kept = significand >> drop;
        ulong rest = significand & ((1ul << drop) - 1);
        ulong half = 1ul << (drop - 1);
        bool up = rounding switch
        {
            IeeeRounding.Nearest => rest > half || (rest == half && (kept & 1) != 0),
            IeeeRounding.Down => negative && rest != 0,
            IeeeRounding.Up => !negative && rest != 0,
            _ => false,
        };
        return up ? kept + 1 : kept;
    }

    /// <summary>Rounds a result and puts it together; raises overflow, underflow and precision.</summary>
    private static ulong Pack(ulong sign, int exponent, ulong significand, ref IeeeStatus status)
    {
        bool negative = sign != 0;
        ulong surplusMask = (1ul << Surplus) - 1;
        ulong rounded = Round(significand, Surplus, negative, status.Rounding);
        bool inexact = (significand & surplusMask) != 0;
        int roundedExponent = exponent + (int)(rounded >> (TFormat.FractionBits + 1));
        if (roundedExponent > Bias)
        {
            // An unmasked overflow reports precision only if the result, its exponent unbounded, was rounded.
            bool precision = inexact || status.Masked(Mxcsr.Overflow);
            status.Raised |= Mxcsr.Overflow | (precision ? Mxcsr.Precision : 0);
            return Overflowed(sign, status.Rounding);
        }
        if (roundedExponent < MinExponent)
        {
            return PackTiny(sign, exponent, significand, inexact, ref status);
        }
        status.Raised |= inexact ? Mxcsr.Precision : 0;
        return sign | ((ulong)(roundedExponent + Bias) << TFormat.FractionBits) | (rounded & FractionMask);
    }

    /// <summary>A result that would be below the smallest normal number even after rounding.</summary>
    private static ulong PackTiny(ulong sign, int exponent, ulong significand, bool inexact, ref IeeeStatus status)
    {
        if (!status.Masked(Mxcsr.Underflow))
        {
            status.Raised |= Mxcsr.Underflow | (inexact ? Mxcsr.Precision : 0);
            return sign;
        }
        if (status.FlushToZero)
        {
            status.Raised |= Mxcsr.Underflow | Mxcsr.Precision;
            return sign;
        }
        significand = ShiftRightSticky(significand, MinExponent - exponent);
        bool lost = (significand & ((1ul << Surplus) - 1)) != 0;
        status.Raised |= lost ? Mxcsr.Underflow | Mxcsr.Precision : 0;
        return sign | Round(significand, Surplus, sign != 0, status.Rounding);
    }

    private static ulong Overflowed(ulong sign, IeeeRounding rounding)
    {
        bool toInfinity = rounding switch
        {
            IeeeRounding.Nearest => true,
            IeeeRounding.Down => sign != 0,
            IeeeRounding.Up => sign == 0,
            _ => false,
        };
        return sign | (toInfinity ? Infinity : Infinity - 1);
    }
}
