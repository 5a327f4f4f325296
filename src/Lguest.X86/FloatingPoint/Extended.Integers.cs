// Integers: conversion of binary and decimal ones, rounding to an integral value, and the operations on exponents.

using System.Numerics;
using System.Runtime.CompilerServices;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

internal static partial class Extended
{
    private const long MaxDecimal = 999_999_999_999_999_999;

    /// <summary>An integer as a number: exact.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float80 FromInteger(long value) => FromMagnitude(value < 0 ? SignBit : 0, value < 0 ? 0 - (ulong)value : (ulong)value);

    /// <summary>Rounds to a signed integer of 16, 32 or 64 bits; the most negative one stands for every invalid outcome.</summary>
    public static long ToInteger(Float80 value, int bits, ref X87Context context)
    {
        ulong limit = 1UL << (bits - 1);
        if (!TryRoundToMagnitude(value, out ulong magnitude, out int inexact, context.Rounding)
            || magnitude > (Sign(value) != 0 ? limit : limit - 1))
        {
            context.Raised |= X87Status.Invalid;
            return (long)(0 - limit);
        }
        context.Raised |= inexact;
        return (long)(Sign(value) != 0 ? 0 - magnitude : magnitude);
    }

    /// <summary>A packed decimal of 18 digits (Intel SDM volume 1, 4.7) as a number: exact.</summary>
    /// <param name="digits">Lower 16 digits.</param>
    /// <param name="top">Upper two digits, and the sign in bit 15.</param>
    public static Float80 FromDecimal(ulong digits, ushort top)
    {
        ulong magnitude = DecimalDigits((ulong)top & 0xFF, 2);
        magnitude = (magnitude * 10_000_000_000_000_000) + DecimalDigits(digits, 16);
        return FromMagnitude(top & SignBit, magnitude);
    }

    /// <summary>Rounds to a packed decimal; the indefinite one stands for every invalid outcome.</summary>
    public static (ulong Digits, ushort Top) ToDecimal(Float80 value, ref X87Context context)
    {
        if (!TryRoundToMagnitude(value, out ulong magnitude, out int inexact, context.Rounding) || magnitude > MaxDecimal)
        {
            context.Raised |= X87Status.Invalid;
            return (0xC000_0000_0000_0000, 0xFFFF);
        }
        context.Raised |= inexact;
        ulong digits = 0;
        for (int i = 0; i < 64; i += 4)
        {
            digits |= (magnitude % 10) << i;
            magnitude /= 10;
        }
        return (digits, (ushort)(Sign(value) | (uint)((magnitude / 10 << 4) | (magnitude % 10))));
    }

    /// <summary>FRNDINT.</summary>
    public static Float80 RoundToIntegral(Float80 value, ref X87Context context)
    {
        if (TryNaN(value, ref context, out Float80 result))
        {
            return result;
        }
        NoteDenormal(value, ref context);
        if (Exponent(value) >= Bias + 63 || IsZero(value))
        {
            return value;
        }
        _ = TryRoundToMagnitude(value, out ulong magnitude, out int inexact, context.Rounding);
        context.Raised |= inexact;
        return FromMagnitude(Sign(value), magnitude);
    }

    /// <summary>FSCALE: a * 2^n, n being b rounded towards zero.</summary>
    public static Float80 Scale(Float80 a, Float80 b, ref X87Context context)
    {
        if (TryNaN(a, b, ref context, out Float80 result))
        {
            return result;
        }
        if (IsInfinity(b))
        {
            bool vanishes = Sign(b) != 0;
            if (vanishes ? IsInfinity(a) : IsZero(a))
            {
                return Invalid(ref context);
            }
            NoteDenormal(a, ref context);
            return vanishes ? Zero(Sign(a)) : Infinity(Sign(a));
        }
        NoteDenormal(b, ref context);
        if (IsInfinity(a) || IsZero(a))
        {
            return a;
        }
        int exponent = Unpack(a, out ulong significand, ref context);
        const int far = 0x1_0000;
        int shift = Exponent(b) - Bias;
        int by = shift < 0 ? 0 : shift > 16 ? far : (int)(b.Significand >> (63 - shift));
        return RoundTo(64, Sign(a), Sign(b) != 0 ? exponent - by : exponent + by, significand, 0, ref context);
    }

    /// <summary>FXTRACT: the significand, and the exponent as a number.</summary>
    public static Float80 Extract(Float80 value, out Float80 exponent, ref X87Context context)
    {
        if (TryNaN(value, ref context, out Float80 result))
        {
            exponent = result;
            return result;
        }
        if (IsInfinity(value))
        {
            exponent = Infinity(0);
            return value;
        }
        if (IsZero(value))
        {
            context.Raised |= X87Status.ZeroDivide;
            exponent = Infinity(SignBit);
            return value;
        }
        exponent = FromInteger(Unpack(value, out ulong significand, ref context) - Bias);
        return new Float80((ushort)(Sign(value) | Bias), significand);
    }

    private static Float80 FromMagnitude(uint sign, ulong magnitude)
    {
        if (magnitude == 0)
        {
            return Zero(sign);
        }
        int shift = BitOperations.LeadingZeroCount(magnitude);
        return new Float80((ushort)(sign | (uint)(Bias + 63 - shift)), magnitude << shift);
    }

    /// <summary>Rounds the magnitude of a number to an integer.</summary>
    /// <returns>False for NaNs, infinities, unsupported encodings and numbers of 2^64 and more.</returns>
    private static bool TryRoundToMagnitude(Float80 value, out ulong magnitude, out int inexact, int rounding)
    {
        magnitude = 0;
        inexact = 0;
        if (IsUnsupported(value) || Exponent(value) > Bias + 63)
        {
            return false;
        }
        int shift = Bias + 63 - Exponent(value);
        ulong rest = 0;
        if (IsZero(value) || shift == 0)
        {
            magnitude = value.Significand;
            return true;
        }
        ulong significand = value.Significand;
        Denormalise(ref significand, ref rest, shift);
        inexact = RoundSignificand(64, Sign(value), ref significand, rest, rounding);
        magnitude = significand;
        return true;
    }

    private static ulong DecimalDigits(ulong packed, int count)
    {
        ulong value = 0;
        for (int i = count - 1; i >= 0; i--)
        {
            value = (value * 10) + ((packed >> (4 * i)) & 0xF);
        }
        return value;
    }
}
