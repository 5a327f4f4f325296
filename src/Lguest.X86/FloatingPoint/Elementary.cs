// The functions behind FSIN, FPATAN, F2XM1, FYL2X and their kin. Each reduces its argument exactly until a short power series gives
// 120 bits or more, so that the 80-bit result is the exact one rounded, but for cases that no test will ever meet. The tables are
// computed from the same series when they are first needed.
//
// Sine, cosine and tangent reduce their argument by the processors' own pi, which has 66 bits: sin(pi) is -5.42e-20 and not
// -5.02e-20, as on the native CPU. Within a period of zero nothing is to be seen of it.

namespace Lguest.X86.FloatingPoint;

/// <summary>Elementary functions with about 120 correct bits.</summary>
internal static class Elementary
{
    /// <summary>Pi times 2^64, the 66 bits that processors use.</summary>
    private static readonly UInt128 ReductionPi = new(3, 0x243F_6A88_85A3_08D3);

    private static readonly UInt128[] SineCoefficients = InverseProducts(18, static k => (uint)(2 * k * ((2 * k) + 1)));
    private static readonly UInt128[] CosineCoefficients = InverseProducts(18, static k => (uint)(2 * k * ((2 * k) - 1)));
    private static readonly UInt128[] ExponentialCoefficients = InverseProducts(19, static k => (uint)(k + 1));
    private static readonly UInt128[] OddInverses = OddInverseNumbers(13);

    private static readonly WideFloat One = WideFloat.FromInteger(1);

    /// <summary>Natural logarithm of two.</summary>
    private static readonly WideFloat Ln2 = WideFloat.Create(0, new UInt128(0xB172_17F7_D1CF_79AB, 0xC9E3_B398_03F2_F6AF), -128);

    /// <summary>Binary logarithm of e.</summary>
    private static readonly WideFloat Log2E = WideFloat.Create(0, new UInt128(0xB8AA_3B29_5C17_F0BB, 0xBE87_FED0_691D_3E88), -127);

    private static readonly WideFloat[] Arctangents = ArctangentTable();
    private static readonly WideFloat[] Logarithms = LogarithmTable();
    private static readonly WideFloat[] Powers = PowerTable();

    private const int ArctangentSteps = 32;
    private const int PowerSteps = 32;
    private const int LogarithmOne = 128;
    private const int LogarithmFirst = 88;
    private const int LogarithmLast = 184;

    /// <summary>Pi.</summary>
    public static WideFloat Pi { get; } = WideFloat.Create(0, new UInt128(0xC90F_DAA2_2168_C234, 0xC4C6_628B_80DC_1CD1), -126);

    /// <summary>Sine and cosine of a number below 2^63.</summary>
    public static (WideFloat Sine, WideFloat Cosine) SineCosine(WideFloat x)
    {
        WideFloat angle = x;
        int quadrant = 0;
        if (x.Exponent >= -1)
        {
            // In units of 2^-65, half of pi is the 66-bit integer, and the argument an integer too: nothing is lost.
            (UInt128 quotient, UInt128 rest) = UInt128.DivRem((x.Significand >> 64) << (x.Exponent + 2), ReductionPi);
            quadrant = (int)(quotient & 3);
            uint sign = x.Sign;
            if (rest > ReductionPi >> 1)
            {
                rest = ReductionPi - rest;
                quadrant++;
                sign ^= 0x8000;
            }
            angle = WideFloat.Create(sign, rest, -65);
            quadrant = x.Sign == 0 ? quadrant : -quadrant;
        }
        UInt128 square = angle.SquareFraction();
        WideFloat sine = angle * WideFloat.OneMinus(Alternating(square, SineCoefficients));
        WideFloat cosine = WideFloat.OneMinus(Alternating(square, CosineCoefficients));
        return (quadrant & 3) switch
        {
            0 => (sine, cosine),
            1 => (cosine, -sine),
            2 => (-sine, -cosine),
            _ => (-cosine, sine),
        };
    }

    /// <summary>Arctangent of y / x, both positive: from zero to half of pi.</summary>
    public static WideFloat Arctangent(WideFloat y, WideFloat x)
    {
        bool steep = y.Exponent > x.Exponent || (y.Exponent == x.Exponent && y.Significand > x.Significand);
        WideFloat ratio = steep ? x / y : y / x;
        WideFloat angle;
        int step = ratio.Exponent < -6 ? 0 : ((int)(ratio.Significand >> (121 - ratio.Exponent)) + 1) >> 1;
        if (step == 0)
        {
            angle = ArctangentSeries(ratio);
        }
        else
        {
            WideFloat near = WideFloat.FromInteger(step).Scaled(-5);
            angle = Arctangents[step] + ArctangentSeries((ratio - near) / (One + (ratio * near)));
        }
        return steep ? Pi.Scaled(-1) - angle : angle;
    }

    /// <summary>Binary logarithm of a positive number.</summary>
    /// <param name="x">A number of which at most 72 bits are not zero.</param>
    /// <param name="exact">Whether the result is exact: x is a power of two.</param>
    public static WideFloat Log2(WideFloat x, out bool exact)
    {
        // x = m * 2^k with m near one, and m = 128 / j * (1 + e) with a small e, which is exact in 128 bits.
        const int bits = 72;
        int fractionBits = bits;
        int k = x.Exponent;
        UInt128 m = x.Significand >> (127 - bits);
        if ((ulong)(m >> 9) > 0xB504_F333_F9DE_6484)
        {
            k++;
            fractionBits++;
        }
        int rough = (int)(m >> (fractionBits - 10));
        int j = ((LogarithmOne << 10) + (rough >> 1)) / rough;
        UInt128 product = m * (uint)j;
        UInt128 one = UInt128.One << (fractionBits + 7);
        WideFloat e = product < one
            ? WideFloat.Create(0x8000, one - product, -fractionBits - 7)
            : WideFloat.Create(0, product - one, -fractionBits - 7);
        exact = e.IsZero && j == LogarithmOne;
        WideFloat fraction = Logarithms[j - LogarithmFirst] + Log2OnePlus(e);
        return WideFloat.FromInteger(k) + fraction;
    }

    /// <summary>Binary logarithm of 1 + x; x is above minus one and not zero.</summary>
    public static WideFloat Log2Plus1(WideFloat x) => x.Exponent < -8 ? Log2OnePlus(x) : Log2(One + x, out _);

    /// <summary>2^x - 1 for an x from minus one to one.</summary>
    public static WideFloat Exp2Minus1(WideFloat x)
    {
        int step = x.Exponent < -6 ? 0 : ((int)(x.Significand >> (121 - x.Exponent)) + 1) >> 1;
        step = x.Sign == 0 ? step : -step;
        WideFloat rest = x - WideFloat.FromInteger(step).Scaled(-5);
        WideFloat growth = ExponentialSeries(rest * Ln2);
        if (step == 0)
        {
            return growth;
        }
        WideFloat power = Powers[step + PowerSteps];
        return (power - One) + (power * growth);
    }

    /// <summary><c>x * (c[1] - x * (c[2] - x * ...))</c> in fractions of 2^128.</summary>
    private static UInt128 Alternating(UInt128 x, UInt128[] coefficients)
    {
        UInt128 sum = coefficients[^1];
        for (int i = coefficients.Length - 2; i > 0; i--)
        {
            sum = coefficients[i] - WideFloat.MultiplyHigh(x, sum);
        }
        return WideFloat.MultiplyHigh(x, sum);
    }

    /// <summary><c>x * (c[1] + x * (c[2] + x * ...))</c> in fractions of 2^128.</summary>
    private static UInt128 Rising(UInt128 x, UInt128[] coefficients)
    {
        UInt128 sum = coefficients[^1];
        for (int i = coefficients.Length - 2; i > 0; i--)
        {
            sum = coefficients[i] + WideFloat.MultiplyHigh(x, sum);
        }
        return WideFloat.MultiplyHigh(x, sum);
    }

    /// <summary>Arctangent of a number not above 1/31.</summary>
    private static WideFloat ArctangentSeries(WideFloat x) =>
        x.IsZero ? x : x * WideFloat.OneMinus(Alternating(x.SquareFraction(), OddInverses));

    /// <summary>log2(1 + x) for an x not above 1/80: twice the inverse hyperbolic tangent of x / (2 + x).</summary>
    private static WideFloat Log2OnePlus(WideFloat x)
    {
        if (x.IsZero)
        {
            return x;
        }
        WideFloat s = x / (One.Scaled(1) + x);
        return (s * WideFloat.OnePlus(Rising(s.SquareFraction(), OddInverses)) * Log2E).Scaled(1);
    }

    /// <summary>e^x - 1 for an x not above 1/32.</summary>
    private static WideFloat ExponentialSeries(WideFloat x)
    {
        if (x.IsZero)
        {
            return x;
        }
        UInt128 magnitude = x.Fraction();
        return x * (x.Sign == 0
            ? WideFloat.OnePlus(Rising(magnitude, ExponentialCoefficients))
            : WideFloat.OneMinus(Alternating(magnitude, ExponentialCoefficients)));
    }

    /// <summary>1, 1/p(1), 1/(p(1) p(2)), ... in fractions of 2^128 (the one is not used).</summary>
    private static UInt128[] InverseProducts(int count, Func<int, uint> factor)
    {
        var table = new UInt128[count];
        table[0] = UInt128.MaxValue;
        for (int k = 1; k < count; k++)
        {
            table[k] = table[k - 1] / factor(k);
        }
        return table;
    }

    /// <summary>1, 1/3, 1/5, ... in fractions of 2^128 (the one is not used).</summary>
    private static UInt128[] OddInverseNumbers(int count)
    {
        var table = new UInt128[count];
        for (int k = 0; k < count; k++)
        {
            table[k] = UInt128.MaxValue / (uint)((2 * k) + 1);
        }
        return table;
    }

    /// <summary>Arctangents of i/32, each from the one before by the addition theorem.</summary>
    private static WideFloat[] ArctangentTable()
    {
        var table = new WideFloat[ArctangentSteps + 1];
        for (int i = 0; i < ArctangentSteps; i++)
        {
            WideFloat step = WideFloat.FromInteger(ArctangentSteps) / WideFloat.FromInteger((ArctangentSteps * ArctangentSteps) + (i * (i + 1)));
            table[i + 1] = table[i] + ArctangentSeries(step);
        }
        return table;
    }

    /// <summary>Binary logarithms of 128/j.</summary>
    private static WideFloat[] LogarithmTable()
    {
        var table = new WideFloat[LogarithmLast - LogarithmFirst + 1];
        for (int j = LogarithmOne; j < LogarithmLast; j++)
        {
            table[j + 1 - LogarithmFirst] = table[j - LogarithmFirst] - Log2OnePlus(One / WideFloat.FromInteger(j));
        }
        for (int j = LogarithmOne - 1; j >= LogarithmFirst; j--)
        {
            table[j - LogarithmFirst] = table[j + 1 - LogarithmFirst] + Log2OnePlus(One / WideFloat.FromInteger(j));
        }
        return table;
    }

    /// <summary>2^(i/32) from i = -32 to 32.</summary>
    private static WideFloat[] PowerTable()
    {
        var table = new WideFloat[(2 * PowerSteps) + 1];
        WideFloat step = One + ExponentialSeries(Ln2.Scaled(-5));
        table[PowerSteps] = One;
        for (int i = 1; i <= PowerSteps; i++)
        {
            table[PowerSteps + i] = i == PowerSteps ? One.Scaled(1) : table[PowerSteps + i - 1] * step;
        }
        for (int i = 0; i < PowerSteps; i++)
        {
            table[i] = table[PowerSteps + i].Scaled(-1);
        }
        return table;
    }
}
