// The floating-point half of the processor's state: the x87 stack (whose low words are the MMX registers) and the SSE registers.

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Lguest.X86.State;

/// <summary>Eight x87 data registers in physical order (R0 to R7; ST(i) is register <c>(Top + i) &amp; 7</c>).</summary>
[InlineArray(8)]
public struct Float80Registers
{
    private Float80 first;
}

/// <summary>XMM0 to XMM7.</summary>
[InlineArray(8)]
public struct XmmRegisters
{
    private Vector128<byte> first;
}

/// <summary>x87, MMX and SSE state as FXSAVE would store it (Intel SDM volume 1, 10.5.1).</summary>
public struct FpuState
{
    /// <summary>x87 data registers; MM0 to MM7 are the significands of R0 to R7.</summary>
    public Float80Registers Registers;

    /// <summary>SSE registers.</summary>
    public XmmRegisters Xmm;

    /// <summary>Control word; 0x037F after FNINIT.</summary>
    public ushort ControlWord;

    /// <summary>Status word without TOP (bits 11 to 13 are kept in <see cref="Top"/>).</summary>
    public ushort StatusWord;

    /// <summary>Top of stack, 0 to 7.</summary>
    public byte Top;

    /// <summary>One bit for each physical register, 1 = not empty (the abridged tag of FXSAVE).</summary>
    public byte ValidTags;

    /// <summary>Opcode of the last x87 instruction, 11 bits.</summary>
    public ushort LastOpcode;

    /// <summary>Selector of the last x87 instruction.</summary>
    public ushort LastInstructionSelector;

    /// <summary>Selector of the last x87 memory operand.</summary>
    public ushort LastDataSelector;

    /// <summary>Offset of the last x87 instruction.</summary>
    public uint LastInstructionPointer;

    /// <summary>Offset of the last x87 memory operand.</summary>
    public uint LastDataPointer;

    /// <summary>SSE control and status; 0x1F80 after reset.</summary>
    public uint Mxcsr;
}
