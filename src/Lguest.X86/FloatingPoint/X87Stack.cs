// The eight data registers as the stack that instructions see.

using System.Runtime.CompilerServices;
using Lguest.X86.State;

namespace Lguest.X86.FloatingPoint;

/// <summary>The register stack of the x87 unit (Intel SDM volume 1, 8.1.2) and words derived from it.</summary>
internal static class X87Stack
{
    /// <summary>ST(<paramref name="index"/>).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Float80 St(this ref FpuState fpu, int index) => ref fpu.Registers[(fpu.Top + index) & 7];

    /// <summary>Whether the tag of ST(<paramref name="index"/>) says empty.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsEmpty(this ref FpuState fpu, int index) => ((fpu.ValidTags >> ((fpu.Top + index) & 7)) & 1) == 0;

    /// <summary>Stores into ST(<paramref name="index"/>) and marks it not empty.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Set(this ref FpuState fpu, int index, Float80 value)
    {
        int register = (fpu.Top + index) & 7;
        fpu.Registers[register] = value;
        fpu.ValidTags |= (byte)(1 << register);
    }

    /// <summary>Marks ST(<paramref name="index"/>) empty.</summary>
    public static void Free(this ref FpuState fpu, int index) => fpu.ValidTags &= (byte)~(1 << ((fpu.Top + index) & 7));

    /// <summary>Puts a value on the stack, whose place the caller has found empty or overwrites.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Push(this ref FpuState fpu, Float80 value)
    {
        fpu.Top = (byte)((fpu.Top - 1) & 7);
        fpu.Set(0, value);
    }

    /// <summary>Empties ST(0) and moves the top.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Pop(this ref FpuState fpu)
    {
        fpu.ValidTags &= (byte)~(1 << fpu.Top);
        fpu.Top = (byte)((fpu.Top + 1) & 7);
    }

    /// <summary>The status word with TOP, as FNSTSW stores it.</summary>
    public static ushort StatusWithTop(this ref FpuState fpu) => (ushort)(fpu.StatusWord | (fpu.Top << 11));

    /// <summary>Takes a status word with TOP apart; ES and B follow from its exceptions and the masks, whatever it says.</summary>
    public static void LoadStatus(this ref FpuState fpu, ushort status)
    {
        fpu.Top = (byte)((status >> 11) & 7);
        fpu.StatusWord = (ushort)(status & ~X87Status.TopMask);
        fpu.UpdateErrorSummary();
    }

    /// <summary>Loads the control word; exceptions that lose their mask become pending, others cease to be.</summary>
    public static void LoadControl(this ref FpuState fpu, ushort control)
    {
        fpu.ControlWord = (ushort)((control & X87Control.Writable) | X87Control.AlwaysOne);
        fpu.UpdateErrorSummary();
    }

    /// <summary>The 16-bit tag word, two bits for each physical register: 0 valid, 1 zero, 2 special, 3 empty (volume 1, 8.1.7).</summary>
    public static ushort FullTagWord(this ref FpuState fpu)
    {
        int tags = 0;
        for (int register = 0; register < 8; register++)
        {
            tags |= FullTag(ref fpu, register) << (2 * register);
        }
        return (ushort)tags;
    }

    /// <summary>Takes the abridged tags out of a 16-bit tag word: only empty or not matters, the rest follows from the contents.</summary>
    public static void LoadFullTagWord(this ref FpuState fpu, ushort tags)
    {
        int valid = 0;
        for (int register = 0; register < 8; register++)
        {
            valid |= ((tags >> (2 * register)) & 3) != 3 ? 1 << register : 0;
        }
        fpu.ValidTags = (byte)valid;
    }

    /// <summary>FNINIT.</summary>
    public static void Initialise(this ref FpuState fpu)
    {
        fpu.ControlWord = X87Control.Initial;
        fpu.StatusWord = 0;
        fpu.Top = 0;
        fpu.ValidTags = 0;
        fpu.LastOpcode = 0;
        fpu.LastInstructionSelector = 0;
        fpu.LastInstructionPointer = 0;
        fpu.LastDataSelector = 0;
        fpu.LastDataPointer = 0;
    }

    private static void UpdateErrorSummary(this ref FpuState fpu)
    {
        const int summary = X87Status.ErrorSummary | X87Status.Busy;
        bool pending = (fpu.StatusWord & ~fpu.ControlWord & X87Status.Exceptions) != 0;
        fpu.StatusWord = (ushort)(pending ? fpu.StatusWord | summary : fpu.StatusWord & ~summary);
    }

    private static int FullTag(ref FpuState fpu, int register)
    {
        if (((fpu.ValidTags >> register) & 1) == 0)
        {
            return 3;
        }
        ref Float80 value = ref fpu.Registers[register];
        int exponent = value.SignExponent & 0x7FFF;
        if (exponent == 0 && value.Significand == 0)
        {
            return 1;
        }
        return exponent is 0 or 0x7FFF || (long)value.Significand >= 0 ? 2 : 0;
    }
}
