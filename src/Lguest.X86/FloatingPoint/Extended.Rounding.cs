// The one place where results are rounded (Intel SDM volume 1, 4.8.4 and 8.5). The usual case, a result in the middle of the range
// rounded to 64 bits and to nearest, is the first few lines; the rest is for the edges of the range and for the other modes.

using System.Runtime.CompilerServices;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

internal static partial class Extended
{
    /// <summary>What an unmasked overflow or underflow adds to or takes from the exponent, so that a handler can undo it.</summary>
    private const int BiasAdjustment = 0x6000;

    /// <summary>Rounds to the precision of the control word.</summary>
    /// <param name="sign">0 or 0x8000.</param>
    /// <param name="exponent">Exponent, in or out of range.</param>
    /// <param name="significand">Leading 64 bits; bit 63 is set.</param>
    /// <param name="rest">The bits below; the last one also stands for all that follow.</param>
    /// <param name="context">Modes in, exceptions out.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 Round(uint sign, int exponent, ulong significand, ulong rest, ref X87Context context)
    {
        if ((context.Control & X87Control.Modes) == X87Control.Usual && (uint)(exponent - 1) < MaxExponent - 2)
        {
            if (rest != 0)
            {
                ulong up = rest > Half ? 1 : rest == Half ? significand & 1 : 0;
                significand += up;
                context.Raised |= X87Status.Precision | ((int)up * X87Status.C1);
                if (significand == 0)
                {
                    significand = IntegerBit;
                    exponent++;
                }
            }
            return new Float80((ushort)(sign | (uint)exponent), significand);
        }
        return RoundTo(context.Precision, sign, exponent, significand, rest, ref context);
    }

    /// <summary>Rounds to a given precision: 24, 53 or 64 bits.</summary>
    public static Float80 RoundTo(int precision, uint sign, int exponent, ulong significand, ulong rest, ref X87Context context)
    {
        ulong rounded = significand;
        int roundedExponent = exponent;
        int inexact = RoundSignificand(precision, sign, ref rounded, rest, context.Rounding);
        if (rounded == 0)
        {
            rounded = IntegerBit;
            roundedExponent++;
        }
        if (roundedExponent >= MaxExponent)
        {
            return Overflow(precision, sign, roundedExponent, rounded, inexact, ref context);
        }
        if (roundedExponent > 0)
        {
            context.Raised |= inexact;
            return new Float80((ushort)(sign | (uint)roundedExponent), rounded);
        }
        if ((context.Control & X87Status.Underflow) == 0)
        {
            return UnmaskedUnderflow(sign, roundedExponent, rounded, inexact, ref context);
        }
        Denormalise(ref significand, ref rest, 1 - exponent);
        inexact = RoundSignificand(precision, sign, ref significand, rest, context.Rounding);
        context.Raised |= inexact != 0 ? inexact | X87Status.Underflow : 0;
        // Rounding up to the smallest normal number sets the integer bit, and with it the exponent becomes one.
        return new Float80((ushort)(sign | (uint)(significand >> 63)), significand);
    }

    /// <summary>A constant rounded as the control word says; its inexactness is no exception.</summary>
    public static Float80 Constant(ushort exponent, ulong significand, ulong rest, ushort control)
    {
        _ = RoundSignificand(64, 0, ref significand, rest, control & X87Control.RoundingMask);
        return new Float80(exponent, significand);
    }

    /// <summary>Rounds a significand in place.</summary>
    /// <returns>PE when bits were lost, and C1 when the magnitude grew. The significand wraps to zero when it grew past 64 bits.</returns>
    private static int RoundSignificand(int precision, uint sign, ref ulong significand, ulong rest, int rounding)
    {
        ulong unit = 1;
        if (precision != 64)
        {
            unit = 1UL << (64 - precision);
            rest = (significand << precision) | (rest != 0 ? 1UL : 0);
            significand &= ~(unit - 1);
        }
        if (rest == 0)
        {
            return 0;
        }
        if (!RoundsUp(sign, (significand & unit) != 0, rest, rounding))
        {
            return X87Status.Precision;
        }
        significand += unit;
        return X87Status.Precision | X87Status.C1;
    }

    /// <summary>Whether an inexact magnitude grows.</summary>
    /// <param name="sign">0 or 0x8000.</param>
    /// <param name="odd">Last bit that is kept.</param>
    /// <param name="rest">What is lost, as a fraction of that bit's value times 2^64; not zero.</param>
    /// <param name="rounding">Rounding mode.</param>
    private static bool RoundsUp(uint sign, bool odd, ulong rest, int rounding) => rounding switch
    {
        X87Control.RoundNearest => rest > Half || (rest == Half && odd),
        X87Control.RoundDown => sign != 0,
        X87Control.RoundUp => sign == 0,
        _ => false,
    };

    /// <summary>Shifts a 128-bit significand right; its last bit remembers what falls out.</summary>
    private static void Denormalise(ref ulong significand, ref ulong rest, int shift)
    {
        if (shift >= 128)
        {
            rest = 1;
            significand = 0;
        }
        else if (shift >= 64)
        {
            ulong lost = rest | (shift == 64 ? 0 : significand << (128 - shift));
            rest = (significand >> (shift - 64)) | (lost != 0 ? 1UL : 0);
            significand = 0;
        }
        else if (shift > 0)
        {
            ulong lost = rest << (64 - shift);
            rest = (significand << (64 - shift)) | (rest >> shift) | (lost != 0 ? 1UL : 0);
            significand >>= shift;
        }
    }

    private static Float80 Overflow(int precision, uint sign, int exponent, ulong rounded, int inexact, ref X87Context context)
    {
        context.Raised |= X87Status.Overflow;
        bool unmasked = (context.Control & X87Status.Overflow) == 0;
        if (unmasked && exponent - BiasAdjustment < MaxExponent)
        {
            context.Raised |= inexact;
            return new Float80((ushort)(sign | (uint)(exponent - BiasAdjustment)), rounded);
        }
        context.Raised |= X87Status.Precision;
        // Unmasked, only FSCALE gets here: too large even for the adjusted exponent.
        if (unmasked || RoundsUp(sign, true, Half, context.Rounding))
        {
            context.Raised |= X87Status.C1;
            return Infinity(sign);
        }
        return new Float80((ushort)(sign | (MaxExponent - 1)), ~0UL << (64 - precision));
    }

    private static Float80 UnmaskedUnderflow(uint sign, int exponent, ulong rounded, int inexact, ref X87Context context)
    {
        context.Raised |= X87Status.Underflow;
        if (exponent + BiasAdjustment <= 0)
        {
            // Only FSCALE gets here: too small even for the adjusted exponent.
            context.Raised |= X87Status.Precision;
            return Zero(sign);
        }
        context.Raised |= inexact;
        return new Float80((ushort)(sign | (uint)(exponent + BiasAdjustment)), rounded);
    }
}
