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

    /// <summary>SHL by 1 to 31; OF is the exclusive or of CF and the result's sign, or of the upper two bits before.</summary>
    internal uint ShiftLeft32(uint value, int count)
    {
        uint result = value << count;
        uint carry = (value >> (32 - count)) & 1;
        uint carryXorOverflow = HostHabits.AreIntels ? (carry << 31) ^ value ^ (value << 1) : result;
        Result = result;
        Carries = (carry << 31) | ((carryXorOverflow >> 1) & CarryXorOverflowBit) | ShiftedAdjust;
        return result;
    }

    /// <summary>SHR by 1 to 31; OF is the top bit before the last single shift, or before the first.</summary>
    internal uint ShiftRight32(uint value, int count)
    {
        uint before = value >> (count - 1);
        uint carry = before & 1;
        uint result = before >> 1;
        uint overflow = HostHabits.AreIntels ? value : before;
        Result = result;
        Carries = (carry << 31) | ((carry << 30) ^ ((overflow >> 1) & CarryXorOverflowBit)) | ShiftedAdjust;
        return result;
    }

    /// <summary>SAR by 1 to 31; OF is cleared.</summary>
    internal uint ShiftArithmeticRight32(uint value, int count)
    {
        uint before = (uint)((int)value >> (count - 1));
        uint carry = before & 1;
        uint result = (uint)((int)before >> 1);
        Result = result;
        Carries = (carry << 31) | (carry << 30) | ShiftedAdjust;
        return result;
    }

    /// <summary>ROL by an immediate of 1 to 31: only CF and OF change.</summary>
    internal uint RotateLeft32(uint value, int count)
    {
        uint result = BitOperations.RotateLeft(value, count);
        bool overflow = HostHabits.AreIntels && count != 1 ? Overflow : ((result >> 31) ^ (result & 1)) != 0;
        Carry = (result & 1) != 0;
        Overflow = overflow;
        return result;
    }

    /// <summary>ROR by an immediate of 1 to 31: only CF and OF change.</summary>
    internal uint RotateRight32(uint value, int count)
    {
        uint result = BitOperations.RotateRight(value, count);
        bool overflow = HostHabits.AreIntels && count != 1 ? Overflow : (int)(result ^ (result << 1)) < 0;
        Carry = (int)result < 0;
        Overflow = overflow;
        return result;
    }

    /// <summary>SHRD by 1 to 31.</summary>
    internal uint DoubleShiftRight32(uint value, uint filler, int count)
    {
        uint result = (value >> count) | (filler << (32 - count));
        bool overflow = HostHabits.AreIntels ? (int)(value ^ (filler << 31)) < 0 : (int)(result ^ (result << 1)) < 0;
        SetShifted(result, 4, ((value >> (count - 1)) & 1) != 0, overflow);
        return result;
    }

    /// <summary>SHLD by 1 to 31.</summary>
    internal uint DoubleShiftLeft32(uint value, uint filler, int count)
    {
        uint result = (value << count) | (filler >> (32 - count));
        bool carry = ((value >> (32 - count)) & 1) != 0;
        SetShifted(result, 4, carry, HostHabits.AreIntels ? (int)(value ^ (value << 1)) < 0 : carry != ((int)result < 0));
        return result;
    }

    /// <summary>IMUL with a 32-bit result: CF and OF say that it does not fit.</summary>
    internal uint MultiplySigned32(uint a, uint b)
    {
        long product = (long)(int)a * (int)b;
        bool wide = product != (int)product;
        SetProduct((uint)product, 4, wide);
        return (uint)product;
    }

    /// <summary>MUL: the low half replaces <paramref name="low"/>, the high half is returned.</summary>
    internal uint MultiplyWide32(ref uint low, uint factor)
    {
        ulong product = (ulong)low * factor;
        bool wide = product >> 32 != 0;
        low = (uint)product;
        SetProduct(low, 4, wide);
        return (uint)(product >> 32);
    }

    /// <summary>One-operand IMUL: the low half replaces <paramref name="low"/>, the high half is returned.</summary>
    internal uint MultiplyWideSigned32(ref uint low, uint factor)
    {
        long product = (long)(int)low * (int)factor;
        bool wide = product != (int)product;
        low = (uint)product;
        SetProduct(low, 4, wide);
        return (uint)(product >> 32);
    }

    /// <summary>Multiplications set CF and OF alike; the other flags are undefined.</summary>
    /// <param name="low">The product, or its low half.</param>
    /// <param name="size">Its size in bytes.</param>
    /// <param name="wide">It does not fit.</param>
    internal void SetProduct(uint low, int size, bool wide)
    {
        const uint evenPositive = 3;
        if (HostHabits.AreIntels)
        {
            bool isZero = low << (32 - (size * 8)) == 0;
            SetResult(isZero ? evenPositive : low, size, wide, wide, false);
            return;
        }
        Carries = (Carries & ~(CarryBit | CarryXorOverflowBit)) | (wide ? CarryBit : 0);
    }

    /// <summary>Flags of a shift.</summary>
    internal void SetShifted(uint result, int size, bool carry, bool overflow) => SetResult(result, size, carry, overflow, !HostHabits.AreIntels);

    private static uint ShiftedAdjust => HostHabits.AreIntels ? 0 : AdjustBit;

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
