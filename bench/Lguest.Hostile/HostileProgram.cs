// Programs for a hostile Guest: what its kernel or its users could execute to get out. Segment registers with any selector, far jumps and
// returns to any ring, flags that step and trap and check alignment, stores into the code that is running, strings that run into
// the next page, hypercalls in between, and plain noise.

using System.Buffers.Binary;
using static Lguest.Hostile.HostileLayout;

namespace Lguest.Hostile;

/// <summary>Writes a random program byte by byte.</summary>
/// <param name="values">Draws the operands.</param>
/// <param name="bytes">Where it goes.</param>
internal ref struct HostileProgram(HostileValues values, Span<byte> bytes)
{
    private static readonly byte[][] Rare =
    [
        [0xF4], [0xFA], [0xFB], [0xF1], [0xCC], [0xCE], [0xCF], [0xCB], [0x9D], [0x9C], [0x0F, 0x01, 0xD0], [0x0F, 0x34], [0x0F, 0x35], [0x0F, 0x05],
        [0x0F, 0x32], [0x0F, 0x30], [0x0F, 0x31], [0x0F, 0xA2], [0x0F, 0x08], [0x0F, 0x09], [0x0F, 0x06], [0x0F, 0x0B], [0x0F, 0xAA],
        [0x0F, 0x20, 0xC0], [0x0F, 0x22, 0xD8], [0x0F, 0x21, 0xF8], [0x0F, 0x23, 0xF8], [0x0F, 0x00, 0xD0], [0x0F, 0x00, 0xD8], [0x0F, 0x00, 0xE0],
        [0x0F, 0x02, 0xC0], [0x0F, 0x03, 0xC0], [0x0F, 0x01, 0x10], [0x0F, 0x01, 0x18], [0x0F, 0x01, 0x00], [0x0F, 0x01, 0x38], [0x0F, 0x01, 0xF0],
        [0xE4, 0x60], [0xEC], [0xED], [0xEE], [0x66, 0xEF], [0x6C], [0x6F], [0xF3, 0x6E], [0xF3, 0xA4], [0xF3, 0xAB], [0xF2, 0xAE], [0x67, 0xF3, 0xA5], [0xFD], [0xFC],
        [0xC8, 0xFF, 0xFF, 0x1F], [0xC9], [0x61], [0x60], [0x62, 0x03], [0x63, 0xC0], [0x17], [0x07], [0x1F], [0x0F, 0xA1], [0x0F, 0xA9], [0x16], [0x0E],
        [0x0F, 0xAE, 0x00], [0x0F, 0xAE, 0x08], [0xDD, 0x20], [0xDD, 0x30], [0xD9, 0x20], [0xD9, 0x30], [0xDB, 0xE3], [0xD9, 0xC0], [0x9B], [0x0F, 0x77], [0x0F, 0x28, 0x03],
        [0x0F, 0xC7, 0x0B], [0xF0, 0x0F, 0xB1, 0x0B], [0xF0, 0x90], [0xF7, 0xF3], [0xD4, 0x00], [0x27], [0x37], [0xD7], [0xC4, 0x03], [0xC5, 0x03], [0x0F, 0xB2, 0x23],
        [0xFF, 0x2B], [0xFF, 0x1B], [0xFF, 0xE0], [0xC3], [0xC2, 0xFF, 0xFF], [0xCA, 0x04, 0x00], [0xE2, 0xFE], [0xEB, 0xFE], [0x66, 0xCF], [0x66, 0x9D],
    ];

    private readonly Span<byte> bytes = bytes;
    private int length;

    /// <summary>Fills the bytes with a program; its last instruction is at least begun.</summary>
    public void Write()
    {
        while (length < bytes.Length - 64)
        {
            Instruction();
            Load((byte)values.Random.Next(8), values.Random.Next(3) == 0 ? values.Any() : values.Address());
        }
        bytes[length..].Fill(0xF1);
    }

    private void Instruction()
    {
        Random random = values.Random;
        switch (random.Next(16))
        {
            case 0 or 1 or 2:
                Load(0, values.Seldom(20) ? (uint)random.Next(32) : (uint)random.Next(3, 17));
                Load(2, values.Directory());
                Load(3, values.Address());
                Load(1, values.Entry());
                Emit(0xCD, 0x1F);
                break;
            case 3:
                // mov [address], imm32
                Emit(0xC7, 0x05);
                Word(values.Virtual());
                Word(values.Entry());
                break;
            case 4:
                Emit(0xA1);
                Word(values.Address());
                break;
            case 5 or 6:
                Load(0, values.Selector());
                Emit(0x8E, (byte)(0xC0 | (random.Next(6) << 3)));
                break;
            case 7:
                // jmp or call far
                Emit((byte)(random.Next(2) == 0 ? 0xEA : 0x9A));
                Word(values.Virtual());
                Half(values.Selector());
                break;
            case 8 or 9:
                ReturnFrame();
                break;
            case 10:
                // push imm32; popf
                Emit(0x68);
                Word(values.Any() & 0x3F_7FD7);
                Emit(0x9D);
                break;
            case 11:
                Emit(0xCD, (byte)random.Next(256));
                break;
            case 12:
                Span<byte> noise = stackalloc byte[random.Next(1, 8)];
                random.NextBytes(noise);
                noise.CopyTo(bytes[length..]);
                length += noise.Length;
                break;
            default:
                byte[] rare = Rare[random.Next(Rare.Length)];
                rare.CopyTo(bytes[length..]);
                length += rare.Length;
                break;
        }
    }

    /// <summary>push ss, esp, eflags, cs, eip; iret (or retf, which finds less).</summary>
    private void ReturnFrame()
    {
        bool user = values.Random.Next(3) != 0;
        Push(user ? 0x7Bu : values.Selector());
        Push(user ? UserVirtual + 0xFF0 : values.Virtual());
        Push(values.Any() & 0x3F_7FD7 & (values.Seldom(3) ? ~0u : ~0x100u));
        Push(user ? 0x73u : values.Selector());
        Push(user ? UserVirtual : values.Virtual());
        Emit((byte)(values.Seldom() ? 0xCB : 0xCF));
    }

    private void Push(uint value)
    {
        Emit(0x68);
        Word(value);
    }

    private void Load(byte register, uint value)
    {
        // A stack pointer of noise ends most programs at once.
        if (register == 4 && !values.Seldom(6))
        {
            return;
        }
        Emit((byte)(0xB8 | register));
        Word(value);
    }

    private void Emit(params ReadOnlySpan<byte> code)
    {
        code.CopyTo(bytes[length..]);
        length += code.Length;
    }

    private void Half(ushort value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[length..], value);
        length += sizeof(ushort);
    }

    private void Word(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[length..], value);
        length += sizeof(uint);
    }
}
