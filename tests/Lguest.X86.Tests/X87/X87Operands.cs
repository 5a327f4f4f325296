// Operands that find mistakes: every class of number and encoding, values next to the edges of formats, and patterns of bits that
// round in every way.

using System.Buffers.Binary;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.X87;

/// <summary>Random x87 operands and states; the seed is printed with a failure.</summary>
internal sealed class X87Operands(int seed)
{
    private static readonly ushort[] EdgeExponents =
    [
        0, 0, 1, 2, 0x3C00, 0x3C01, 0x3BCC, 0x3BFF, 0x3F80, 0x3F81, 0x3F69, 0x3F6A, 0x3FBE, 0x3FBF, 0x3FFD, 0x3FFE, 0x3FFF, 0x4000,
        0x400D, 0x400E, 0x400F, 0x401D, 0x401E, 0x401F, 0x403D, 0x403E, 0x403F, 0x407E, 0x407F, 0x43FE, 0x43FF, 0x7FFD, 0x7FFE, 0x7FFF, 0x7FFF,
    ];

    private static readonly ulong[] EdgeSignificands =
    [
        0, 1, 0x8000_0000_0000_0000, 0x8000_0000_0000_0001, 0xFFFF_FFFF_FFFF_FFFF, 0xC000_0000_0000_0000, 0xBFFF_FFFF_FFFF_FFFF,
        0x7FFF_FFFF_FFFF_FFFF, 0x4000_0000_0000_0000, 0xFFFF_FFFF_FFFF_FC00, 0xFFFF_FFFF_FFFF_F800, 0xFFFF_FF80_0000_0000,
        0x8000_0080_0000_0000, 0x8000_0000_0000_0400, 0xFFFF_FFFF_0000_0000, 0xA000_0000_0000_0000, 0xC90F_DAA2_2168_C235,
    ];

    private readonly Random random = new(seed);

    public Random Random => random;

    public int Seed => seed;

    /// <summary>A significand: edge, sparse, dense or uniform.</summary>
    public ulong Significand() => random.Next(6) switch
    {
        0 => EdgeSignificands[random.Next(EdgeSignificands.Length)],
        1 => 0x8000_0000_0000_0000 | (1UL << random.Next(64)) | (1UL << random.Next(64)),
        2 => ulong.MaxValue << random.Next(64),
        3 => (ulong)random.NextInt64() & (ulong.MaxValue << random.Next(64)) | 0x8000_0000_0000_0000,
        _ => (ulong)random.NextInt64() | 0x8000_0000_0000_0000,
    };

    /// <summary>Any encoding.</summary>
    public Float80 Any()
    {
        int exponent = random.Next(4) switch
        {
            0 => EdgeExponents[random.Next(EdgeExponents.Length)],
            1 => random.Next(0x8000),
            _ => 0x3FFF + random.Next(-80, 80),
        };
        ulong significand = Significand();
        if (random.Next(12) == 0)
        {
            significand = (ulong)random.NextInt64();
        }
        return new Float80((ushort)(exponent | (random.Next(2) << 15)), significand);
    }

    /// <summary>A normal number whose exponent is near that of another.</summary>
    public Float80 Near(Float80 other, int distance)
    {
        int exponent = Math.Clamp((other.SignExponent & 0x7FFF) + random.Next(-distance, distance + 1), 0, 0x7FFF);
        return new Float80((ushort)(exponent | (random.Next(2) << 15)), random.Next(8) == 0 ? other.Significand : Significand());
    }

    /// <summary>A normal number from 2^least to 2^most.</summary>
    public Float80 Magnitude(int least, int most) =>
        new((ushort)((16383 + random.Next(least, most)) | (random.Next(2) << 15)), Significand() | 1UL << 63);

    /// <summary>A second operand: anything, or near the first.</summary>
    public Float80 Partner(Float80 first) => random.Next(3) switch
    {
        0 => Any(),
        1 => Near(first, 3),
        _ => Near(first, 70),
    };

    /// <summary>A control word with all exceptions masked, or with some unmasked.</summary>
    public ushort ControlWord(bool unmasked = false) =>
        (ushort)((random.Next(16) << 8) | (unmasked ? 0x40 | random.Next(64) : 0x7F));

    /// <summary>A state with a full stack of random numbers, or with random tags.</summary>
    public NativeState State(bool full = true, bool unmasked = false)
    {
        var state = new NativeState
        {
            ControlWord = ControlWord(unmasked),
            StatusWord = (ushort)(random.Next(0x10000) & 0x7F00),
            ValidTags = full ? (byte)0xFF : (byte)random.Next(256),
            Eflags = (uint)random.Next() & X86.State.Eflags.Status,
        };
        state.General[0] = (uint)random.Next();
        Float80 first = Any();
        state.SetSt(0, first);
        for (int i = 1; i < 8; i++)
        {
            state.SetSt(i, Partner(first));
        }
        return state;
    }

    /// <summary>Fills memory with an operand of a kind, sometimes close to a number, and random bytes behind it.</summary>
    public void FillMemory(Span<byte> memory, Float80 near, MemorySize kind)
    {
        random.NextBytes(memory);
        switch (kind)
        {
            case MemorySize.Float32:
                BinaryPrimitives.WriteUInt32LittleEndian(memory, (uint)Narrow(near, 23, 8));
                break;
            case MemorySize.Float64:
                BinaryPrimitives.WriteUInt64LittleEndian(memory, Narrow(near, 52, 11));
                break;
            case MemorySize.Float80:
                Float80 value = Any();
                BinaryPrimitives.WriteUInt64LittleEndian(memory, value.Significand);
                BinaryPrimitives.WriteUInt16LittleEndian(memory[8..], value.SignExponent);
                break;
            case MemorySize.Bcd:
                for (int i = 0; i < 9; i++)
                {
                    memory[i] = (byte)((random.Next(10) << 4) | random.Next(10));
                }
                memory[9] &= 0x80;
                break;
            default:
                BinaryPrimitives.WriteInt64LittleEndian(memory, random.Next(4) == 0 ? random.Next(-2, 3) : random.NextInt64() >> random.Next(64));
                break;
        }
    }

    /// <summary>A number of a narrow format: random, an edge, or next to a given one.</summary>
    private ulong Narrow(Float80 near, int fractionBits, int exponentBits)
    {
        int max = (1 << exponentBits) - 1;
        int exponent = random.Next(4) switch
        {
            0 => random.Next(2) * max,
            1 => Math.Clamp((near.SignExponent & 0x7FFF) - 16383 + (max >> 1), 0, max),
            2 => random.Next(3) + ((max - 3) * random.Next(2)),
            _ => random.Next(max + 1),
        };
        ulong fraction = random.Next(5) switch
        {
            0 => 0,
            1 => (near.Significand << 1) >> (64 - fractionBits),
            2 => 1UL << random.Next(fractionBits),
            _ => (ulong)random.NextInt64() >> (63 - fractionBits),
        };
        ulong sign = (ulong)random.Next(2) << (fractionBits + exponentBits);
        return sign | ((ulong)exponent << fractionBits) | (fraction & ((1UL << fractionBits) - 1));
    }
}
