// Operands that find mistakes: random ones, and many more than chance would give from the edges of each type.

using System.Buffers.Binary;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Differential;

/// <summary>Random and edge values.</summary>
internal sealed class ValueSource(Random random)
{
    private static readonly uint[] Integers =
        [0, 1, 2, 3, 0x7F, 0x80, 0x81, 0xFF, 0x100, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFE, 0xFFFF_FFFF];

    private static readonly uint[] Singles =
    [
        0, 0x3F80_0000, 0x4000_0000, 0x3F00_0000, 0x3FC0_0000, 0x7F80_0000, 0x7FC0_0000, 0x7FFF_FFFF, 0x7F80_0001, 0x7FA0_0000, 1, 2, 0x007F_FFFF,
        0x0080_0000, 0x0080_0001, 0x7F7F_FFFF, 0x3F7F_FFFF, 0x3F80_0001, 0x4EFF_FFFF, 0x4F00_0000, 0x4F7F_FFFF, 0x4B80_0001, 0x4700_0000, 0x3380_0000,
    ];

    private static readonly ulong[] Doubles =
    [
        0, 0x3FF0_0000_0000_0000, 0x4000_0000_0000_0000, 0x3FE0_0000_0000_0000, 0x3FF8_0000_0000_0000, 0x7FF0_0000_0000_0000, 0x7FF8_0000_0000_0000,
        0x7FF0_0000_0000_0001, 0x7FF4_0000_0000_0000, 1, 2, 0x000F_FFFF_FFFF_FFFF, 0x0010_0000_0000_0000, 0x0010_0000_0000_0001,
        0x7FEF_FFFF_FFFF_FFFF, 0x3FEF_FFFF_FFFF_FFFF, 0x41DF_FFFF_FFC0_0000, 0x41E0_0000_0000_0000, 0x41DF_FFFF_FFE0_0000, 0x43E0_0000_0000_0000,
        0x47EF_FFFF_E000_0000, 0x47EF_FFFF_F000_0000, 0x36A0_0000_0000_0000, 0x3690_0000_0000_0000, 0x380F_FFFF_FFFF_FFFF, 0x3FF0_0000_1000_0000,
    ];

    private static readonly (ushort SignExponent, ulong Significand)[] Extendeds =
    [
        (0, 0), (0x3FFF, 0x8000_0000_0000_0000), (0x4000, 0x8000_0000_0000_0000), (0x3FFE, 0x8000_0000_0000_0000), (0x3FFF, 0xC000_0000_0000_0000),
        (0x7FFF, 0x8000_0000_0000_0000), (0x7FFF, 0xC000_0000_0000_0000), (0x7FFF, 0xFFFF_FFFF_FFFF_FFFF), (0x7FFF, 0x8000_0000_0000_0001),
        (0x7FFF, 0xA000_0000_0000_0000), (0x7FFF, 0), (0x7FFF, 1), (0, 1), (0, 0x7FFF_FFFF_FFFF_FFFF), (0, 0x8000_0000_0000_0000), (0, 0x8000_0000_0000_0001),
        (1, 0x8000_0000_0000_0000), (1, 1), (0x3FFF, 1), (0x3FFF, 0x7FFF_FFFF_FFFF_FFFF), (0x7FFE, 0xFFFF_FFFF_FFFF_FFFF), (0x7FFE, 0x8000_0000_0000_0000),
        (0x3FFE, 0xFFFF_FFFF_FFFF_FFFF), (0x3FFF, 0x8000_0000_0000_0001), (0x401E, 0x8000_0000_0000_0000), (0x401D, 0xFFFF_FFFE_0000_0000),
        (0x403D, 0xFFFF_FFFF_FFFF_FFFE), (0x403E, 0x8000_0000_0000_0000), (0x403E, 0xFFFF_FFFF_FFFF_FFFF), (0x400E, 0x8000_0000_0000_0000), (0x400D, 0xFFFE_0000_0000_0000),
        (0x407F, 0x8000_0000_0000_0000), (0x407E, 0xFFFF_FFFF_FFFF_FFFF), (0x3F80, 0xFFFF_FF80_0000_0000), (0x43FF, 0x8000_0000_0000_0000), (0x43FE, 0xFFFF_FFFF_FFFF_FFFF),
        (0x3C00, 0xFFFF_FFFF_FFFF_FC00), (0x3C01, 0x8000_0000_0000_0000), (0x4000, 0xC90F_DAA2_2168_C235), (0x403A, 0xDE0B_6B3A_763F_FFF0),
    ];

    /// <summary>The random numbers behind.</summary>
    public Random Random { get; } = random;

    /// <summary>True once in <paramref name="n"/>.</summary>
    public bool OneIn(int n) => Random.Next(n) == 0;

    /// <summary>One of the given.</summary>
    public T Pick<T>(params ReadOnlySpan<T> choices) => choices[Random.Next(choices.Length)];

    /// <summary>A 32-bit integer.</summary>
    public uint NextUInt32() => Random.Next(4) switch
    {
        0 => Pick<uint>(Integers),
        1 => 1u << Random.Next(32),
        2 => (uint)Random.NextInt64() >> Random.Next(32),
        _ => (uint)Random.NextInt64(),
    };

    /// <summary>A 64-bit integer.</summary>
    public ulong NextUInt64() => OneIn(2) ? ((ulong)NextUInt32() << 32) | NextUInt32() : (ulong)Random.NextInt64() ^ ((ulong)Random.Next() << 40);

    /// <summary>The bits of a single.</summary>
    public uint NextSingle() => Sign32(Random.Next(5) switch
    {
        0 or 1 => Pick<uint>(Singles),
        2 => (uint)Random.NextInt64(),
        3 => BitConverter.SingleToUInt32Bits(Random.Next(-1000, 1000) / 4f),
        _ => ((uint)Random.Next(0x60, 0xA0) << 23) | ((uint)Random.Next() & 0x7F_FFFF),
    });

    /// <summary>The bits of a double.</summary>
    public ulong NextDouble() => Random.Next(5) switch
    {
        0 or 1 => Pick<ulong>(Doubles) | ((ulong)Random.Next(2) << 63),
        2 => (ulong)Random.NextInt64() | ((ulong)Random.Next(2) << 63),
        3 => BitConverter.DoubleToUInt64Bits(Random.Next(-1000, 1000) / 4.0),
        _ => ((ulong)Random.Next(0x370, 0x480) << 52) | ((ulong)Random.NextInt64() & 0xF_FFFF_FFFF_FFFF) | ((ulong)Random.Next(2) << 63),
    };

    /// <summary>An extended-precision number, unsupported encodings included.</summary>
    public Float80 NextFloat80()
    {
        ushort sign = (ushort)(Random.Next(2) << 15);
        switch (Random.Next(6))
        {
            case 0 or 1:
                (ushort exponent, ulong significand) = Pick<(ushort, ulong)>(Extendeds);
                return new Float80((ushort)(exponent | sign), significand);
            case 2:
                return new Float80((ushort)((Random.Next(0x8000)) | sign), (ulong)Random.NextInt64() | (OneIn(16) ? 0 : 0x8000_0000_0000_0000));
            case 3:
                int value = Random.Next(1, 1 << Random.Next(1, 20));
                int bits = 32 - System.Numerics.BitOperations.LeadingZeroCount((uint)value);
                return new Float80((ushort)((0x3FFF + bits - 1) | sign), (ulong)value << (64 - bits));
            default:
                return new Float80((ushort)(Random.Next(0x3FFF - 70, 0x3FFF + 70) | sign), (ulong)Random.NextInt64() << (OneIn(3) ? 11 : 0) | 0x8000_0000_0000_0000);
        }
    }

    /// <summary>The content of an SSE register.</summary>
    public Vector128<byte> NextXmm() => Random.Next(4) switch
    {
        0 => Vector128.Create(NextSingle(), NextSingle(), NextSingle(), NextSingle()).AsByte(),
        1 => Vector128.Create(NextDouble(), NextDouble()).AsByte(),
        2 => Vector128.Create(NextUInt32(), NextUInt32(), NextUInt32(), NextUInt32()).AsByte(),
        _ => Vector128.Create(NextUInt64(), NextUInt64()).AsByte(),
    };

    /// <summary>Fills memory with elements of the type that an instruction reads.</summary>
    public void Fill(Span<byte> memory, MemorySize element)
    {
        Span<byte> value = stackalloc byte[16];
        while (!memory.IsEmpty)
        {
            int size = WriteElement(value, element);
            size = Math.Min(size, memory.Length);
            value[..size].CopyTo(memory);
            memory = memory[size..];
        }
    }

    private int WriteElement(Span<byte> value, MemorySize element)
    {
        switch (element)
        {
            case MemorySize.Float32:
                BinaryPrimitives.WriteUInt32LittleEndian(value, NextSingle());
                return 4;
            case MemorySize.Float64:
                BinaryPrimitives.WriteUInt64LittleEndian(value, NextDouble());
                return 8;
            case MemorySize.Float80:
                Float80 number = NextFloat80();
                BinaryPrimitives.WriteUInt64LittleEndian(value, number.Significand);
                BinaryPrimitives.WriteUInt16LittleEndian(value[8..], number.SignExponent);
                return 10;
            case MemorySize.Bcd:
                for (int i = 0; i < 10; i++)
                {
                    value[i] = (byte)((Random.Next(10) << 4) | Random.Next(10));
                }
                value[9] = (byte)Random.Next(256);
                return 10;
            default:
                BinaryPrimitives.WriteUInt32LittleEndian(value, NextUInt32());
                return 4;
        }
    }

    private uint Sign32(uint value) => value | ((uint)Random.Next(2) << 31);
}
