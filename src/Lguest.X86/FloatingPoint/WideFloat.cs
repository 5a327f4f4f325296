// Numbers with a significand of 128 bits: what the transcendental functions compute with, so that their errors stay far below the
// last bit of an 80-bit result. Operations cut instead of rounding; each loses less than two units of the last of 128 bits.

using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

/// <summary>A number of 128 bits: zero, or <c>(-1)^sign * significand * 2^(exponent - 127)</c> with bit 127 of the significand set.</summary>
internal readonly struct WideFloat
{
    private WideFloat(uint sign, int exponent, UInt128 significand)
    {
        Sign = sign;
        Exponent = exponent;
        Significand = significand;
    }

    /// <summary>0 or 0x8000.</summary>
    public uint Sign { get; }

    /// <summary>Exponent: 0 for magnitudes from one to two.</summary>
    public int Exponent { get; }

    /// <summary>Significand; zero for the number zero.</summary>
    public UInt128 Significand { get; }

    /// <summary>Whether this is the number zero.</summary>
    public bool IsZero => Significand == 0;

    /// <summary>A finite 80-bit number other than zero; tells of a denormal.</summary>
    public static WideFloat From(Float80 value, ref X87Context context)
    {
        int exponent = Extended.Unpack(value, out ulong significand, ref context);
        return new WideFloat(Extended.Sign(value), exponent - Extended.Bias, new UInt128(significand, 0));
    }

    /// <summary>The number <c>magnitude * 2^scale</c>.</summary>
    public static WideFloat Create(uint sign, UInt128 magnitude, int scale)
    {
        if (magnitude == 0)
        {
            return default;
        }
        int shift = (int)UInt128.LeadingZeroCount(magnitude);
        return new WideFloat(sign, scale + 127 - shift, magnitude << shift);
    }

    /// <summary>A small integer.</summary>
    public static WideFloat FromInteger(int value) => Create(value < 0 ? 0x8000u : 0, (UInt128)(uint)Math.Abs(value), 0);

    /// <summary>One minus a fraction of 2^128; the fraction is below one half.</summary>
    public static WideFloat OneMinus(UInt128 fraction) => new(0, -1, fraction == 0 ? UInt128.MaxValue : UInt128.Zero - fraction);

    /// <summary>One plus a fraction of 2^128.</summary>
    public static WideFloat OnePlus(UInt128 fraction) => new(0, 0, (UInt128.One << 127) + (fraction >> 1));

    /// <summary>Upper half of a product of 256 bits, at most two too small.</summary>
    public static UInt128 MultiplyHigh(UInt128 a, UInt128 b)
    {
        ulong highA = (ulong)(a >> 64);
        ulong highB = (ulong)(b >> 64);
        ulong crossHigh1 = Math.BigMul(highA, (ulong)b, out ulong crossLow1);
        ulong crossHigh2 = Math.BigMul((ulong)a, highB, out ulong crossLow2);
        ulong high = Math.BigMul(highA, highB, out ulong low);
        ulong cross = crossLow1 + crossLow2;
        ulong carry = cross < crossLow1 ? 1UL : 0;
        return new UInt128(high, low) + crossHigh1 + crossHigh2 + carry;
    }

    /// <summary>The square as a fraction of 2^128; the magnitude is below one.</summary>
    public UInt128 SquareFraction()
    {
        int shift = -2 - (2 * Exponent);
        return shift >= 128 ? UInt128.Zero : MultiplyHigh(Significand, Significand) >> shift;
    }

    /// <summary>The magnitude as a fraction of 2^128; it is below one.</summary>
    public UInt128 Fraction() => Exponent < -128 ? UInt128.Zero : Significand >> (-1 - Exponent);

    /// <summary>The same number with another sign.</summary>
    public WideFloat WithSign(uint sign) => new(sign, Exponent, Significand);

    /// <summary>The number times a power of two.</summary>
    public WideFloat Scaled(int by) => IsZero ? this : new WideFloat(Sign, Exponent + by, Significand);

    public static WideFloat operator -(WideFloat value) => value.WithSign(value.Sign ^ 0x8000);

    public static WideFloat operator -(WideFloat a, WideFloat b) => a + -b;

    public static WideFloat operator +(WideFloat a, WideFloat b)
    {
        if (a.IsZero || b.IsZero)
        {
            return a.IsZero ? b : a;
        }
        if (a.Exponent < b.Exponent || (a.Exponent == b.Exponent && a.Significand < b.Significand))
        {
            (a, b) = (b, a);
        }
        int distance = a.Exponent - b.Exponent;
        UInt128 aligned = distance >= 128 ? UInt128.Zero : b.Significand >> distance;
        if (a.Sign != b.Sign)
        {
            return Create(a.Sign, a.Significand - aligned, a.Exponent - 127);
        }
        UInt128 sum = a.Significand + aligned;
        return sum < aligned
            ? new WideFloat(a.Sign, a.Exponent + 1, (sum >> 1) | (UInt128.One << 127))
            : new WideFloat(a.Sign, a.Exponent, sum);
    }

    public static WideFloat operator *(WideFloat a, WideFloat b)
    {
        UInt128 product = MultiplyHigh(a.Significand, b.Significand);
        if (product == 0)
        {
            return default;
        }
        int exponent = a.Exponent + b.Exponent + 1;
        return (Int128)product < 0
            ? new WideFloat(a.Sign ^ b.Sign, exponent, product)
            : new WideFloat(a.Sign ^ b.Sign, exponent - 1, product << 1);
    }

    /// <summary>Quotient; the divisor is not zero.</summary>
    public static WideFloat operator /(WideFloat a, WideFloat b)
    {
        if (a.IsZero)
        {
            return a;
        }
        UInt128 rest = a.Significand >> 1;
        ulong upper = DivideStep(ref rest, b.Significand);
        ulong lower = DivideStep(ref rest, b.Significand);
        var quotient = new UInt128(upper, lower);
        int exponent = a.Exponent - b.Exponent;
        return (Int128)quotient < 0
            ? new WideFloat(a.Sign ^ b.Sign, exponent, quotient)
            : new WideFloat(a.Sign ^ b.Sign, exponent - 1, quotient << 1);
    }

    /// <summary>Rounds to 80 bits.</summary>
    /// <param name="context">Modes in, exceptions out: always PE, and UE for every tiny result.</param>
    /// <param name="exact">The number is the true result, and not one cut short.</param>
    public Float80 Round(ref X87Context context, bool exact = false)
    {
        ulong rest = (ulong)Significand | (exact ? 0 : 1UL);
        Float80 result = Extended.RoundTo(64, Sign, Exponent + Extended.Bias, (ulong)(Significand >> 64), rest, ref context);
        context.Raised |= X87Status.Precision | (Extended.Exponent(result) == 0 ? X87Status.Underflow : 0);
        return result;
    }

    /// <summary>Next 64 bits of a quotient: <c>rest * 2^64 / divisor</c>, the remainder left in <paramref name="rest"/>.</summary>
    private static ulong DivideStep(ref UInt128 rest, UInt128 divisor)
    {
        ulong top = (ulong)(rest >> 64);
        ulong divisorTop = (ulong)(divisor >> 64);
        ulong digit;
        UInt128 left;
        if (top == divisorTop)
        {
            digit = ulong.MaxValue;
            left = (UInt128)(ulong)rest + divisorTop;
        }
        else
        {
            digit = Extended.DivideWide(top, (ulong)rest, divisorTop, out ulong remainder);
            left = remainder;
        }
        UInt128 product = (UInt128)digit * (ulong)divisor;
        // The estimate is at most two too large; a remainder that no longer fits its upper half is large enough.
        bool fits = left >> 64 == 0;
        left <<= 64;
        while (fits && left < product)
        {
            digit--;
            left += divisor;
            fits = left >= divisor;
        }
        rest = left - product;
        return digit;
    }
}
