// Arithmetic that leaves its flags behind: each method computes a result as the instruction of that name does and records what the
// flags will need, undefined ones as the reference handlers leave them. They are inlined into the interpreter's switch.

using System.Numerics;
using System.Runtime.CompilerServices;

namespace Lguest.X86.State;

public partial struct LazyFlags
{
    private const uint KeptCarries = CarryBit | CarryXorOverflowBit | AdjustBit;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Add32(uint a, uint b)
    {
        uint result = a + b;
        Result = result;
        Carries = ((a & b) | ((a | b) & ~result)) & KeptCarries;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint AddCarry32(uint a, uint b)
    {
        uint result = a + b + CarryValue;
        Result = result;
        Carries = ((a & b) | ((a | b) & ~result)) & KeptCarries;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Subtract32(uint a, uint b)
    {
        uint result = a - b;
        Result = result;
        Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint SubtractBorrow32(uint a, uint b)
    {
        uint result = a - b - CarryValue;
        Result = result;
        Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint And32(uint a, uint b) => Logic32(a & b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Or32(uint a, uint b) => Logic32(a | b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Xor32(uint a, uint b) => Logic32(a ^ b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte Add8(uint a, uint b)
    {
        SetAdd(a, b, a + b, 1);
        return (byte)(a + b);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte AddCarry8(uint a, uint b)
    {
        uint result = a + b + CarryValue;
        SetAdd(a, b, result, 1);
        return (byte)result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte Subtract8(uint a, uint b)
    {
        SetSubtract(a, b, a - b, 1);
        return (byte)(a - b);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte SubtractBorrow8(uint a, uint b)
    {
        uint result = a - b - CarryValue;
        SetSubtract(a, b, result, 1);
        return (byte)result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte And8(uint a, uint b) => Logic8(a & b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte Or8(uint a, uint b) => Logic8(a | b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal byte Xor8(uint a, uint b) => Logic8(a ^ b);

    /// <summary>INC: CF stays.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Increment32(uint value)
    {
        uint result = value + 1;
        uint carry = Carries & CarryBit;
        Result = result;
        Carries = carry | ((carry >> 1) ^ (result == 0x8000_0000 ? CarryXorOverflowBit : 0)) | ((result & 0xF) == 0 ? AdjustBit : 0);
        return result;
    }

    /// <summary>DEC: CF stays.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal uint Decrement32(uint value)
    {
        uint result = value - 1;
        uint carry = Carries & CarryBit;
        Result = result;
        Carries = carry | ((carry >> 1) ^ (result == 0x7FFF_FFFF ? CarryXorOverflowBit : 0)) | ((result & 0xF) == 0xF ? AdjustBit : 0);
        return result;
    }

    /// <summary>SHL by 1 to 31; OF is the exclusive or of CF and the result's sign for every count.</summary>
    internal uint ShiftLeft32(uint value, int count)
    {
        uint result = value << count;
        uint carry = (value >> (32 - count)) & 1;
        Result = result;
        Carries = (carry << 31) | ((result >> 1) & CarryXorOverflowBit) | AdjustBit;
        return result;
    }

    /// <summary>SHR by 1 to 31; OF is the top bit before the last single shift.</summary>
    internal uint ShiftRight32(uint value, int count)
    {
        uint before = value >> (count - 1);
        uint carry = before & 1;
        uint result = before >> 1;
        Result = result;
        Carries = (carry << 31) | ((carry << 30) ^ ((before >> 1) & CarryXorOverflowBit)) | AdjustBit;
        return result;
    }

    /// <summary>SAR by 1 to 31; OF is cleared.</summary>
    internal uint ShiftArithmeticRight32(uint value, int count)
    {
        uint before = (uint)((int)value >> (count - 1));
        uint carry = before & 1;
        uint result = (uint)((int)before >> 1);
        Result = result;
        Carries = (carry << 31) | (carry << 30) | AdjustBit;
        return result;
    }

    /// <summary>ROL by 1 to 31: only CF and OF change.</summary>
    internal uint RotateLeft32(uint value, int count)
    {
        uint result = BitOperations.RotateLeft(value, count);
        Carry = (result & 1) != 0;
        Overflow = ((result >> 31) ^ (result & 1)) != 0;
        return result;
    }

    /// <summary>ROR by 1 to 31: only CF and OF change.</summary>
    internal uint RotateRight32(uint value, int count)
    {
        uint result = BitOperations.RotateRight(value, count);
        Carry = (int)result < 0;
        Overflow = (int)(result ^ (result << 1)) < 0;
        return result;
    }

    /// <summary>SHRD by 1 to 31.</summary>
    internal uint DoubleShiftRight32(uint value, uint filler, int count)
    {
        uint result = (value >> count) | (filler << (32 - count));
        SetResult(result, 4, ((value >> (count - 1)) & 1) != 0, (int)(result ^ (result << 1)) < 0, true);
        return result;
    }

    /// <summary>SHLD by 1 to 31.</summary>
    internal uint DoubleShiftLeft32(uint value, uint filler, int count)
    {
        uint result = (value << count) | (filler >> (32 - count));
        bool carry = ((value >> (32 - count)) & 1) != 0;
        SetResult(result, 4, carry, carry != ((int)result < 0), true);
        return result;
    }

    /// <summary>IMUL with a 32-bit result: CF and OF say that it does not fit.</summary>
    internal uint MultiplySigned32(uint a, uint b)
    {
        long product = (long)(int)a * (int)b;
        bool wide = product != (int)product;
        SetProductFits(!wide);
        return (uint)product;
    }

    /// <summary>MUL: the low half replaces <paramref name="low"/>, the high half is returned.</summary>
    internal uint MultiplyWide32(ref uint low, uint factor)
    {
        ulong product = (ulong)low * factor;
        bool wide = product >> 32 != 0;
        low = (uint)product;
        SetProductFits(!wide);
        return (uint)(product >> 32);
    }

    /// <summary>One-operand IMUL: the low half replaces <paramref name="low"/>, the high half is returned.</summary>
    internal uint MultiplyWideSigned32(ref uint low, uint factor)
    {
        long product = (long)(int)low * (int)factor;
        bool wide = product != (int)product;
        low = (uint)product;
        SetProductFits(!wide);
        return (uint)(product >> 32);
    }

    /// <summary>Multiplications set CF and OF alike and leave the other flags, which the manual calls undefined.</summary>
    private void SetProductFits(bool fits) => Carries = (Carries & ~(CarryBit | CarryXorOverflowBit)) | (fits ? 0 : CarryBit);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private uint Logic32(uint result)
    {
        Result = result;
        Carries = 0;
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private byte Logic8(uint result)
    {
        Result = (uint)(sbyte)result;
        Carries = 0;
        return (byte)result;
    }
}
