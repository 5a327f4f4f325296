// Addition, subtraction, multiplication, division and square root.

using System.Numerics;
using System.Runtime.CompilerServices;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

internal static partial class Extended
{
    /// <summary>a + b.</summary>
    public static Float80 Add(Float80 a, Float80 b, ref X87Context context) => AddOrSubtract(a, b, 0, ref context);

    /// <summary>a - b.</summary>
    public static Float80 Subtract(Float80 a, Float80 b, ref X87Context context) => AddOrSubtract(a, b, SignBit, ref context);

    /// <summary>a * b.</summary>
    public static Float80 Multiply(Float80 a, Float80 b, ref X87Context context)
    {
        uint sign = (uint)(a.SignExponent ^ b.SignExponent) & SignBit;
        if (IsNormal(a) && IsNormal(b))
        {
            return MultiplyFinite(sign, Exponent(a), a.Significand, Exponent(b), b.Significand, ref context);
        }
        if (TryNaN(a, b, ref context, out Float80 result))
        {
            return result;
        }
        if (IsInfinity(a) || IsInfinity(b))
        {
            if (IsZero(a) || IsZero(b))
            {
                return Invalid(ref context);
            }
            NoteDenormal(a, ref context);
            NoteDenormal(b, ref context);
            return Infinity(sign);
        }
        if (IsZero(a) || IsZero(b))
        {
            NoteDenormal(a, ref context);
            NoteDenormal(b, ref context);
            return Zero(sign);
        }
        int exponentA = Unpack(a, out ulong significandA, ref context);
        int exponentB = Unpack(b, out ulong significandB, ref context);
        return MultiplyFinite(sign, exponentA, significandA, exponentB, significandB, ref context);
    }

    /// <summary>a / b.</summary>
    public static Float80 Divide(Float80 a, Float80 b, ref X87Context context)
    {
        uint sign = (uint)(a.SignExponent ^ b.SignExponent) & SignBit;
        if (IsNormal(a) && IsNormal(b))
        {
            return DivideFinite(sign, Exponent(a), a.Significand, Exponent(b), b.Significand, ref context);
        }
        if (TryNaN(a, b, ref context, out Float80 result))
        {
            return result;
        }
        if (IsInfinity(a))
        {
            if (IsInfinity(b))
            {
                return Invalid(ref context);
            }
            NoteDenormal(b, ref context);
            return Infinity(sign);
        }
        if (IsInfinity(b))
        {
            NoteDenormal(a, ref context);
            return Zero(sign);
        }
        if (IsZero(b))
        {
            if (IsZero(a))
            {
                return Invalid(ref context);
            }
            context.Raised = (context.Raised & ~X87Status.Denormal) | X87Status.ZeroDivide;
            return Infinity(sign);
        }
        if (IsZero(a))
        {
            NoteDenormal(b, ref context);
            return Zero(sign);
        }
        int exponentA = Unpack(a, out ulong significandA, ref context);
        int exponentB = Unpack(b, out ulong significandB, ref context);
        return DivideFinite(sign, exponentA, significandA, exponentB, significandB, ref context);
    }

    /// <summary>Square root; that of minus zero is minus zero.</summary>
    public static Float80 SquareRoot(Float80 a, ref X87Context context)
    {
        if (TryNaN(a, ref context, out Float80 result))
        {
            return result;
        }
        if (IsZero(a))
        {
            return a;
        }
        if (Sign(a) != 0)
        {
            return Invalid(ref context);
        }
        if (IsInfinity(a))
        {
            return a;
        }
        int exponent = Unpack(a, out ulong significand, ref context) - Bias;
        int odd = exponent & 1;
        UInt128 radicand = (UInt128)significand << (63 + odd);
        ulong root = IntegerSquareRoot(radicand);
        UInt128 rest = radicand - Square(root);
        return Round(0, ((exponent - odd) >> 1) + Bias, root, rest == 0 ? 0 : rest > root ? Half + 1 : 1, ref context);
    }

    private static Float80 AddOrSubtract(Float80 a, Float80 b, uint flip, ref X87Context context)
    {
        uint signA = Sign(a);
        uint signB = Sign(b) ^ flip;
        if (IsNormal(a) && IsNormal(b))
        {
            return AddFinite(signA, Exponent(a), a.Significand, signB, Exponent(b), b.Significand, ref context);
        }
        if (TryNaN(a, b, ref context, out Float80 result))
        {
            return result;
        }
        if (IsInfinity(a) || IsInfinity(b))
        {
            if (IsInfinity(a) && IsInfinity(b) && signA != signB)
            {
                return Invalid(ref context);
            }
            NoteDenormal(a, ref context);
            NoteDenormal(b, ref context);
            return Infinity(IsInfinity(a) ? signA : signB);
        }
        if (IsZero(a) && IsZero(b))
        {
            return Zero(signA == signB ? signA : SignOfExactZero(context));
        }
        if (IsZero(a))
        {
            int exponent = Unpack(b, out ulong significand, ref context);
            return Round(signB, exponent, significand, 0, ref context);
        }
        if (IsZero(b))
        {
            int exponent = Unpack(a, out ulong significand, ref context);
            return Round(signA, exponent, significand, 0, ref context);
        }
        int exponentA = Unpack(a, out ulong significandA, ref context);
        int exponentB = Unpack(b, out ulong significandB, ref context);
        return AddFinite(signA, exponentA, significandA, signB, exponentB, significandB, ref context);
    }

    private static uint SignOfExactZero(in X87Context context) => context.Rounding == X87Control.RoundDown ? SignBit : 0;

    private static Float80 AddFinite(
        uint signA, int exponentA, ulong significandA, uint signB, int exponentB, ulong significandB, ref X87Context context)
    {
        if (exponentA < exponentB || (exponentA == exponentB && significandA < significandB))
        {
            (signA, signB) = (signB, signA);
            (exponentA, exponentB) = (exponentB, exponentA);
            (significandA, significandB) = (significandB, significandA);
        }
        ulong rest = 0;
        int distance = exponentA - exponentB;
        if (distance != 0)
        {
            if (distance < 64)
            {
                rest = significandB << (64 - distance);
                significandB >>= distance;
            }
            else
            {
                Denormalise(ref significandB, ref rest, distance);
            }
        }
        if (signA == signB)
        {
            ulong sum = significandA + significandB;
            if (sum < significandA)
            {
                rest = (sum << 63) | (rest >> 1) | (rest & 1);
                sum = (sum >> 1) | IntegerBit;
                exponentA++;
            }
            return Round(signA, exponentA, sum, rest, ref context);
        }
        ulong difference = significandA - significandB - (rest != 0 ? 1UL : 0);
        rest = 0 - rest;
        if ((long)difference >= 0)
        {
            if (difference == 0)
            {
                if (rest == 0)
                {
                    return Zero(SignOfExactZero(context));
                }
                difference = rest;
                rest = 0;
                exponentA -= 64;
            }
            int shift = BitOperations.LeadingZeroCount(difference);
            if (shift != 0)
            {
                difference = (difference << shift) | (rest >> (64 - shift));
                rest <<= shift;
                exponentA -= shift;
            }
        }
        return Round(signA, exponentA, difference, rest, ref context);
    }

    private static Float80 MultiplyFinite(uint sign, int exponentA, ulong significandA, int exponentB, ulong significandB, ref X87Context context)
    {
        ulong product = Math.BigMul(significandA, significandB, out ulong rest);
        int exponent = exponentA + exponentB - Bias + 1;
        if ((long)product >= 0)
        {
            product = (product << 1) | (rest >> 63);
            rest <<= 1;
            exponent--;
        }
        return Round(sign, exponent, product, rest, ref context);
    }

    private static Float80 DivideFinite(uint sign, int exponentA, ulong significandA, int exponentB, ulong significandB, ref X87Context context)
    {
        int exponent = exponentA - exponentB + Bias;
        ulong high = significandA;
        ulong low = 0;
        if (significandA >= significandB)
        {
            high = significandA >> 1;
            low = significandA << 63;
        }
        else
        {
            exponent--;
        }
        ulong quotient = DivideWide(high, low, significandB, out ulong remainder);
        ulong twice = significandB - remainder;
        ulong rest = remainder == 0 ? 0 : remainder > twice ? Half + 1 : remainder == twice ? Half : 1;
        return Round(sign, exponent, quotient, rest, ref context);
    }

    /// <summary>Divides 128 by 64 bits, 32 bits of quotient at a time (Knuth, volume 2, 4.3.1, algorithm D).</summary>
    /// <param name="high">Upper half of the dividend, below the divisor.</param>
    /// <param name="low">Lower half.</param>
    /// <param name="divisor">Divisor with bit 63 set.</param>
    /// <param name="remainder">Remainder.</param>
    internal static ulong DivideWide(ulong high, ulong low, ulong divisor, out ulong remainder)
    {
        ulong upper = DivideStep(ref high, low >> 32, divisor);
        ulong lower = DivideStep(ref high, (uint)low, divisor);
        remainder = high;
        return (upper << 32) | lower;
    }

    /// <summary>One digit: divides <c>rest * 2^32 + next</c>, leaves the remainder in <paramref name="rest"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong DivideStep(ref ulong rest, ulong next, ulong divisor)
    {
        ulong top = divisor >> 32;
        ulong bottom = (uint)divisor;
        ulong digit = rest / top;
        ulong left = rest - (digit * top);
        while (digit > uint.MaxValue || digit * bottom > ((left << 32) | next))
        {
            digit--;
            left += top;
            if (left > uint.MaxValue)
            {
                break;
            }
        }
        rest = (rest << 32) + next - (digit * divisor);
        return digit;
    }

    /// <summary>Floor of the square root of a number of 127 or 128 bits.</summary>
    internal static ulong IntegerSquareRoot(UInt128 radicand)
    {
        // The double root is right to 52 bits, one Newton step doubles that, and the last unit is checked.
        double estimate = Math.Sqrt((double)(ulong)(radicand >> 64)) * 4294967296.0;
        ulong root = estimate >= 18446744073709551615.0 ? ulong.MaxValue : (ulong)estimate;
        var error = (Int128)(radicand - Square(root));
        var correction = (long)((double)error / (2.0 * root));
        ulong corrected = root + (ulong)correction;
        root = correction > 0 && corrected < root ? ulong.MaxValue : corrected;
        while (Square(root) > radicand)
        {
            root--;
        }
        while (root != ulong.MaxValue && Square(root + 1) <= radicand)
        {
            root++;
        }
        return root;
    }

    private static UInt128 Square(ulong value)
    {
        ulong high = Math.BigMul(value, value, out ulong low);
        return new UInt128(high, low);
    }
}
