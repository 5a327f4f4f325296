// FPREM and FPREM1: exact remainders, in steps of at most 63 bits of quotient when the operands are far apart.

using System.Numerics;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

internal static partial class Extended
{
    /// <summary>Remainder of a / b; the low bits of the quotient, or C2 for an incomplete reduction, are raised as condition codes.</summary>
    /// <param name="a">Dividend.</param>
    /// <param name="b">Divisor.</param>
    /// <param name="nearest">The quotient is rounded to nearest (FPREM1) rather than cut (FPREM).</param>
    /// <param name="context">Exceptions and condition codes out.</param>
    /// <param name="divided">False when a NaN or an invalid operation decided the result, so that there is no quotient.</param>
    public static Float80 Remainder(Float80 a, Float80 b, bool nearest, ref X87Context context, out bool divided)
    {
        divided = false;
        if (TryNaN(a, b, ref context, out Float80 result))
        {
            return result;
        }
        if (IsInfinity(a) || IsZero(b))
        {
            return Invalid(ref context);
        }
        divided = true;
        if (IsZero(a))
        {
            NoteDenormal(b, ref context);
            return a;
        }
        int exponentA = Unpack(a, out ulong significandA, ref context);
        if (IsInfinity(b))
        {
            return RoundTo(64, Sign(a), exponentA, significandA, 0, ref context);
        }
        int exponentB = Unpack(b, out ulong significandB, ref context);
        int distance = exponentA - exponentB;
        if (distance >= 64)
        {
            context.Raised |= X87Status.C2;
            int step = (distance & 31) | 32;
            _ = DivideWide(significandA >> (64 - step), significandA << step, significandB, out ulong partial);
            return Normalised(Sign(a), exponentA - step, partial, ref context);
        }
        if (distance < -1 || (distance < 0 && !nearest))
        {
            return RoundTo(64, Sign(a), exponentA, significandA, 0, ref context);
        }
        uint sign = Sign(a);
        ulong quotient = 0;
        ulong remainder = significandA;
        if (distance < 0)
        {
            // Between a quarter of the divisor and all of it: the quotient is 0, or 1 beyond the half. Counted in units of a.
            if (significandA > significandB)
            {
                quotient = 1;
                remainder = significandB - (significandA - significandB);
                sign ^= SignBit;
            }
            exponentB = exponentA;
        }
        else
        {
            ulong high = distance == 0 ? 0 : significandA >> (64 - distance);
            quotient = DivideWide(high, significandA << distance, significandB, out remainder);
            ulong complement = significandB - remainder;
            if (nearest && (remainder > complement || (remainder == complement && (quotient & 1) != 0)))
            {
                quotient++;
                remainder = complement;
                sign ^= SignBit;
            }
        }
        context.Raised |= ((quotient & 1) != 0 ? X87Status.C1 : 0)
            | ((quotient & 2) != 0 ? X87Status.C3 : 0)
            | ((quotient & 4) != 0 ? X87Status.C0 : 0);
        return remainder == 0 ? Zero(Sign(a)) : Normalised(sign, exponentB, remainder, ref context);
    }

    private static Float80 Normalised(uint sign, int exponent, ulong significand, ref X87Context context)
    {
        if (significand == 0)
        {
            return Zero(sign);
        }
        int shift = BitOperations.LeadingZeroCount(significand);
        return RoundTo(64, sign, exponent - shift, significand << shift, 0, ref context);
    }
}
