// What 64-bit mode has lost or changed: decimals, one-byte INC and DEC, PUSHA, 16-bit addresses and operands of stack and control
// instructions, segment overrides.

using System.Buffers.Binary;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

public sealed class UnicornIntegerTests : IDisposable
{
    private const int Rounds = 60;

    private readonly UnicornDifference difference = new();

    public void Dispose() => difference.Dispose();

    private Random Random => difference.Random;

    private byte[] OperandSizePrefix() => Random.Next(2) == 0 ? [] : [0x66];

    private byte[] RandomBytes(int count)
    {
        byte[] bytes = new byte[count];
        Random.NextBytes(bytes);
        return bytes;
    }

    [Theory]
    [InlineData("DAA", 0x27, Eflags.Overflow)]
    [InlineData("DAS", 0x2F, Eflags.Overflow)]
    [InlineData("AAA", 0x37, Eflags.Overflow | Eflags.Sign | Eflags.Zero | Eflags.Parity)]
    [InlineData("AAS", 0x3F, Eflags.Overflow | Eflags.Sign | Eflags.Zero | Eflags.Parity)]
    public void AdjustsDecimals(string name, byte opcode, uint undefined)
    {
        for (int al = 0; al < 256; al++)
        {
            for (int flags = 0; flags < 4; flags++)
            {
                NativeState state = difference.Prepare();
                state.General[0] = (state.General[0] & 0xFFFF_FF00) | (uint)al;
                state.Eflags &= ~(Eflags.Carry | Eflags.Adjust);
                state.Eflags |= ((flags & 1) != 0 ? Eflags.Carry : 0) | ((flags & 2) != 0 ? Eflags.Adjust : 0);
                difference.Check(name, [opcode], state, undefined);
            }
        }
    }

    [Theory]
    [InlineData("AAM", 0xD4)]
    [InlineData("AAD", 0xD5)]
    public void ConvertsDecimals(string name, byte opcode)
    {
        for (int radix = 0; radix < 256; radix++)
        {
            difference.Check(name, [opcode, (byte)radix], difference.Prepare(), Eflags.Overflow | Eflags.Adjust | Eflags.Carry);
        }
    }

    [Fact]
    public void OneByteForms()
    {
        foreach (byte opcode in (byte[])[0xD6, 0x60, 0x61, 0xC9, 0x9E, 0x9F, 0xF5, 0xF8, 0xF9, 0xFC, 0xFD, 0x98, 0x99])
        {
            for (int round = 0; round < Rounds; round++)
            {
                difference.Check("one byte", [.. OperandSizePrefix(), opcode], difference.Prepare());
            }
        }
        // INC, DEC, PUSH and POP of each register.
        for (byte opcode = 0x40; opcode < 0x60; opcode++)
        {
            for (int round = 0; round < 8; round++)
            {
                difference.Check("one byte", [.. OperandSizePrefix(), opcode], difference.Prepare());
            }
        }
    }

    [Fact]
    public void PushesImmediatesAndMemory()
    {
        for (int round = 0; round < Rounds; round++)
        {
            byte[] prefix = OperandSizePrefix();
            difference.Check("PUSH", [.. prefix, 0x6A, .. RandomBytes(1)], difference.Prepare());
            difference.Check("PUSH", [.. prefix, 0x68, .. RandomBytes(prefix.Length == 0 ? 4 : 2)], difference.Prepare());
            // [esp + n] on both sides of the stack pointer: read before PUSH moves it, written after POP has.
            difference.Check("PUSH", [.. prefix, 0xFF, 0x74, 0x24, (byte)Random.Next(-16, 16)], difference.Prepare());
            difference.Check("POP", [.. prefix, 0x8F, 0x44, 0x24, (byte)Random.Next(-16, 16)], difference.Prepare());
            difference.Check("POP", [.. prefix, 0x8F, 0x45, (byte)Random.Next(-16, 16)], difference.Prepare());
            difference.Check("POP", [.. prefix, 0x8F, (byte)(0xC0 + Random.Next(8))], difference.Prepare());
            difference.Check("PUSH", [.. prefix, 0xFF, (byte)(0xF0 + Random.Next(8))], difference.Prepare());
        }
    }

    [Fact]
    public void EntersNestedProcedures()
    {
        for (int round = 0; round < 4 * Rounds; round++)
        {
            difference.Check("ENTER", [.. OperandSizePrefix(), 0xC8, (byte)Random.Next(200), 0, (byte)Random.Next(64)], difference.Prepare());
        }
    }

    [Fact]
    public void KeepsFlagsOnTheStack()
    {
        for (int round = 0; round < Rounds; round++)
        {
            byte[] prefix = OperandSizePrefix();
            NativeState state = difference.Prepare();
            difference.Check("PUSHF", [.. prefix, 0x9C], state);
            const uint harmless = Eflags.Status | Eflags.Direction | Eflags.Identification | Eflags.NestedTask | 0x8028;
            byte[] flags = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(flags, (uint)Random.Next() & harmless);
            difference.Write(state.General[(int)Register32.Esp], flags);
            difference.Check("POPF and PUSHF", [.. prefix, 0x9D, 0x9C], state, instructions: 2);
        }
    }

    [Fact]
    public void BranchesOnEveryCondition()
    {
        for (byte condition = 0; condition < 16; condition++)
        {
            for (int round = 0; round < 20; round++)
            {
                difference.Check("Jcc", [(byte)(0x70 + condition), (byte)Random.Next(256)], difference.Prepare());
                byte[] near = [0x0F, (byte)(0x80 + condition), (byte)Random.Next(256), (byte)Random.Next(0x40)];
                difference.Check("Jcc", [0x66, .. near], difference.Prepare());
                difference.Check("Jcc", [.. near, 0, 0], difference.Prepare());
            }
        }
    }

    [Fact]
    public void LoopsAndCounters()
    {
        for (byte opcode = 0xE0; opcode < 0xE4; opcode++)
        {
            for (int round = 0; round < Rounds; round++)
            {
                NativeState state = difference.Prepare();
                state.General[(int)Register32.Ecx] = Random.Next(3) switch
                {
                    0 => (uint)Random.Next(3),
                    1 => (uint)Random.Next(3) << 16 | (uint)Random.Next(3),
                    _ => state.General[(int)Register32.Ecx],
                };
                byte[] prefix = Random.Next(2) == 0 ? [] : [0x67];
                difference.Check("LOOP", [.. OperandSizePrefix(), .. prefix, opcode, (byte)Random.Next(256)], state);
            }
        }
    }

    [Fact]
    public void CallsJumpsAndReturns()
    {
        for (int round = 0; round < Rounds; round++)
        {
            byte[] prefix = OperandSizePrefix();
            byte[] distance = [(byte)Random.Next(256), (byte)Random.Next(0x40), .. prefix.Length == 0 ? (byte[])[0, 0] : []];
            difference.Check("CALL", [.. prefix, 0xE8, .. distance], difference.Prepare());
            difference.Check("JMP", [.. prefix, 0xE9, .. distance], difference.Prepare());
            difference.Check("JMP", [.. prefix, 0xEB, (byte)Random.Next(256)], difference.Prepare());

            NativeState state = difference.Prepare();
            state.General[(int)Register32.Esi] = (uint)Random.Next(0x9000);
            difference.Check("CALL", [.. prefix, 0xFF, 0xD6], state);
            difference.Check("JMP", [.. prefix, 0xFF, 0xE6], state);

            byte[] target = [(byte)Random.Next(256), (byte)Random.Next(0x90), .. prefix.Length == 0 ? (byte[])[0, 0] : RandomBytes(2)];
            difference.Write(state.General[(int)Register32.Esp], target);
            difference.Check("JMP", [.. prefix, 0xFF, 0x24, 0x24], state);
            difference.Check("RET", [.. prefix, 0xC3], state);
            difference.Check("RET", [.. prefix, 0xC2, (byte)Random.Next(256), 0], state);
            difference.Check("CALL", [.. prefix, 0xFF, 0x14, 0x24], state);
        }
    }

    [Fact]
    public void ChecksBounds()
    {
        for (int round = 0; round < Rounds; round++)
        {
            byte[] prefix = OperandSizePrefix();
            NativeState state = difference.Prepare();
            state.General[(int)Register32.Eax] = (uint)Random.Next(-4, 5);
            byte[] bounds = new byte[8];
            int size = prefix.Length == 0 ? 4 : 2;
            BinaryPrimitives.WriteInt32LittleEndian(bounds, Random.Next(-4, 1));
            BinaryPrimitives.WriteInt32LittleEndian(bounds.AsSpan(size), Random.Next(0, 5));
            difference.Write(StackTop(state), bounds);
            difference.Check("BOUND", [.. prefix, 0x62, 0x04, 0x24], state);
        }
    }

    private static uint StackTop(in NativeState state) => state.General[(int)Register32.Esp];

    // Operands with 16-bit addresses lie anywhere in the first 64 KiB; the ones that would hit the instruction itself are left out.
    [Theory]
    [InlineData("LEA", new byte[] { 0x8D })]
    [InlineData("MOV", new byte[] { 0x8B })]
    [InlineData("ADD", new byte[] { 0x01 })]
    [InlineData("BTC", new byte[] { 0x0F, 0xBB })]
    [InlineData("PUSH", new byte[] { 0xFF })]
    public void SixteenBitAddresses(string name, byte[] opcode)
    {
        for (int modRm = 0; modRm < 0xC0; modRm++)
        {
            if (name == "PUSH" && (modRm & 0x38) != 0x30)
            {
                continue;
            }
            for (int round = 0; round < 4; round++)
            {
                NativeState state = difference.Prepare();
                byte[] code =
                [
                    .. Random.Next(3) == 0 ? (byte[])[0x64] : [],
                    .. OperandSizePrefix(), 0x67, .. opcode, (byte)modRm,
                    .. RandomBytes((modRm >> 6) switch { 1 => 1, 2 => 2, _ => (modRm & 7) == 6 ? 2 : 0 }),
                ];
                uint address = difference.MemoryOperand(code, state);
                if (address is > UnicornDifference.CodeAddress - 0x40 and < UnicornDifference.CodeAddress + 0x40)
                {
                    continue;
                }
                difference.Check(name, code, state, opcode[0] == 0x0F ? Eflags.Overflow | Eflags.Sign | Eflags.Adjust | Eflags.Parity : 0);
            }
        }
    }

    [Fact]
    public void AbsoluteAddressesAndOverrides()
    {
        for (int round = 0; round < Rounds; round++)
        {
            byte[] prefix = [.. Random.Next(2) == 0 ? (byte[])[] : [0x64], .. OperandSizePrefix()];
            for (byte opcode = 0xA0; opcode < 0xA4; opcode++)
            {
                difference.Check("MOV", [.. prefix, opcode, (byte)Random.Next(256), (byte)Random.Next(0x90), 0, 0], difference.Prepare());
                difference.Check("MOV", [.. prefix, 0x67, opcode, (byte)Random.Next(256), (byte)Random.Next(0x90)], difference.Prepare());
            }
            NativeState state = difference.Prepare();
            state.General[(int)Register32.Ebx] = (uint)Random.Next() & 0x7FFF;
            difference.Check("XLAT", [.. prefix, 0xD7], state);
            difference.Check("XLAT", [.. prefix, 0x67, 0xD7], difference.Prepare());
        }
    }

    [Theory]
    [InlineData("MOVS", 0xA4)]
    [InlineData("CMPS", 0xA6)]
    [InlineData("STOS", 0xAA)]
    [InlineData("LODS", 0xAC)]
    [InlineData("SCAS", 0xAE)]
    public void StringsWithSixteenBitAddresses(string name, byte opcode)
    {
        for (int round = 0; round < 4 * Rounds; round++)
        {
            NativeState state = difference.Prepare();
            state.General[(int)Register32.Ecx] = (state.General[(int)Register32.Ecx] & 0xFFFF_0000) | (uint)Random.Next(8);
            // Around the wrap at 64 KiB.
            state.General[(int)Register32.Esi] = (state.General[(int)Register32.Esi] & 0xFFFF_0000) | (ushort)(4 * Random.Next(-6, 7));
            state.General[(int)Register32.Edi] = (state.General[(int)Register32.Edi] & 0xFFFF_0000) | (ushort)(4 * Random.Next(-6, 7));
            state.Eflags |= Random.Next(2) == 0 ? Eflags.Direction : 0;
            byte[] repeat = Random.Next(3) switch { 0 => [], 1 => [0xF3], _ => [0xF2] };
            byte[] code = [.. repeat, .. Random.Next(2) == 0 ? (byte[])[0x64] : [], .. OperandSizePrefix(), 0x67, (byte)(opcode + Random.Next(2))];
            difference.CheckToEnd(name, code, state);
        }
    }
}
