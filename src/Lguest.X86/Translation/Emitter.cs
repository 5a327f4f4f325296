// Writes host machine code, byte by byte. Iced has an assembler too, and a good one, but it builds an object for each instruction; code
// that is translated while a Guest waits for it has no time for that. So this file knows the little of the x86-64 encoding that the
// translator needs - prefixes, opcode, ModRM, SIB, displacement - and Iced reads in tests what it wrote.

using System.Runtime.CompilerServices;

namespace Lguest.X86.Translation;

/// <summary>Number of a host register in the instruction encoding.</summary>
internal enum HostRegister : sbyte
{
    None = -1,
    Rax, Rcx, Rdx, Rbx, Rsp, Rbp, Rsi, Rdi,
    R8, R9, R10, R11, R12, R13, R14, R15,
}

/// <summary>The r/m operand of a host instruction: a register, or memory at base + index * scale + displacement.</summary>
/// <param name="Register">The register, or None for memory.</param>
/// <param name="Base">Base register or None.</param>
/// <param name="Index">Index register or None.</param>
/// <param name="Scale">Left shift of the index, 0 to 3.</param>
/// <param name="Displacement">Displacement in bytes.</param>
internal readonly record struct HostOperand(HostRegister Register, HostRegister Base, HostRegister Index, int Scale, int Displacement)
{
    public static implicit operator HostOperand(HostRegister register) =>
        new(register, HostRegister.None, HostRegister.None, 0, 0);

    /// <summary>Memory at base + displacement.</summary>
    public static HostOperand At(HostRegister baseRegister, int displacement) =>
        new(HostRegister.None, baseRegister, HostRegister.None, 0, displacement);

    /// <summary>Memory at base + index * 2^scale + displacement.</summary>
    public static HostOperand At(HostRegister baseRegister, HostRegister index, int scale = 0, int displacement = 0) =>
        new(HostRegister.None, baseRegister, index, scale, displacement);
}

/// <summary>Arithmetic of the first opcode column, in the order of the instruction encoding.</summary>
internal enum Alu
{
    Add, Or, AddCarry, SubtractBorrow, And, Subtract, Xor, Compare,
}

/// <summary>Conditions that the translator's own branches test, by their number in the instruction encoding.</summary>
internal static class HostCondition
{
    public const int Below = 2;
    public const int AboveOrEqual = 3;
    public const int Equal = 4;
    public const int NotEqual = 5;
    public const int BelowOrEqual = 6;
    public const int Above = 7;
    public const int Less = 12;
}

/// <summary>Appends host instructions at a cursor that its owner keeps inside the code arena.</summary>
internal sealed unsafe class Emitter
{
    /// <summary>Where the next byte goes.</summary>
    public byte* Cursor { get; set; }

    /// <summary>
    /// Registers, by the bit of their number, that instructions have named other than in addresses since this was set; after a call all. What is written
    /// byte by byte says nothing, and must leave R10 and R11 alone.
    /// </summary>
    public uint Used { get; set; }

    public void Byte(int value)
    {
        // SAFETY: the translator reserves room for the largest block before it begins one; so in all methods here.
        unsafe
        {
            *Cursor++ = (byte)value;
        }
    }

    public void Word(int value)
    {
        // SAFETY: as in Byte.
        unsafe
        {
            Unsafe.WriteUnaligned(Cursor, (short)value);
            Cursor += 2;
        }
    }

    public void DoubleWord(int value)
    {
        // SAFETY: as in Byte.
        unsafe
        {
            Unsafe.WriteUnaligned(Cursor, value);
            Cursor += 4;
        }
    }

    public void QuadWord(long value)
    {
        // SAFETY: as in Byte.
        unsafe
        {
            Unsafe.WriteUnaligned(Cursor, value);
            Cursor += 8;
        }
    }

    /// <summary>An instruction with a ModRM byte.</summary>
    /// <param name="size">
    /// Operand size in bytes: 1, 2, 4 or 8. The opcode of the 8-bit form is the caller's business; in it RSP, RBP, RSI and RDI name AH, CH, DH
    /// and BH, since they never get the REX prefix that would make them SPL to DIL.
    /// </param>
    /// <param name="opcode">One to three opcode bytes, the first in the highest place.</param>
    /// <param name="reg">The reg field: a register's number or an opcode extension.</param>
    /// <param name="rm">The other operand.</param>
    /// <param name="prefix">A mandatory prefix, or 0.</param>
    public void Instruction(int size, int opcode, int reg, in HostOperand rm, int prefix = 0)
    {
        if (size == 2)
        {
            Byte(0x66);
        }
        if (prefix != 0)
        {
            Byte(prefix);
        }
        Rex(size, reg, rm);
        if (opcode > 0xFFFF)
        {
            Byte(opcode >> 16);
        }
        if (opcode > 0xFF)
        {
            Byte(opcode >> 8);
        }
        Byte(opcode);
        ModRm(reg, rm);
        NoteUse((HostRegister)reg);
        NoteUse(rm.Register);
    }

    private void NoteUse(HostRegister register) => Used |= register == HostRegister.None ? 0 : 1u << (int)register;

    private void Rex(int size, int reg, in HostOperand rm)
    {
        bool register = rm.Register != HostRegister.None;
        int rex = size == 8 ? 8 : 0;
        rex |= (reg & 8) >> 1;
        if (register)
        {
            rex |= ((int)rm.Register & 8) >> 3;
        }
        else
        {
            rex |= rm.Index == HostRegister.None ? 0 : ((int)rm.Index & 8) >> 2;
            rex |= rm.Base == HostRegister.None ? 0 : ((int)rm.Base & 8) >> 3;
        }
        if (rex != 0)
        {
            Byte(0x40 | rex);
        }
    }

    private void ModRm(int reg, in HostOperand rm)
    {
        const int sibFollows = 4;
        const int noIndex = 4;
        const int noBase = 5;
        reg = (reg & 7) << 3;
        if (rm.Register != HostRegister.None)
        {
            Byte(0xC0 | reg | ((int)rm.Register & 7));
            return;
        }
        int index = rm.Index == HostRegister.None ? noIndex : (int)rm.Index & 7;
        if (rm.Base == HostRegister.None)
        {
            Byte(reg | sibFollows);
            Byte((rm.Scale << 6) | (index << 3) | noBase);
            DoubleWord(rm.Displacement);
            return;
        }
        int low = (int)rm.Base & 7;
        bool isShort = rm.Displacement == (sbyte)rm.Displacement;
        int mod = rm.Displacement == 0 && low != noBase ? 0 : isShort ? 0x40 : 0x80;
        if (rm.Index != HostRegister.None || low == sibFollows)
        {
            Byte(mod | reg | sibFollows);
            Byte((rm.Scale << 6) | (index << 3) | low);
        }
        else
        {
            Byte(mod | reg | low);
        }
        if (mod == 0x40)
        {
            Byte(rm.Displacement);
        }
        else if (mod == 0x80)
        {
            DoubleWord(rm.Displacement);
        }
    }

    public void Move(HostRegister to, HostRegister from, int size = 4) => Instruction(size, 0x8B, (int)to, from);

    public void MoveImmediate(HostRegister to, uint value)
    {
        if ((int)to >= 8)
        {
            Byte(0x41);
        }
        Byte(0xB8 | ((int)to & 7));
        DoubleWord((int)value);
        NoteUse(to);
    }

    /// <summary>Returns where the eight bytes of the value are.</summary>
    public byte* MoveImmediate64(HostRegister to, long value)
    {
        NoteUse(to);
        Byte(0x48 | ((int)to >> 3));
        Byte(0xB8 | ((int)to & 7));
        // SAFETY: the address is only kept.
        unsafe
        {
            byte* place = Cursor;
            QuadWord(value);
            return place;
        }
    }

    public void Load(HostRegister to, in HostOperand from, int size = 4) => Instruction(size, 0x8B, (int)to, from);

    public void Store(in HostOperand to, HostRegister from, int size = 4) => Instruction(size, size == 1 ? 0x88 : 0x89, (int)from, to);

    /// <summary>The address of memory, without changing flags.</summary>
    public void LoadAddress(HostRegister to, in HostOperand address, int size = 4)
    {
        if (address == HostOperand.At(address.Base, 0) && address.Base != HostRegister.None)
        {
            // Which costs the host no time at all.
            Move(to, address.Base, size);
            return;
        }
        Instruction(size, 0x8D, (int)to, address);
    }

    /// <summary>to = to op from, all sizes.</summary>
    public void Arithmetic(Alu operation, int size, HostRegister to, in HostOperand from) =>
        Instruction(size, ((int)operation << 3) | (size == 1 ? 2 : 3), (int)to, from);

    /// <summary>to = to op from, with the destination in the r/m place.</summary>
    public void ArithmeticStore(Alu operation, int size, in HostOperand to, HostRegister from) =>
        Instruction(size, ((int)operation << 3) | (size == 1 ? 0 : 1), (int)from, to);

    public void ArithmeticImmediate(Alu operation, int size, in HostOperand to, int value)
    {
        if (size == 1)
        {
            Instruction(1, 0x80, (int)operation, to);
            Byte(value);
        }
        else if (value == (sbyte)value)
        {
            Instruction(size, 0x83, (int)operation, to);
            Byte(value);
        }
        else
        {
            Instruction(size, 0x81, (int)operation, to);
            Immediate(size, value);
        }
    }

    /// <summary>An immediate operand as wide as the operand size, but never more than four bytes.</summary>
    public void Immediate(int size, int value)
    {
        switch (size)
        {
            case 1: Byte(value); break;
            case 2: Word(value); break;
            default: DoubleWord(value); break;
        }
    }

    public void Test(int size, in HostOperand left, HostRegister right) => Instruction(size, size == 1 ? 0x84 : 0x85, (int)right, left);

    public void TestImmediate(int size, in HostOperand left, int value)
    {
        Instruction(size, size == 1 ? 0xF6 : 0xF7, 0, left);
        Immediate(size, value);
    }

    /// <summary>A bit of a register into the carry flag.</summary>
    public void BitTest(HostRegister register, int bit)
    {
        Instruction(4, 0x0FBA, 4, register);
        Byte(bit);
    }

    /// <summary>A shift or rotate by its number in the encoding.</summary>
    public void Shift(int operation, HostRegister register, int count)
    {
        Instruction(4, 0xC1, operation, register);
        Byte(count);
    }

    public void ShiftLeft(HostRegister register, int count) => Shift(4, register, count);

    public void ShiftRight(HostRegister register, int count) => Shift(5, register, count);

    /// <summary>A jump with a 32-bit distance; returns where the distance is.</summary>
    public byte* Jump(byte* target)
    {
        // SAFETY: the target is only subtracted.
        unsafe
        {
            Byte(0xE9);
            return Distance(target);
        }
    }

    /// <summary>A call; returns where the distance is.</summary>
    public byte* Call(byte* target)
    {
        // SAFETY: as in Jump.
        unsafe
        {
            Used = uint.MaxValue;
            Byte(0xE8);
            return Distance(target);
        }
    }

    /// <summary>A conditional jump with a 32-bit distance; returns where the distance is.</summary>
    public byte* JumpIf(int condition, byte* target)
    {
        // SAFETY: as in Jump.
        unsafe
        {
            Byte(0x0F);
            Byte(0x80 | condition);
            return Distance(target);
        }
    }

    private byte* Distance(byte* target)
    {
        // SAFETY: as in Jump.
        unsafe
        {
            byte* place = Cursor;
            DoubleWord((int)(target - (place + 4)));
            return place;
        }
    }

    /// <summary>Lets a jump lead elsewhere.</summary>
    public static void Patch(byte* distance, byte* target)
    {
        // SAFETY: the distance is one that Jump, Call or JumpIf returned.
        unsafe
        {
            Unsafe.WriteUnaligned(distance, (int)(target - (distance + 4)));
        }
    }

    /// <summary>Where a jump leads.</summary>
    public static byte* Target(byte* distance)
    {
        // SAFETY: as in Patch.
        unsafe
        {
            return distance + 4 + Unsafe.ReadUnaligned<int>(distance);
        }
    }

    /// <summary>An instruction of one to five bytes that does nothing.</summary>
    public void NoOperation(int bytes)
    {
        switch (bytes)
        {
            case 1: Byte(0x90); break;
            case 2: Byte(0x66); Byte(0x90); break;
            case 3: Byte(0x0F); Word(0x001F); break;
            case 4: Byte(0x0F); Byte(0x1F); Word(0x0040); break;
            case 5: Byte(0x0F); Byte(0x1F); Byte(0x44); Word(0); break;
            default: throw new ArgumentOutOfRangeException(nameof(bytes));
        }
    }

    /// <summary>The flags into AH and AL: LAHF, and OF by SETO.</summary>
    public void SaveFlags()
    {
        Byte(0x9F);
        Byte(0x0F);
        Byte(0x90);
        Byte(0xC0);
    }

    /// <summary>The flags back from AH and AL, which stay as they are: comparing AL with -127 overflows exactly when it is 1.</summary>
    public void RestoreFlags()
    {
        Byte(0x3C);
        Byte(0x81);
        Byte(0x9E);
    }
}
