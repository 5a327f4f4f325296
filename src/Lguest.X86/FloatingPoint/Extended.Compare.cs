// Comparison and classification.

using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

internal static partial class Extended
{
    /// <summary>Outcomes of a comparison as condition codes (Intel SDM volume 1, table 8-6).</summary>
    public const int Greater = 0;

    /// <summary>The first operand is less.</summary>
    public const int Less = X87Status.C0;

    /// <summary>Equal; zeros of both signs are.</summary>
    public const int Equal = X87Status.C3;

    /// <summary>One operand is a NaN or unsupported.</summary>
    public const int Unordered = X87Status.C0 | X87Status.C2 | X87Status.C3;

    /// <summary>Compares a with b.</summary>
    /// <param name="a">First operand.</param>
    /// <param name="b">Second operand.</param>
    /// <param name="quiet">Quiet NaNs are unordered without being invalid, as FUCOM wants it.</param>
    /// <param name="context">Exceptions out.</param>
    public static int Compare(Float80 a, Float80 b, bool quiet, ref X87Context context)
    {
        if (IsNormal(a) && IsNormal(b))
        {
            return CompareFinite(a, Exponent(a), a.Significand, b, Exponent(b), b.Significand);
        }
        if (IsUnsupported(a) || IsUnsupported(b) || IsNaN(a) || IsNaN(b))
        {
            context.Raised &= ~X87Status.Denormal;
            if (!quiet || IsUnsupported(a) || IsUnsupported(b) || IsSignalingNaN(a) || IsSignalingNaN(b))
            {
                context.Raised |= X87Status.Invalid;
            }
            return Unordered;
        }
        NoteDenormal(a, ref context);
        NoteDenormal(b, ref context);
        if (IsZero(a) && IsZero(b))
        {
            return Equal;
        }
        // A denormal has the scale of exponent one, which a pseudo-denormal needs to equal its normal twin.
        int exponentA = IsZero(a) ? 0 : Math.Max(Exponent(a), 1);
        int exponentB = IsZero(b) ? 0 : Math.Max(Exponent(b), 1);
        return CompareFinite(a, exponentA, a.Significand, b, exponentB, b.Significand);
    }

    /// <summary>FXAM's classes: C3, C2 and C0, and the sign in C1.</summary>
    public static int Examine(Float80 value)
    {
        int sign = Sign(value) != 0 ? X87Status.C1 : 0;
        if (IsUnsupported(value))
        {
            return sign;
        }
        if (IsNaN(value))
        {
            return sign | X87Status.C0;
        }
        if (IsInfinity(value))
        {
            return sign | X87Status.C2 | X87Status.C0;
        }
        if (IsZero(value))
        {
            return sign | X87Status.C3;
        }
        return sign | (IsDenormal(value) ? X87Status.C3 | X87Status.C2 : X87Status.C2);
    }

    private static int CompareFinite(Float80 a, int exponentA, ulong significandA, Float80 b, int exponentB, ulong significandB)
    {
        if (((a.SignExponent ^ b.SignExponent) & SignBit) != 0)
        {
            return Sign(a) != 0 ? Less : Greater;
        }
        int order = exponentA != exponentB ? exponentA - exponentB : significandA.CompareTo(significandB);
        if (order == 0)
        {
            return Equal;
        }
        return order < 0 == (Sign(a) == 0) ? Less : Greater;
    }
}
