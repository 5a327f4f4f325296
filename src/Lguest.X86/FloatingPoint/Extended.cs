// Arithmetic on 80-bit numbers, written from the rules of IEEE 754 and Intel's manual. Every operation follows one plan: two normal
// numbers go straight to the integer arithmetic; anything else is first sorted out here (encodings that the unit does not support,
// NaNs, infinities, zeros, denormals) and then takes the same way. The exact result leaves as a sign, an exponent and a significand
// of 128 bits, whose last bit says "and something more", and is rounded in one place (Extended.Rounding.cs).

using System.Numerics;
using System.Runtime.CompilerServices;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

/// <summary>Operations on <see cref="Float80"/> with the results and exceptions of the x87 unit.</summary>
/// <remarks>
/// A sign is 0 or 0x8000. An unpacked number has a significand with bit 63 set and any exponent: its value is
/// <c>significand * 2^(exponent - 16383 - 63)</c>.
/// </remarks>
internal static partial class Extended
{
    /// <summary>Exponent of the numbers from one to two.</summary>
    public const int Bias = 16383;

    /// <summary>Exponent field of infinities and NaNs.</summary>
    public const int MaxExponent = 0x7FFF;

    /// <summary>The explicit leading bit of a significand.</summary>
    public const ulong IntegerBit = 1UL << 63;

    private const uint SignBit = 0x8000;
    private const ulong QuietBit = 1UL << 62;
    private const ulong Half = 1UL << 63;

    /// <summary>The quiet NaN that an invalid operation yields.</summary>
    public static Float80 Indefinite => new(0xFFFF, IntegerBit | QuietBit);

    /// <summary>Exponent field.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Exponent(Float80 value) => value.SignExponent & 0x7FFF;

    /// <summary>Sign, 0 or 0x8000.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Sign(Float80 value) => value.SignExponent & SignBit;

    /// <summary>Neither zero nor denormal nor infinite nor NaN nor unsupported.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsNormal(Float80 value) => (uint)(Exponent(value) - 1) < MaxExponent - 1 && (long)value.Significand < 0;

    /// <summary>An encoding that the unit refuses: an unnormal, a pseudo-infinity or a pseudo-NaN (Intel SDM volume 1, 8.2.2).</summary>
    public static bool IsUnsupported(Float80 value) => Exponent(value) != 0 && (long)value.Significand >= 0;

    /// <summary>NaN; the encoding is known to be supported.</summary>
    public static bool IsNaN(Float80 value) => Exponent(value) == MaxExponent && value.Significand << 1 != 0;

    /// <summary>Signalling NaN; the encoding is known to be supported.</summary>
    public static bool IsSignalingNaN(Float80 value) => IsNaN(value) && (value.Significand & QuietBit) == 0;

    /// <summary>Infinity; the encoding is known to be supported.</summary>
    public static bool IsInfinity(Float80 value) => Exponent(value) == MaxExponent && value.Significand << 1 == 0;

    /// <summary>Zero of either sign.</summary>
    public static bool IsZero(Float80 value) => Exponent(value) == 0 && value.Significand == 0;

    /// <summary>Denormal or pseudo-denormal.</summary>
    public static bool IsDenormal(Float80 value) => Exponent(value) == 0 && value.Significand != 0;

    /// <summary>Raises the invalid-operation exception, which hides a denormal operand, and gives the indefinite NaN.</summary>
    public static Float80 Invalid(ref X87Context context)
    {
        context.Raised = (context.Raised & ~X87Status.Denormal) | X87Status.Invalid;
        return Indefinite;
    }

    /// <summary>Decides an operation one of whose operands is unsupported or a NaN.</summary>
    /// <returns>False when neither is.</returns>
    public static bool TryNaN(Float80 a, Float80 b, ref X87Context context, out Float80 result)
    {
        if (IsUnsupported(a) || IsUnsupported(b))
        {
            result = Invalid(ref context);
            return true;
        }
        if (IsNaN(a) || IsNaN(b))
        {
            context.Raised &= ~X87Status.Denormal;
            result = Propagate(a, b, ref context);
            return true;
        }
        result = default;
        return false;
    }

    /// <summary>The same for an operation of one operand.</summary>
    public static bool TryNaN(Float80 a, ref X87Context context, out Float80 result) => TryNaN(a, a, ref context, out result);

    /// <summary>Unpacks a number that is finite and not zero; tells of a denormal.</summary>
    public static int Unpack(Float80 value, out ulong significand, ref X87Context context)
    {
        significand = value.Significand;
        int exponent = Exponent(value);
        if (exponent != 0)
        {
            return exponent;
        }
        context.Raised |= X87Status.Denormal;
        int shift = BitOperations.LeadingZeroCount(significand);
        significand <<= shift;
        return 1 - shift;
    }

    /// <summary>Notes a denormal operand of an operation whose result does not depend on its value.</summary>
    private static void NoteDenormal(Float80 value, ref X87Context context)
    {
        if (IsDenormal(value))
        {
            context.Raised |= X87Status.Denormal;
        }
    }

    private static Float80 Zero(uint sign) => new((ushort)sign, 0);

    private static Float80 Infinity(uint sign) => new((ushort)(sign | MaxExponent), IntegerBit);

    /// <summary>Which NaN survives (volume 1, table 4-7): quiet wins over signalling, then the larger significand, then plus.</summary>
    private static Float80 Propagate(Float80 a, Float80 b, ref X87Context context)
    {
        bool signalingA = IsSignalingNaN(a);
        bool signalingB = IsSignalingNaN(b);
        if (signalingA || signalingB)
        {
            context.Raised |= X87Status.Invalid;
        }
        bool takeB = !IsNaN(a)
            || (IsNaN(b) && (signalingA != signalingB
                ? signalingA
                : a.Significand < b.Significand || (a.Significand == b.Significand && b.SignExponent < a.SignExponent)));
        Float80 result = takeB ? b : a;
        result.Significand |= QuietBit;
        return result;
    }
}
