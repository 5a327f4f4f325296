// Most instructions write the six status flags and almost nobody reads them. So an instruction only leaves two words behind, its
// result and the vector of carries out of each bit, and the flags are worked out when somebody asks. Arbitrary flag values (POPF,
// SAHF) fit in too: two fields of the carry word correct the sign and the parity that the result would give.

using System.Numerics;
using System.Runtime.CompilerServices;

namespace Lguest.X86.State;

/// <summary>The six status flags CF, PF, AF, ZF, SF and OF in a form that is cheap to write (Intel SDM volume 1, 3.4.3.1).</summary>
/// <remarks>
/// <see cref="Result"/> is the result sign-extended to 32 bits. <see cref="Carries"/> holds CF in bit 31, CF xor OF in bit 30, AF in
/// bit 3, a correction of SF in bit 0 and a correction of the parity in bits 8 to 15.
/// </remarks>
public partial struct LazyFlags
{
    private const uint CarryBit = 0x8000_0000;
    private const uint CarryXorOverflowBit = 0x4000_0000;
    private const uint AdjustBit = 0x8;
    private const uint SignCorrection = 0x1;
    private const uint ParityCorrection = 0xFF00;

    /// <summary>Result of the last operation, sign-extended to 32 bits.</summary>
    public uint Result;

    /// <summary>Carries out of the top two bits and out of bit 3, and corrections.</summary>
    public uint Carries;

    /// <summary>The carries that an addition <c>result = a + b (+ carry)</c> of <paramref name="size"/> bytes produced.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetAdd(uint a, uint b, uint result, int size) => Set((a & b) | ((a | b) & ~result), result, size);

    /// <summary>The borrows that a subtraction <c>result = a - b (- carry)</c> of <paramref name="size"/> bytes produced.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetSubtract(uint a, uint b, uint result, int size) => Set((~a & b) | ((~a | b) & result), result, size);

    /// <summary>A logical operation: CF, OF and AF are cleared (AF is undefined; processors clear it).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void SetLogic(uint result, int size)
    {
        Result = SignExtend(result, size);
        Carries = 0;
    }

    /// <summary>ZF, SF and PF from a result, the other three given.</summary>
    public void SetResult(uint result, int size, bool carry, bool overflow, bool adjust)
    {
        Result = SignExtend(result, size);
        Carries = (carry ? CarryBit : 0) | (carry != overflow ? CarryXorOverflowBit : 0) | (adjust ? AdjustBit : 0);
    }

    /// <summary>SF differs from OF: the last comparison found a signed "less".</summary>
    public readonly bool Less => (int)(Result ^ (Carries << 31) ^ Carries ^ (Carries << 1)) < 0;

    /// <summary>Evaluates a condition by its number in the instruction encoding, 0 (O) to 15 (G).</summary>
    public readonly bool Condition(int number)
    {
        bool value = (number >> 1) switch
        {
            0 => Overflow,
            1 => Carry,
            2 => Zero,
            3 => Zero || Carry,
            4 => Sign,
            5 => Parity,
            6 => Less,
            _ => Zero || Less,
        };
        return value != ((number & 1) != 0);
    }

    /// <summary>CF.</summary>
    public bool Carry
    {
        readonly get => (int)Carries < 0;
        set
        {
            if (value != Carry)
            {
                Carries ^= CarryBit | CarryXorOverflowBit;
            }
        }
    }

    /// <summary>CF as 0 or 1.</summary>
    public readonly uint CarryValue => Carries >> 31;

    /// <summary>OF.</summary>
    public bool Overflow
    {
        readonly get => (int)(Carries ^ (Carries << 1)) < 0;
        set
        {
            if (value != Overflow)
            {
                Carries ^= CarryXorOverflowBit;
            }
        }
    }

    /// <summary>AF.</summary>
    public bool Adjust
    {
        readonly get => (Carries & AdjustBit) != 0;
        set => Carries = value ? Carries | AdjustBit : Carries & ~AdjustBit;
    }

    /// <summary>SF.</summary>
    public bool Sign
    {
        readonly get => ((Result >> 31) ^ (Carries & SignCorrection)) != 0;
        set
        {
            if (value != Sign)
            {
                Carries ^= SignCorrection;
            }
        }
    }

    /// <summary>PF.</summary>
    public bool Parity
    {
        readonly get => (BitOperations.PopCount((Result ^ (Carries >> 8)) & 0xFF) & 1) == 0;
        set
        {
            if (value != Parity)
            {
                Carries ^= 0x100;
            }
        }
    }

    /// <summary>ZF. Setting it keeps SF and PF.</summary>
    public bool Zero
    {
        readonly get => Result == 0;
        set
        {
            if (value != Zero)
            {
                Pack(value, Sign, Parity);
            }
        }
    }

    /// <summary>The six flags at their places in EFLAGS.</summary>
    public uint Value
    {
        readonly get => CarryValue
            | (Parity ? Eflags.Parity : 0)
            | (Adjust ? Eflags.Adjust : 0)
            | (Zero ? Eflags.Zero : 0)
            | (Sign ? Eflags.Sign : 0)
            | (Overflow ? Eflags.Overflow : 0);
        set
        {
            bool carry = (value & Eflags.Carry) != 0;
            bool overflow = (value & Eflags.Overflow) != 0;
            Carries = (carry ? CarryBit : 0) | (carry != overflow ? CarryXorOverflowBit : 0) | ((value & Eflags.Adjust) != 0 ? AdjustBit : 0);
            Pack((value & Eflags.Zero) != 0, (value & Eflags.Sign) != 0, (value & Eflags.Parity) != 0);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint SignExtend(uint value, int size) => size switch
    {
        1 => (uint)(sbyte)value,
        2 => (uint)(short)value,
        _ => value,
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Set(uint carries, uint result, int size)
    {
        Result = SignExtend(result, size);
        Carries = (carries & AdjustBit) | ((carries << (32 - (8 * size))) & (CarryBit | CarryXorOverflowBit));
    }

    private void Pack(bool zero, bool sign, bool parity)
    {
        Result = zero ? 0u : 0x100u;
        Carries = (Carries & ~(SignCorrection | ParityCorrection)) | (sign ? SignCorrection : 0) | (parity ? 0 : 0x100u);
    }
}
