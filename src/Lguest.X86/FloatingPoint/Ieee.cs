// Arithmetic as SSE defines it, in integers: in any rounding mode, with FZ and DAZ, and with the exact exception flags, none of which
// .NET's own float and double can be asked for. Values travel as bit patterns in the low bits of a ulong. Inside, a finite number that
// is not zero is a sign, an exponent and a 64-bit significand whose highest bit is set: significand / 2^63 * 2^exponent.

using System.Numerics;

namespace Lguest.X86.FloatingPoint;

/// <summary>How two numbers compare.</summary>
internal enum IeeeRelation
{
    /// <summary>First below second.</summary>
    Less,

    /// <summary>Equal; the zeros are.</summary>
    Equal,

    /// <summary>First above second.</summary>
    Greater,

    /// <summary>One is a NaN.</summary>
    Unordered,
}

/// <summary>Operations on numbers of one format (IEEE 754-1985; Intel SDM volume 1, 4.8, 4.9 and 11.5).</summary>
internal static partial class Ieee<TFormat>
    where TFormat : struct, IIeeeFormat
{
    private static ulong SignBit => 1ul << (TFormat.FractionBits + TFormat.ExponentBits);

    private static ulong FractionMask => (1ul << TFormat.FractionBits) - 1;

    private static ulong QuietBit => 1ul << (TFormat.FractionBits - 1);

    private static int ExponentMask => (1 << TFormat.ExponentBits) - 1;

    private static int Bias => ExponentMask >> 1;

    private static int MinExponent => 1 - Bias;

    private static ulong Infinity => (ulong)ExponentMask << TFormat.FractionBits;

    /// <summary>The NaN of invalid operations ("real indefinite").</summary>
    private static ulong DefaultNaN => SignBit | Infinity | QuietBit;

    /// <summary>Bits below the last one of a result in a 64-bit significand.</summary>
    private static int Surplus => 63 - TFormat.FractionBits;

    /// <summary>first + second.</summary>
    public static ulong Add(ulong first, ulong second, ref IeeeStatus status)
    {
        if (Prepare(ref first, ref second, ref status, out ulong nan))
        {
            return nan;
        }
        if (Magnitude(first) == Infinity || Magnitude(second) == Infinity)
        {
            if (Magnitude(first) == Magnitude(second) && first != second)
            {
                return Invalid(ref status);
            }
            NoteDenormals(first, second, ref status);
            return Magnitude(first) == Infinity ? first : second;
        }
        NoteDenormals(first, second, ref status);
        if (Magnitude(first) == 0 || Magnitude(second) == 0)
        {
            return AddZero(first, second, ref status);
        }
        return AddFinite(first, second, ref status);
    }

    /// <summary>first - second.</summary>
    public static ulong Subtract(ulong first, ulong second, ref IeeeStatus status) =>
        IsNaN(second) ? Add(first, second, ref status) : Add(first, second ^ SignBit, ref status);

    /// <summary>first * second.</summary>
    public static ulong Multiply(ulong first, ulong second, ref IeeeStatus status)
    {
        if (Prepare(ref first, ref second, ref status, out ulong nan))
        {
            return nan;
        }
        ulong sign = (first ^ second) & SignBit;
        bool zero = Magnitude(first) == 0 || Magnitude(second) == 0;
        bool infinite = Magnitude(first) == Infinity || Magnitude(second) == Infinity;
        if (zero && infinite)
        {
            return Invalid(ref status);
        }
        NoteDenormals(first, second, ref status);
        if (zero || infinite)
        {
            return zero ? sign : sign | Infinity;
        }
        ulong a = Normalize(first, out int exponentA);
        ulong b = Normalize(second, out int exponentB);
        ulong product = Math.BigMul(a, b, out ulong low) | (low != 0 ? 1ul : 0);
        int exponent = exponentA + exponentB + 1;
        return product >> 63 != 0 ? Pack(sign, exponent, product, ref status) : Pack(sign, exponent - 1, product << 1, ref status);
    }

    /// <summary>first / second.</summary>
    public static ulong Divide(ulong first, ulong second, ref IeeeStatus status)
    {
        if (Prepare(ref first, ref second, ref status, out ulong nan))
        {
            return nan;
        }
        ulong sign = (first ^ second) & SignBit;
        bool infinite = Magnitude(first) == Infinity;
        bool zero = Magnitude(first) == 0;
        if (Magnitude(second) == 0)
        {
            if (zero)
            {
                return Invalid(ref status);
            }
            status.Raised |= infinite ? 0 : Mxcsr.DivideByZero;
            return sign | Infinity;
        }
        if (infinite && Magnitude(second) == Infinity)
        {
            return Invalid(ref status);
        }
        NoteDenormals(first, second, ref status);
        if (infinite)
        {
            return sign | Infinity;
        }
        if (zero || Magnitude(second) == Infinity)
        {
            return sign;
        }
        ulong a = Normalize(first, out int exponentA);
        ulong b = Normalize(second, out int exponentB);
        bool below = a < b;
        var dividend = below ? new UInt128(a, 0) : new UInt128(a >> 1, a << 63);
        (UInt128 quotient, UInt128 remainder) = UInt128.DivRem(dividend, b);
        ulong significand = (ulong)quotient | (remainder != 0 ? 1ul : 0);
        return Pack(sign, exponentA - exponentB - (below ? 1 : 0), significand, ref status);
    }

    /// <summary>Square root of a number.</summary>
    public static ulong SquareRoot(ulong value, ref IeeeStatus status)
    {
        value = FlushOperand(value, status);
        if (IsNaN(value))
        {
            return Quiet(value, ref status);
        }
        if (Magnitude(value) == 0)
        {
            return value;
        }
        if ((value & SignBit) != 0)
        {
            return Invalid(ref status);
        }
        NoteDenormals(value, value, ref status);
        if (value == Infinity)
        {
            return value;
        }
        ulong significand = Normalize(value, out int exponent);
        UInt128 radicand = (exponent & 1) != 0 ? new UInt128(significand, 0) : new UInt128(significand >> 1, significand << 63);
        ulong root = IntegerRoot(radicand, out bool exact);
        return Pack(0, exponent >> 1, root | (exact ? 0ul : 1), ref status);
    }

    /// <summary>The smaller number; the second operand where one is a NaN or both are zero.</summary>
    public static ulong Minimum(ulong first, ulong second, ref IeeeStatus status) =>
        Compare(ref first, ref second, true, ref status) == IeeeRelation.Less ? first : second;

    /// <summary>The larger number; the second operand where one is a NaN or both are zero.</summary>
    public static ulong Maximum(ulong first, ulong second, ref IeeeStatus status) =>
        Compare(ref first, ref second, true, ref status) == IeeeRelation.Greater ? first : second;

    /// <summary>Compares two numbers.</summary>
    /// <param name="first">First number.</param>
    /// <param name="second">Second number.</param>
    /// <param name="signaling">A quiet NaN is invalid too.</param>
    /// <param name="status">Modes and exceptions.</param>
    public static IeeeRelation Compare(ulong first, ulong second, bool signaling, ref IeeeStatus status) =>
        Compare(ref first, ref second, signaling, ref status);

    private static IeeeRelation Compare(ref ulong first, ref ulong second, bool signaling, ref IeeeStatus status)
    {
        first = FlushOperand(first, status);
        second = FlushOperand(second, status);
        if (IsNaN(first) || IsNaN(second))
        {
            status.Raised |= signaling || IsSignaling(first) || IsSignaling(second) ? Mxcsr.Invalid : 0;
            return IeeeRelation.Unordered;
        }
        NoteDenormals(first, second, ref status);
        return Ordered(first).CompareTo(Ordered(second)) switch
        {
            < 0 => IeeeRelation.Less,
            0 => IeeeRelation.Equal,
            _ => IeeeRelation.Greater,
        };
    }

    /// <summary>An integer with the order of the number; both zeros are 0.</summary>
    private static long Ordered(ulong value) => (value & SignBit) != 0 ? -(long)Magnitude(value) : (long)value;

    private static ulong AddZero(ulong first, ulong second, ref IeeeStatus status)
    {
        if (Magnitude(first) == 0 && Magnitude(second) == 0)
        {
            return first == second ? first : status.Rounding == IeeeRounding.Down ? SignBit : 0;
        }
        ulong value = Magnitude(first) == 0 ? second : first;
        ulong significand = Normalize(value, out int exponent);
        return Pack(value & SignBit, exponent, significand, ref status);
    }

    private static ulong AddFinite(ulong first, ulong second, ref IeeeStatus status)
    {
        if (Magnitude(first) < Magnitude(second))
        {
            (first, second) = (second, first);
        }
        ulong sign = first & SignBit;
        ulong larger = Normalize(first, out int exponent) >> 1;
        ulong smaller = ShiftRightSticky(Normalize(second, out int smallerExponent) >> 1, exponent - smallerExponent);
        ulong sum = ((first ^ second) & SignBit) == 0 ? larger + smaller : larger - smaller;
        if (sum == 0)
        {
            return status.Rounding == IeeeRounding.Down ? SignBit : 0;
        }
        int shift = BitOperations.LeadingZeroCount(sum);
        return Pack(sign, exponent + 1 - shift, sum << shift, ref status);
    }

    /// <summary>Square root of a number of at least 2^126, rounded down.</summary>
    private static ulong IntegerRoot(UInt128 radicand, out bool exact)
    {
        // The estimate is off by a few thousand at most; one step of Newton's method leaves an error of one.
        ulong root = (ulong)Math.Sqrt((double)radicand);
        Int128 rest = (Int128)(radicand - ((UInt128)root * root));
        root += (ulong)(long)((double)rest / (2.0 * root));
        rest = (Int128)(radicand - ((UInt128)root * root));
        while (rest < 0)
        {
            root--;
            rest += (2 * (Int128)root) + 1;
        }
        while (rest > 2 * (Int128)root)
        {
            rest -= (2 * (Int128)root) + 1;
            root++;
        }
        exact = rest == 0;
        return root;
    }
}
