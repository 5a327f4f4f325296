// What an instruction can see and change when it runs on the native CPU, and how it corresponds to the emulated processor's state.

using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Oracles;

/// <summary>EAX to EDI in encoding order.</summary>
[InlineArray(8)]
public struct NativeRegisters
{
    private uint first;
}

/// <summary>The 512 bytes of FXSAVE (Intel SDM volume 1, 10.5.1), without XMM8 to XMM15.</summary>
[InlineArray(512)]
public struct FxImage
{
    private byte first;
}

/// <summary>Register state around one native instruction.</summary>
public struct NativeState
{
    private const int StackOffset = 32;
    private const int XmmOffset = 160;

    /// <summary>EAX to EDI, index = <see cref="Register32"/>; zero-extended to 64 bits before the instruction runs.</summary>
    public NativeRegisters General;

    /// <summary>The six status flags and DF; other bits are ignored on the way in and zero on the way out.</summary>
    public uint Eflags;

    /// <summary>x87, MMX and SSE.</summary>
    public FxImage Fx;

    /// <summary>All zero, except x87 and MXCSR, which are as after FNINIT and reset.</summary>
    public NativeState()
    {
        General = default;
        Eflags = 0;
        Fx = default;
        ControlWord = 0x37F;
        Mxcsr = 0x1F80;
    }

    /// <summary>x87 control word.</summary>
    public ushort ControlWord
    {
        readonly get => BinaryPrimitives.ReadUInt16LittleEndian(((ReadOnlySpan<byte>)Fx)[0..]);
        set => BinaryPrimitives.WriteUInt16LittleEndian(((Span<byte>)Fx)[0..], value);
    }

    /// <summary>x87 status word, TOP included.</summary>
    public ushort StatusWord
    {
        readonly get => BinaryPrimitives.ReadUInt16LittleEndian(((ReadOnlySpan<byte>)Fx)[2..]);
        set => BinaryPrimitives.WriteUInt16LittleEndian(((Span<byte>)Fx)[2..], value);
    }

    /// <summary>TOP of the status word.</summary>
    public int Top
    {
        readonly get => (StatusWord >> 11) & 7;
        set => StatusWord = (ushort)((StatusWord & ~0x3800) | ((value & 7) << 11));
    }

    /// <summary>One bit for each physical register, 1 = not empty.</summary>
    public byte ValidTags
    {
        readonly get => Fx[4];
        set => Fx[4] = value;
    }

    /// <summary>MXCSR.</summary>
    public uint Mxcsr
    {
        readonly get => BinaryPrimitives.ReadUInt32LittleEndian(((ReadOnlySpan<byte>)Fx)[24..]);
        set => BinaryPrimitives.WriteUInt32LittleEndian(((Span<byte>)Fx)[24..], value);
    }

    /// <summary>ST(<paramref name="index"/>), relative to TOP.</summary>
    public readonly Float80 GetSt(int index)
    {
        ReadOnlySpan<byte> bytes = ((ReadOnlySpan<byte>)Fx).Slice(StackOffset + (16 * index), 10);
        return new Float80(BinaryPrimitives.ReadUInt16LittleEndian(bytes[8..]), BinaryPrimitives.ReadUInt64LittleEndian(bytes));
    }

    /// <summary>Sets ST(<paramref name="index"/>), relative to TOP; tags are left alone.</summary>
    public void SetSt(int index, Float80 value)
    {
        Span<byte> bytes = ((Span<byte>)Fx).Slice(StackOffset + (16 * index), 10);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value.Significand);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[8..], value.SignExponent);
    }

    /// <summary>XMM register.</summary>
    public readonly Vector128<byte> GetXmm(int index) =>
        MemoryMarshal.Read<Vector128<byte>>(((ReadOnlySpan<byte>)Fx)[(XmmOffset + (16 * index))..]);

    /// <summary>Sets an XMM register.</summary>
    public void SetXmm(int index, Vector128<byte> value) =>
        MemoryMarshal.Write(((Span<byte>)Fx)[(XmmOffset + (16 * index))..], value);

    /// <summary>The same registers as the emulated processor holds them.</summary>
    public readonly void CopyTo(ref CpuState state)
    {
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = General[i];
            state.Fpu.Registers[(Top + i) & 7] = GetSt(i);
            state.Fpu.Xmm[i] = GetXmm(i);
        }
        const uint seen = X86.State.Eflags.Status | X86.State.Eflags.Direction;
        state.Eflags = (state.Eflags & ~seen) | (Eflags & seen);
        state.Fpu.ControlWord = ControlWord;
        state.Fpu.StatusWord = (ushort)(StatusWord & ~0x3800);
        state.Fpu.Top = (byte)Top;
        state.Fpu.ValidTags = ValidTags;
        state.Fpu.Mxcsr = Mxcsr;
    }

    /// <summary>The emulated processor's registers as the native CPU would show them.</summary>
    public static NativeState From(in CpuState state)
    {
        var result = new NativeState
        {
            Eflags = state.Eflags & (X86.State.Eflags.Status | X86.State.Eflags.Direction),
            ControlWord = state.Fpu.ControlWord,
            StatusWord = state.Fpu.StatusWord,
            Top = state.Fpu.Top,
            ValidTags = state.Fpu.ValidTags,
            Mxcsr = state.Fpu.Mxcsr,
        };
        for (int i = 0; i < 8; i++)
        {
            result.General[i] = state.General[i];
            result.SetSt(i, state.Fpu.Registers[(state.Fpu.Top + i) & 7]);
            result.SetXmm(i, state.Fpu.Xmm[i]);
        }
        return result;
    }
}
