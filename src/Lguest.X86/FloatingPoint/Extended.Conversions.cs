// To and from the 32- and 64-bit formats. Widening is exact; narrowing rounds in the range of the smaller format.

using System.Numerics;
using System.Runtime.CompilerServices;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

internal static partial class Extended
{
    private const int Fraction32 = 23;
    private const int Fraction64 = 52;
    private const int MaxExponent32 = 0xFF;
    private const int MaxExponent64 = 0x7FF;

    /// <summary>Widens a 32-bit number. A signalling NaN stays one; only a denormal is told of.</summary>
    public static Float80 FromFloat32(uint bits, ref X87Context context)
    {
        int exponent = (int)(bits >> Fraction32) & MaxExponent32;
        return Widen((bits >> 16) & SignBit, exponent, MaxExponent32, ((ulong)bits << (63 - Fraction32)) & (IntegerBit - 1), ref context);
    }

    /// <summary>Widens a 64-bit number. A signalling NaN stays one; only a denormal is told of.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 FromFloat64(ulong bits, ref X87Context context)
    {
        int exponent = (int)(bits >> Fraction64) & MaxExponent64;
        return Widen((uint)(bits >> 48) & SignBit, exponent, MaxExponent64, (bits << (63 - Fraction64)) & (IntegerBit - 1), ref context);
    }

    /// <summary>Narrows to 32 bits. With an unmasked exception other than precision the result must not be stored.</summary>
    public static uint ToFloat32(Float80 value, ref X87Context context) => (uint)Narrow(value, Fraction32, MaxExponent32, ref context);

    /// <summary>Narrows to 64 bits. With an unmasked exception other than precision the result must not be stored.</summary>
    public static ulong ToFloat64(Float80 value, ref X87Context context)
    {
        int exponent = Exponent(value) - Bias + (MaxExponent64 >> 1);
        if ((uint)(exponent - 1) >= MaxExponent64 - 2 || (long)value.Significand >= 0 || context.Rounding != X87Control.RoundNearest)
        {
            return Narrow(value, Fraction64, MaxExponent64, ref context);
        }
        const int lost = 63 - Fraction64;
        ulong rest = value.Significand << (64 - lost);
        ulong kept = value.Significand >> lost;
        if (rest != 0)
        {
            ulong up = rest > Half ? 1 : rest == Half ? kept & 1 : 0;
            kept += up;
            context.Raised |= X87Status.Precision | ((int)up * X87Status.C1);
        }
        // The integer bit adds one to the exponent; so does rounding up to the next power of two.
        return ((ulong)Sign(value) << 48) | (((ulong)(exponent - 1) << Fraction64) + kept);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float80 Widen(uint sign, int exponent, int maxExponent, ulong fraction, ref X87Context context)
    {
        if ((uint)(exponent - 1) < (uint)(maxExponent - 1))
        {
            return new Float80((ushort)(sign | (uint)(exponent + Bias - (maxExponent >> 1))), fraction | IntegerBit);
        }
        if (exponent != 0)
        {
            return new Float80((ushort)(sign | MaxExponent), fraction | IntegerBit);
        }
        if (fraction == 0)
        {
            return Zero(sign);
        }
        context.Raised |= X87Status.Denormal;
        int shift = BitOperations.LeadingZeroCount(fraction);
        return new Float80((ushort)(sign | (uint)(1 - shift + Bias - (maxExponent >> 1))), fraction << shift);
    }

    private static ulong Narrow(Float80 value, int fractionBits, int maxExponent, ref X87Context context)
    {
        uint sign = Sign(value);
        ulong signBit = sign == 0 ? 0 : (ulong)(maxExponent + 1) << fractionBits;
        ulong infinity = (ulong)maxExponent << fractionBits;
        ulong quietBit = 1UL << (fractionBits - 1);
        if (IsUnsupported(value))
        {
            context.Raised |= X87Status.Invalid;
            return ((ulong)(maxExponent + 1) << fractionBits) | infinity | quietBit;
        }
        if (Exponent(value) == MaxExponent)
        {
            if (IsInfinity(value))
            {
                return signBit | infinity;
            }
            context.Raised |= IsSignalingNaN(value) ? X87Status.Invalid : 0;
            return signBit | infinity | quietBit | ((value.Significand << 1) >> (64 - fractionBits));
        }
        if (IsZero(value))
        {
            return signBit;
        }
        int shift = BitOperations.LeadingZeroCount(value.Significand);
        ulong significand = value.Significand << shift;
        int exponent = Math.Max(Exponent(value), 1) - shift - Bias + (maxExponent >> 1);
        ulong rounded = significand;
        int roundedExponent = exponent;
        int precision = fractionBits + 1;
        int inexact = RoundSignificand(precision, sign, ref rounded, 0, context.Rounding);
        if (rounded == 0)
        {
            rounded = IntegerBit;
            roundedExponent++;
        }
        if (roundedExponent >= maxExponent)
        {
            context.Raised |= X87Status.Overflow;
            if ((context.Control & X87Status.Overflow) == 0)
            {
                return 0;
            }
            context.Raised |= X87Status.Precision;
            if (RoundsUp(sign, true, Half, context.Rounding))
            {
                context.Raised |= X87Status.C1;
                return signBit | infinity;
            }
            return signBit | (infinity - 1);
        }
        if (roundedExponent > 0)
        {
            context.Raised |= inexact;
            return signBit | ((ulong)roundedExponent << fractionBits) | ((rounded << 1) >> (64 - fractionBits));
        }
        if ((context.Control & X87Status.Underflow) == 0)
        {
            context.Raised |= X87Status.Underflow;
            return 0;
        }
        ulong rest = 0;
        Denormalise(ref significand, ref rest, 1 - exponent);
        inexact = RoundSignificand(precision, sign, ref significand, rest, context.Rounding);
        context.Raised |= inexact != 0 ? inexact | X87Status.Underflow : 0;
        return signBit | (significand >> (64 - precision));
    }
}
