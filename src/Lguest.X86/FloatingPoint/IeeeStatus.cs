// SSE arithmetic obeys and reports to one register, MXCSR. This is its layout, and the form in which an operation carries it around.

namespace Lguest.X86.FloatingPoint;

/// <summary>Bits of MXCSR (Intel SDM volume 1, 10.2.3).</summary>
internal static class Mxcsr
{
    /// <summary>IE: invalid operation.</summary>
    public const uint Invalid = 0x1;

    /// <summary>DE: an operand was denormal.</summary>
    public const uint Denormal = 0x2;

    /// <summary>ZE: division by zero.</summary>
    public const uint DivideByZero = 0x4;

    /// <summary>OE: overflow.</summary>
    public const uint Overflow = 0x8;

    /// <summary>UE: underflow.</summary>
    public const uint Underflow = 0x10;

    /// <summary>PE: the result was rounded.</summary>
    public const uint Precision = 0x20;

    /// <summary>The six exception flags.</summary>
    public const uint Flags = 0x3F;

    /// <summary>DAZ: denormal operands count as zero.</summary>
    public const uint DenormalsAreZero = 0x40;

    /// <summary>Distance from an exception's flag to its mask.</summary>
    public const int MaskShift = 7;

    /// <summary>RC: two bits of rounding control.</summary>
    public const uint RoundingControl = 0x6000;

    /// <summary>Lowest bit of RC.</summary>
    public const int RoundingShift = 13;

    /// <summary>FZ: tiny results become zero while underflow is masked.</summary>
    public const uint FlushToZero = 0x8000;

    /// <summary>Every bit that LDMXCSR accepts; also what FXSAVE reports as MXCSR_MASK.</summary>
    public const uint Valid = 0xFFFF;
}

/// <summary>Values of the rounding-control field.</summary>
internal enum IeeeRounding
{
    /// <summary>To the nearest, ties to even.</summary>
    Nearest,

    /// <summary>Towards minus infinity.</summary>
    Down,

    /// <summary>Towards plus infinity.</summary>
    Up,

    /// <summary>Towards zero.</summary>
    Zero,
}

/// <summary>What an operation may do (the control half of MXCSR) and what has happened in it so far.</summary>
/// <param name="mxcsr">MXCSR before the operation.</param>
internal struct IeeeStatus(uint mxcsr)
{
    /// <summary>Exceptions raised, as flags of <see cref="Mxcsr"/>.</summary>
    public uint Raised;

    /// <summary>Rounding control.</summary>
    public readonly IeeeRounding Rounding => (IeeeRounding)((mxcsr & Mxcsr.RoundingControl) >> Mxcsr.RoundingShift);

    /// <summary>DAZ is set.</summary>
    public readonly bool DenormalsAreZero => (mxcsr & Mxcsr.DenormalsAreZero) != 0;

    /// <summary>FZ is set and, as it demands, underflow masked.</summary>
    public readonly bool FlushToZero => (mxcsr & Mxcsr.FlushToZero) != 0 && Masked(Mxcsr.Underflow);

    /// <summary>Whether one exception is masked.</summary>
    public readonly bool Masked(uint flag) => (mxcsr & (flag << Mxcsr.MaskShift)) != 0;
}
