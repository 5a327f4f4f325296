// Instructions whose operands must be chosen with care before the native CPU may run them: counts, quotients, bit offsets, addresses.

using System.Buffers.Binary;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

public sealed class NativeSpecialTests : IDisposable
{
    private const int Eax = (int)Register32.Eax;
    private const int Ecx = (int)Register32.Ecx;
    private const int Edx = (int)Register32.Edx;
    private const int Ebx = (int)Register32.Ebx;
    private const int Esi = (int)Register32.Esi;
    private const int Edi = (int)Register32.Edi;

    private readonly NativeDifference difference;

    public NativeSpecialTests()
    {
        Assert.SkipUnless(NativeCpu.IsSupported, "needs an x86-64 Linux host");
        difference = new NativeDifference(Random.Shared.Next());
    }

    public void Dispose() => difference.Dispose();

    [Theory]
    [InlineData(0, "ROL")]
    [InlineData(1, "ROR")]
    [InlineData(2, "RCL")]
    [InlineData(3, "RCR")]
    [InlineData(4, "SHL")]
    [InlineData(5, "SHR")]
    [InlineData(6, "SAL")]
    [InlineData(7, "SAR")]
    public void ShiftsByAnyCount(int digit, string name)
    {
        for (int count = 0; count < 256; count += count < 70 ? 1 : 37)
        {
            foreach (int size in (int[])[1, 2, 4])
            {
                byte low = size == 1 ? (byte)0 : (byte)1;
                for (int round = 0; round < 4; round++)
                {
                    uint undefined = ShiftUndefined(digit, count & 31, size);
                    NativeState state = difference.Prepare();
                    byte[] code = [.. difference.Encode(new(name, [(byte)(0xC0 + low)], digit), size == 2 ? 2 : 4, ref state), (byte)count];
                    difference.Check(name, code, state, undefined);

                    state = difference.Prepare();
                    code = difference.Encode(new(name, [(byte)(0xD2 + low)], digit), size == 2 ? 2 : 4, ref state, false);
                    state.General[Ecx] = (state.General[Ecx] & 0xFFFF_FF00) | (uint)count;
                    difference.Check(name, code, state, undefined);
                }
            }
        }
    }

    private static uint ShiftUndefined(int digit, int count, int size)
    {
        uint undefined = count == 1 || count == 0 ? 0 : Eflags.Overflow;
        if (digit >= 4 && count != 0)
        {
            undefined |= Eflags.Adjust;
            // Bits shifted out beyond the operand: undefined, except that SAR goes on copying the sign.
            undefined |= digit != 7 && count > size * 8 ? Eflags.Carry : 0;
        }
        return undefined;
    }

    [Theory]
    [InlineData(0xA4)]
    [InlineData(0xAC)]
    public void DoubleShifts(int opcode)
    {
        for (int count = 0; count < 64; count++)
        {
            foreach (int size in (int[])[2, 4])
            {
                if (size == 2 && (count & 31) > 16)
                {
                    continue;
                }
                for (int round = 0; round < 6; round++)
                {
                    uint undefined = (count & 31) == 0 ? 0 : Eflags.Adjust | ((count & 31) > 1 ? Eflags.Overflow : 0);
                    NativeState state = difference.Prepare();
                    byte[] code = [.. difference.Encode(new("double shift", [0x0F, (byte)opcode]), size, ref state), (byte)count];
                    difference.Check("double shift", code, state, undefined);

                    state = difference.Prepare();
                    code = difference.Encode(new("double shift", [0x0F, (byte)(opcode + 1)]), size, ref state, false);
                    state.General[Ecx] = (state.General[Ecx] & 0xFFFF_FF00) | (uint)count;
                    difference.Check("double shift", code, state, undefined);
                }
            }
        }
    }

    [Theory]
    [InlineData(6)]
    [InlineData(7)]
    public void Divides(int digit)
    {
        int completed = 0;
        for (int round = 0; round < 3000; round++)
        {
            NativeState state = difference.Prepare();
            int size = 1 << difference.Random.Next(3);
            // Small dividends, or most quotients would not fit.
            if (difference.Random.Next(4) != 0)
            {
                state.General[Edx] = digit == 7 ? (uint)((int)state.General[Eax] >> 31) : difference.Value() & 3;
                state.General[Eax] = size == 1 ? difference.Value() & 0x1FF : size == 2 ? (uint)(short)state.General[Eax] : state.General[Eax];
            }
            byte[] code = [.. size == 2 ? (byte[])[0x66] : [], size == 1 ? (byte)0xF6 : (byte)0xF7, (byte)(0xC0 | (digit << 3) | Ebx)];
            if (Overflows(state, size, digit == 7))
            {
                difference.Machine.Load(code);
                state.CopyTo(ref difference.Machine.State);
                Assert.False(difference.Machine.Step());
                Assert.Equal(Vector.DivideError, difference.Machine.FaultVector);
                Assert.Equal(state.General[Eax], difference.Machine.State.General[Eax]);
                Assert.Equal(state.General[Edx], difference.Machine.State.General[Edx]);
                continue;
            }
            completed++;
            difference.Check("divide", code, state, Eflags.Status);
        }
        Assert.True(completed > 500);
    }

    private static bool Overflows(in NativeState state, int size, bool signed)
    {
        int bits = size * 8;
        UInt128 mask = (UInt128.One << bits) - 1;
        UInt128 dividend = size == 1
            ? state.General[Eax] & 0xFFFF
            : ((UInt128)state.General[Edx] & mask) << bits | (state.General[Eax] & mask);
        UInt128 divisor = state.General[Ebx] & mask;
        if (!signed)
        {
            return divisor == 0 || dividend / divisor > mask;
        }
        Int128 signedDividend = (Int128)(dividend << (128 - (2 * bits))) >> (128 - (2 * bits));
        Int128 signedDivisor = (Int128)(divisor << (128 - bits)) >> (128 - bits);
        if (signedDivisor == 0)
        {
            return true;
        }
        Int128 quotient = signedDividend / signedDivisor;
        return quotient > (Int128)(mask >> 1) || quotient < -(Int128)(mask >> 1) - 1;
    }

    [Theory]
    [InlineData(0xA3)]
    [InlineData(0xAB)]
    [InlineData(0xB3)]
    [InlineData(0xBB)]
    public void BitStringsReachBeyondTheOperand(int opcode)
    {
        const uint undefined = Eflags.Status & ~(Eflags.Carry | Eflags.Zero);
        for (int round = 0; round < 400; round++)
        {
            int size = 2 << difference.Random.Next(2);
            NativeState state = difference.Prepare();
            byte[] prefix = size == 2 ? [0x66] : [];
            difference.Check("bit", [.. prefix, 0x0F, (byte)opcode, (byte)(0xC0 | difference.Random.Next(64))], state, undefined);
            // [esi + 0], edi: the bit offset is signed and stays inside the window.
            state = difference.Prepare();
            state.General[Esi] = difference.WindowAddress + (NativeDifference.WindowSize / 2);
            int offset = difference.Random.Next(-1500, 1500);
            state.General[Edi] = size == 2 ? (state.General[Edi] & 0xFFFF_0000) | (ushort)offset : (uint)offset;
            difference.Check("bit string", [.. prefix, 0x0F, (byte)opcode, 0x3E], state, undefined);
        }
    }

    [Fact]
    public void ComputesEveryEffectiveAddress()
    {
        for (int modRm = 0; modRm < 0xC0; modRm++)
        {
            bool scaled = (modRm & 7) == 4;
            for (int sib = 0; sib < (scaled ? 256 : 1); sib++)
            {
                byte[] code = [0x8D, (byte)modRm, .. scaled ? (byte[])[(byte)sib] : []];
                // Without a base, 64-bit mode means RIP in the short form.
                if ((modRm & 0xC7) == 0x05)
                {
                    continue;
                }
                int displacement = (modRm >> 6) switch { 1 => 1, 2 => 4, _ => scaled && (sib & 7) == 5 ? 4 : 0 };
                byte[] tail = new byte[displacement];
                difference.Random.NextBytes(tail);
                difference.Check("LEA", [.. code, .. tail], difference.Prepare(), 0);
                difference.Check("LEA", [0x66, .. code, .. tail], difference.Prepare(), 0);
            }
        }
    }

    [Fact]
    public void SwapsBytesTranslatesAndExchangesEight()
    {
        for (int round = 0; round < 100; round++)
        {
            difference.Check("BSWAP", [0x0F, (byte)(0xC8 + difference.Random.Next(8))], difference.Prepare(), 0);

            NativeState state = difference.Prepare();
            state.General[Ebx] = difference.WindowAddress;
            difference.Check("XLAT", [0xD7], state, 0);

            state = difference.Prepare();
            state.General[Esi] = difference.WindowAddress + (uint)difference.Random.Next(NativeDifference.WindowSize - 8);
            if (difference.Random.Next(2) == 0)
            {
                ReadOnlySpan<byte> memory = difference.Window[(int)(state.General[Esi] - difference.WindowAddress)..];
                state.General[Eax] = BinaryPrimitives.ReadUInt32LittleEndian(memory);
                state.General[Edx] = BinaryPrimitives.ReadUInt32LittleEndian(memory[4..]);
            }
            difference.Check("CMPXCHG8B", [0x0F, 0xC7, 0x0E], state, 0);
        }
    }

    [Fact]
    public void RegistersComparedAndEqualAreExchanged()
    {
        for (int round = 0; round < 200; round++)
        {
            NativeState state = difference.Prepare();
            state.General[Ebx] = state.General[Eax];
            int size = difference.Random.Next(3);
            byte[] code = [.. size == 1 ? (byte[])[0x66] : [], 0x0F, size == 0 ? (byte)0xB0 : (byte)0xB1, (byte)(0xC0 | (Ecx << 3) | Ebx)];
            difference.Check("CMPXCHG", code, state, 0);
        }
    }

    [Theory]
    [InlineData("MOVS", 0xA4)]
    [InlineData("CMPS", 0xA6)]
    [InlineData("STOS", 0xAA)]
    [InlineData("LODS", 0xAC)]
    [InlineData("SCAS", 0xAE)]
    public void Strings(string name, int opcode)
    {
        for (int round = 0; round < 1500; round++)
        {
            NativeState state = difference.Prepare();
            int size = 1 << difference.Random.Next(3);
            byte? repeat = difference.Random.Next(3) switch { 0 => null, 1 => 0xF3, _ => 0xF2 };
            bool backward = difference.Random.Next(2) == 0;
            // Near each other, so that source and destination overlap and cross the page boundary; few different bytes, so that
            // comparisons go on for a while.
            int count = difference.Random.Next(0, 24);
            int middle = difference.Random.Next(128, NativeDifference.WindowSize - 128);
            state.General[Ecx] = (uint)count;
            state.General[Esi] = difference.WindowAddress + (uint)middle;
            state.General[Edi] = difference.WindowAddress + (uint)(middle + difference.Random.Next(-30, 30));
            state.Eflags |= backward ? Eflags.Direction : 0;
            int kinds = difference.Random.Next(1, 4);
            foreach (ref byte cell in difference.Window)
            {
                cell = (byte)(difference.Random.Next(12) < 11 ? 7 : difference.Random.Next(kinds));
            }
            state.General[Eax] = difference.Random.Next(3) == 0 ? 0x0700_0707u : 0x0707_0707u;
            byte[] code =
            [
                .. size == 2 ? (byte[])[0x66] : [],
                .. repeat is { } prefix ? (byte[])[prefix] : [],
                (byte)(opcode + (size == 1 ? 0 : 1)),
            ];
            difference.Check(name, code, state, 0);
        }
    }
}
