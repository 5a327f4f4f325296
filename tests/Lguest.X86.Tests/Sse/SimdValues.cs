// Operands that find mistakes: ordinary numbers are rare among random bits, so most values here are built to be close to a border.

using System.Runtime.Intrinsics;

namespace Lguest.X86.Tests.Sse;

/// <summary>Random and edge values of SSE registers and MXCSR.</summary>
internal static class SimdValues
{
    private static readonly uint[] Edges32 =
    [
        0, 0x0000_0001, 0x0000_0002, 0x0040_0000, 0x007F_FFFF, 0x0080_0000, 0x0080_0001, 0x00FF_FFFF, 0x0100_0000, 0x3F00_0000, 0x3F00_0001,
        0x3EFF_FFFF, 0x3F80_0000, 0x3F80_0001, 0x3FC0_0000, 0x4020_0000, 0x4040_0000, 0x4B00_0000, 0x4B80_0000, 0x4EFF_FFFF, 0x4F00_0000,
        0x4F00_0001, 0x7F00_0000, 0x7F7F_FFFF, 0x7F80_0000, 0x7F80_0001, 0x7FBF_FFFF, 0x7FC0_0000, 0x7FC1_2345, 0x7FFF_FFFF,
    ];

    private static readonly ulong[] Edges64 =
    [
        0, 1, 0x0008_0000_0000_0000, 0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x0010_0000_0000_0001, 0x001F_FFFF_FFFF_FFFF,
        0x3690_0000_0000_0000, 0x36A0_0000_0000_0000, 0x36B0_0000_0000_0001, 0x380F_FFFF_E000_0000, 0x380F_FFFF_F000_0000,
        0x380F_FFFF_FFFF_FFFF, 0x3810_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x3FE0_0000_0000_0001, 0x3FDF_FFFF_FFFF_FFFF,
        0x3FF0_0000_0000_0000, 0x3FF0_0000_0000_0001, 0x3FF8_0000_0000_0000, 0x4004_0000_0000_0000, 0x41DF_FFFF_FFC0_0000,
        0x41DF_FFFF_FFE0_0000, 0x41DF_FFFF_FFDF_FFFF, 0x41E0_0000_0000_0000, 0x41E0_0000_0010_0000, 0x41E0_0000_0020_0000,
        0x47EF_FFFF_E000_0000, 0x47EF_FFFF_EFFF_FFFF, 0x47EF_FFFF_F000_0000, 0x47F0_0000_0000_0000, 0x7FE0_0000_0000_0000,
        0x7FEF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000, 0x7FF0_0000_0000_0001, 0x7FF7_FFFF_FFFF_FFFF, 0x7FF8_0000_0000_0000,
        0x7FF8_1234_5678_9ABC, 0x7FFF_FFFF_FFFF_FFFF,
    ];

    /// <summary>A vector of one kind of lane.</summary>
    public static Vector128<byte> Vector(Random random) => random.Next(5) switch
    {
        0 or 1 => Vector128.Create(Single(random), Single(random), Single(random), Single(random)).AsByte(),
        2 or 3 => Vector128.Create(Double(random), Double(random)).AsByte(),
        _ => Integers(random),
    };

    /// <summary>A vector whose lanes are close to those of another, so that they cancel, tie and compare equal.</summary>
    public static Vector128<byte> Near(Vector128<byte> other, Random random) => random.Next(4) switch
    {
        0 => other,
        1 => other ^ Vector128.Create(0x8000_0000u).AsByte(),
        2 => other ^ Vector128.Create(0x8000_0000_0000_0000ul).AsByte(),
        _ => (other.AsUInt32() ^ Vector128.Create((uint)random.Next(8), 0, (uint)random.Next(8), 0x80_0000)).AsByte(),
    };

    /// <summary>MXCSR with all exceptions masked and everything else random.</summary>
    public static uint Mxcsr(Random random)
    {
        uint value = 0x1F80 | ((uint)random.Next(4) << 13);
        value |= random.Next(3) == 0 ? 0x8000u : 0;
        value |= random.Next(3) == 0 ? 0x40u : 0;
        return random.Next(4) switch
        {
            0 => value | (uint)random.Next(64),
            1 => value | 0x20,
            _ => value,
        };
    }

    private static uint Single(Random random)
    {
        uint sign = (uint)random.Next(2) << 31;
        uint fraction = random.Next(3) switch
        {
            0 => (uint)random.Next(1 << 23),
            1 => (uint)random.Next(1 << 11) << 12,
            _ => 0x7F_FFFF & ~(1u << random.Next(23)),
        };
        return random.Next(4) switch
        {
            0 => sign | Edges32[random.Next(Edges32.Length)],
            1 => sign | fraction | ((uint)random.Next(127 - 4, 127 + 28) << 23),
            2 => sign | fraction | ((uint)random.Next(256) << 23),
            _ => sign | fraction | ((uint)random.Next(127 - 2, 127 + 3) << 23),
        };
    }

    private static ulong Double(Random random)
    {
        ulong sign = (ulong)random.Next(2) << 63;
        ulong fraction = random.Next(3) switch
        {
            0 => (ulong)random.NextInt64(1L << 52),
            1 => (ulong)random.Next(1 << 26) << 26,
            _ => 0xF_FFFF_FFFF_FFFF & ~(1ul << random.Next(52)),
        };
        return random.Next(5) switch
        {
            0 => sign | Edges64[random.Next(Edges64.Length)],
            1 => sign | fraction | ((ulong)random.Next(1023 - 4, 1023 + 56) << 52),
            2 => sign | fraction | ((ulong)random.Next(2048) << 52),
            3 => sign | fraction | ((ulong)random.Next(1023 - 160, 1023 + 140) << 52),
            _ => sign | fraction | ((ulong)random.Next(1023 - 2, 1023 + 3) << 52),
        };
    }

    private static Vector128<byte> Integers(Random random)
    {
        Span<byte> bytes = stackalloc byte[16];
        random.NextBytes(bytes);
        Vector128<byte> value = Vector128.Create((ReadOnlySpan<byte>)bytes);
        return random.Next(4) switch
        {
            0 => Vector128.GreaterThan(value, Vector128.Create((byte)128)) ^ Vector128.Create((byte)(random.Next(2) * 128)),
            1 => Vector128.Create((ulong)random.Next(80), (ulong)random.NextInt64()).AsByte(),
            _ => value,
        };
    }
}
