// What the floating-point instructions of SSE share: lanes of a vector as bit patterns, the question whether plain hardware arithmetic
// is good enough for an operation, and the report of exceptions to MXCSR.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

/// <summary>Numbers of one format in the lanes of an XMM register.</summary>
internal static class SseNumbers<TFormat>
    where TFormat : struct, IIeeeFormat
{
    private const uint SmallestNormal32 = 0x0080_0000;
    private const uint Infinity32 = 0x7F80_0000;
    private const ulong SmallestNormal64 = 0x0010_0000_0000_0000;
    private const ulong Infinity64 = 0x7FF0_0000_0000_0000;

    private static bool IsSingle => typeof(TFormat) == typeof(Binary32);

    /// <summary>Numbers in a register.</summary>
    public static int Count => IsSingle ? 4 : 2;

    /// <summary>Bytes of a number.</summary>
    public static int Size => IsSingle ? 4 : 8;

    /// <summary>The bit pattern in a lane.</summary>
    public static ulong Get(Vector128<byte> vector, int lane) => IsSingle ? vector.AsUInt32()[lane] : vector.AsUInt64()[lane];

    /// <summary>The vector with another bit pattern in a lane.</summary>
    public static Vector128<byte> With(Vector128<byte> vector, int lane, ulong bits) => IsSingle
        ? vector.AsUInt32().WithElement(lane, (uint)bits).AsByte()
        : vector.AsUInt64().WithElement(lane, bits).AsByte();

    /// <summary>The first vector with the lowest lane of the second.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> WithLowest(Vector128<byte> vector, Vector128<byte> lowest) => IsSingle
        ? vector.AsUInt32().WithElement(0, lowest.AsUInt32().ToScalar()).AsByte()
        : vector.AsUInt64().WithElement(0, lowest.AsUInt64().ToScalar()).AsByte();

    /// <summary>All bits set in the lanes that hold zero or a normal number: operands that raise nothing by themselves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> Ordinary(Vector128<byte> vector)
    {
        if (IsSingle)
        {
            Vector128<uint> magnitude = vector.AsUInt32() & Vector128.Create(int.MaxValue).AsUInt32();
            return (Vector128.Equals(magnitude, default)
                | Vector128.LessThan(magnitude - Vector128.Create(SmallestNormal32), Vector128.Create(Infinity32 - SmallestNormal32))).AsByte();
        }
        Vector128<ulong> longMagnitude = vector.AsUInt64() & Vector128.Create(long.MaxValue).AsUInt64();
        return (Vector128.Equals(longMagnitude, default)
            | Vector128.LessThan(longMagnitude - Vector128.Create(SmallestNormal64), Vector128.Create(Infinity64 - SmallestNormal64))).AsByte();
    }

    /// <summary>All bits set in the lanes that hold a normal number above the smallest binade: results that neither over- nor underflowed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> SafeResult(Vector128<byte> vector)
    {
        if (IsSingle)
        {
            Vector128<uint> magnitude = vector.AsUInt32() & Vector128.Create(int.MaxValue).AsUInt32();
            return Vector128.LessThan(
                magnitude - Vector128.Create(2 * SmallestNormal32),
                Vector128.Create(Infinity32 - (2 * SmallestNormal32))).AsByte();
        }
        Vector128<ulong> longMagnitude = vector.AsUInt64() & Vector128.Create(long.MaxValue).AsUInt64();
        return Vector128.LessThan(
            longMagnitude - Vector128.Create(2 * SmallestNormal64),
            Vector128.Create(Infinity64 - (2 * SmallestNormal64))).AsByte();
    }

    /// <summary>Whether the lowest lanes of a vector mask are all set.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AllSet(Vector128<byte> mask, int lanes)
    {
        uint wanted = (uint)((1ul << (lanes * Size)) - 1);
        return (mask.ExtractMostSignificantBits() & wanted) == wanted;
    }
}

/// <summary>MXCSR seen from an instruction.</summary>
internal static class SseExceptions
{
    /// <summary>
    /// Whether rounding is to nearest and an inexact result changes nothing in MXCSR: then hardware arithmetic on ordinary numbers is
    /// all there is to do.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool RoundsQuietly(uint mxcsr)
    {
        const uint precisionMask = Mxcsr.Precision << Mxcsr.MaskShift;
        return (mxcsr & (Mxcsr.RoundingControl | Mxcsr.Precision | precisionMask)) == (Mxcsr.Precision | precisionMask);
    }

    /// <summary>Notes exceptions of all lanes in MXCSR; throws if one is not masked, so that the destination keeps its value.</summary>
    /// <remarks>
    /// Exceptions of operands come first: if one of those is not masked, nothing was computed and no result can be inexact
    /// (Intel SDM volume 1, 11.5.3).
    /// </remarks>
    public static void Report(Processor cpu, uint raised)
    {
        if (raised == 0)
        {
            return;
        }
        const uint beforeComputation = Mxcsr.Invalid | Mxcsr.Denormal | Mxcsr.DivideByZero;
        ref uint mxcsr = ref cpu.State.Fpu.Mxcsr;
        uint unmasked = raised & ~(mxcsr >> Mxcsr.MaskShift);
        if (unmasked == 0)
        {
            mxcsr |= raised;
            return;
        }
        mxcsr |= (unmasked & beforeComputation) != 0 ? raised & beforeComputation : raised;
        throw cpu.Fault((cpu.State.Cr4 & Cr4.OsXmmExceptions) != 0 ? Vector.SimdFloatingPoint : Vector.InvalidOpcode);
    }
}
