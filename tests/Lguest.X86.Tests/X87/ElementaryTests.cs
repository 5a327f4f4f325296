// The transcendental functions against the exact values, computed here by plain series on integers of 400 bits: the 80-bit results
// must be the exact ones rounded to nearest.

using System.Numerics;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Tests.X87;

public sealed class ElementaryTests
{
    private const int Cases = 1500;
    private const int Bits = 400;

    private static readonly BigInteger One = BigInteger.One << Bits;
    private static readonly BigInteger Ln2 = 2 * InverseTangentHyperbolic(One / 3);
    private static readonly BigInteger Pi = 4 * ((4 * Arctangent(One / 5)) - Arctangent(One / 239));

    /// <summary>The processors' own pi: 66 bits.</summary>
    private static readonly BigInteger HalfOfShortPi = (((BigInteger)3 << 64) + 0x243F_6A88_85A3_08D3) << (Bits - 65);

    [Fact]
    public void SineAndCosineAreRoundedCorrectly()
    {
        ForEach(-40, 63, x =>
        {
            BigInteger value = Exact(x);
            BigInteger quadrant = Nearest(value, HalfOfShortPi);
            BigInteger angle = value - (quadrant * HalfOfShortPi);
            (BigInteger sine, BigInteger cosine) = (int)(((quadrant % 4) + 4) % 4) switch
            {
                0 => (Sine(angle), Cosine(angle)),
                1 => (Cosine(angle), -Sine(angle)),
                2 => (-Sine(angle), -Cosine(angle)),
                _ => (-Cosine(angle), Sine(angle)),
            };
            (WideFloat mySine, WideFloat myCosine) = Elementary.SineCosine(Wide(x));
            Close(x, sine, mySine);
            Close(x, cosine, myCosine);
            Close(x, (sine << Bits) / cosine, mySine / myCosine);
        });
    }

    [Fact]
    public void ArctangentsAreRoundedCorrectly()
    {
        var operands = new X87Operands(3);
        ForEach(-30, 30, y =>
        {
            Float80 x = operands.Near(y, 20);
            x.Significand |= 1UL << 63;
            y.SignExponent &= 0x7FFF;
            x.SignExponent &= 0x7FFF;
            BigInteger ratio = (Exact(y) << Bits) / Exact(x);
            BigInteger angle = ratio > One ? (Pi / 2) - Arctangent((One << Bits) / ratio) : Arctangent(ratio);
            Close(y, angle, Elementary.Arctangent(Wide(y), Wide(x)));
        });
    }

    [Fact]
    public void LogarithmsAreRoundedCorrectly() => ForEach(-60, 60, x =>
    {
        x.SignExponent &= 0x7FFF;
        Close(x, Log2(Exact(x)), Elementary.Log2(Wide(x), out bool exact));
        Assert.Equal(x.Significand == 1UL << 63, exact);
    });

    [Fact]
    public void LogarithmsNearOneAreRoundedCorrectly() => ForEach(-70, -2, x =>
    {
        Close(x, Log2(One + Exact(x)), Elementary.Log2Plus1(Wide(x)));
        var context = new X87Context(0x37F);
        Float80 near = Extended.Add(Extended.FromInteger(1), x, ref context);
        if (near.Significand << 1 != 0)
        {
            Close(near, Log2(Exact(near)), Elementary.Log2(Wide(near), out _));
        }
    });

    [Fact]
    public void PowersAreRoundedCorrectly() =>
        ForEach(-70, 0, x => Close(x, ExponentialMinusOne((Exact(x) * Ln2) >> Bits), Elementary.Exp2Minus1(Wide(x))));

    private static void ForEach(int least, int most, Action<Float80> check)
    {
        var operands = new X87Operands(least + most);
        for (int i = 0; i < Cases; i++)
        {
            check(operands.Magnitude(least, most));
        }
    }

    private static WideFloat Wide(Float80 value)
    {
        var context = new X87Context(0x37F);
        return WideFloat.From(value, ref context);
    }

    private static BigInteger Exact(Float80 value)
    {
        BigInteger magnitude = (BigInteger)value.Significand << (Bits + (value.SignExponent & 0x7FFF) - 16383 - 63);
        return value.SignExponent >= 0x8000 ? -magnitude : magnitude;
    }

    private static void Close(Float80 argument, BigInteger exact, WideFloat result)
    {
        var context = new X87Context(0x37F);
        Float80 actual = result.Round(ref context);
        BigInteger magnitude = BigInteger.Abs(exact);
        int length = (int)magnitude.GetBitLength();
        var significand = (UInt128)((magnitude + (BigInteger.One << (length - 65))) >> (length - 64));
        int exponent = length - 1 - Bits + 16383;
        if (significand >> 64 != 0)
        {
            significand >>= 1;
            exponent++;
        }
        var expected = new Float80((ushort)(exponent | (exact.Sign < 0 ? 0x8000 : 0)), (ulong)significand);
        Assert.True(
            expected.Equals(actual),
            $"{X87Oracle.Show(argument)}: {X87Oracle.Show(expected)}, but {X87Oracle.Show(actual)}");
    }

    private static BigInteger Nearest(BigInteger value, BigInteger unit)
    {
        BigInteger quotient = BigInteger.DivRem((BigInteger.Abs(value) * 2) + unit, unit * 2, out _);
        return value.Sign < 0 ? -quotient : quotient;
    }

    private static BigInteger Sine(BigInteger x) => Taylor(x, x, -1, k => (2 * k) * ((2 * k) + 1));

    private static BigInteger Cosine(BigInteger x) => Taylor(One, x, -1, k => (2 * k) * ((2 * k) - 1));

    private static BigInteger Taylor(BigInteger first, BigInteger x, int sign, Func<int, int> divisor)
    {
        BigInteger square = (x * x) >> Bits;
        BigInteger sum = first;
        for (int k = 1; !first.IsZero && first != -1; k++)
        {
            first = ((first * square) >> Bits) * sign / divisor(k);
            sum += first;
        }
        return sum;
    }

    private static BigInteger ExponentialMinusOne(BigInteger x)
    {
        BigInteger term = x;
        BigInteger sum = x;
        for (int k = 2; !term.IsZero && term != -1; k++)
        {
            term = ((term * x) >> Bits) / k;
            sum += term;
        }
        return sum;
    }

    private static BigInteger Arctangent(BigInteger x)
    {
        // Halve the angle until the series is short.
        int halvings = 0;
        for (; BigInteger.Abs(x) > One >> 8; halvings++)
        {
            x = (x << Bits) / (One + SquareRoot((One << Bits) + (x * x)));
        }
        BigInteger square = (x * x) >> Bits;
        BigInteger power = x;
        BigInteger sum = x;
        for (int k = 3; !power.IsZero; k += 2)
        {
            power = -((power * square) >> Bits);
            sum += power / k;
            if (BigInteger.Abs(power) <= 1)
            {
                break;
            }
        }
        return sum << halvings;
    }

    private static BigInteger Log2(BigInteger x)
    {
        int k = (int)x.GetBitLength() - 1 - Bits;
        BigInteger m = k > 0 ? x >> k : x << -k;
        if (m > One * 3 / 2)
        {
            k++;
            m >>= 1;
        }
        return (k * One) + ((2 * InverseTangentHyperbolic(((m - One) << Bits) / (m + One)) << Bits) / Ln2);
    }

    private static BigInteger InverseTangentHyperbolic(BigInteger x)
    {
        BigInteger square = (x * x) >> Bits;
        BigInteger power = x;
        BigInteger sum = x;
        for (int k = 3; BigInteger.Abs(power) > 1; k += 2)
        {
            power = (power * square) >> Bits;
            sum += power / k;
        }
        return sum;
    }

    private static BigInteger SquareRoot(BigInteger value)
    {
        BigInteger root = BigInteger.One << (int)((value.GetBitLength() + 1) / 2);
        while (true)
        {
            BigInteger next = (root + (value / root)) >> 1;
            if (next >= root)
            {
                return root;
            }
            root = next;
        }
    }
}
