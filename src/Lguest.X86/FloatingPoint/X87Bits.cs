// The names of the bits that every part of the x87 unit speaks of, and the small purse in which an operation carries the control
// word in and its exceptions out: arithmetic never touches the processor's state, so that a refused operation leaves no trace.

namespace Lguest.X86.FloatingPoint;

/// <summary>Bits of the x87 status word (Intel SDM volume 1, 8.1.3).</summary>
internal static class X87Status
{
    /// <summary>IE.</summary>
    public const ushort Invalid = 0x1;

    /// <summary>DE.</summary>
    public const ushort Denormal = 0x2;

    /// <summary>ZE.</summary>
    public const ushort ZeroDivide = 0x4;

    /// <summary>OE.</summary>
    public const ushort Overflow = 0x8;

    /// <summary>UE.</summary>
    public const ushort Underflow = 0x10;

    /// <summary>PE.</summary>
    public const ushort Precision = 0x20;

    /// <summary>SF: the invalid operation was a stack overflow (C1 = 1) or underflow (C1 = 0).</summary>
    public const ushort StackFault = 0x40;

    /// <summary>ES: an unmasked exception waits for the next waiting instruction.</summary>
    public const ushort ErrorSummary = 0x80;

    /// <summary>C0.</summary>
    public const ushort C0 = 0x100;

    /// <summary>C1; after an inexact operation: rounded away from zero.</summary>
    public const ushort C1 = 0x200;

    /// <summary>C2.</summary>
    public const ushort C2 = 0x400;

    /// <summary>C3.</summary>
    public const ushort C3 = 0x4000;

    /// <summary>B: a copy of ES.</summary>
    public const ushort Busy = 0x8000;

    /// <summary>The six exceptions that the control word can mask, IE to PE.</summary>
    public const ushort Exceptions = 0x3F;

    /// <summary>Exceptions found before anything is computed; unmasked, they forbid the result.</summary>
    public const ushort BeforeComputation = Invalid | Denormal | ZeroDivide;

    /// <summary>The four condition codes.</summary>
    public const ushort Conditions = C0 | C1 | C2 | C3;

    /// <summary>TOP, bits 11 to 13, kept apart in the processor's state.</summary>
    public const ushort TopMask = 0x3800;
}

/// <summary>Bits of the x87 control word (Intel SDM volume 1, 8.1.5).</summary>
internal static class X87Control
{
    /// <summary>PC and RC together.</summary>
    public const int Modes = 0xF00;

    /// <summary>64-bit precision and rounding to nearest: what nearly every program uses.</summary>
    public const int Usual = 0x300;

    /// <summary>RC, two bits.</summary>
    public const int RoundingMask = 0xC00;

    /// <summary>To the nearest, ties to even.</summary>
    public const int RoundNearest = 0x000;

    /// <summary>Towards minus infinity.</summary>
    public const int RoundDown = 0x400;

    /// <summary>Towards plus infinity.</summary>
    public const int RoundUp = 0x800;

    /// <summary>Towards zero.</summary>
    public const int RoundToZero = 0xC00;

    /// <summary>The bits that FLDCW can set; bit 6 always reads as one.</summary>
    public const ushort Writable = 0x1F3F;

    /// <summary>Bit 6.</summary>
    public const ushort AlwaysOne = 0x40;

    /// <summary>After FNINIT: everything masked, 64 bits, to nearest.</summary>
    public const ushort Initial = 0x37F;
}

/// <summary>What one operation needs of the control word and what it reports for the status word.</summary>
/// <param name="control">The x87 control word.</param>
internal struct X87Context(ushort control)
{
    /// <summary>The control word; its mask bits sit at the places of the exceptions in <see cref="Raised"/>.</summary>
    public readonly int Control = control;

    /// <summary>Exceptions raised, and condition codes set, by the operation.</summary>
    public int Raised;

    /// <summary>Rounding mode, one of the <c>Round</c> constants of <see cref="X87Control"/>.</summary>
    public readonly int Rounding => Control & X87Control.RoundingMask;

    /// <summary>Bits of significand that the precision control leaves: 24, 53 or 64 (the reserved encoding means 64).</summary>
    public readonly int Precision => (Control & 0x300) switch
    {
        0x000 => 24,
        0x200 => 53,
        _ => 64,
    };

    /// <summary>Exceptions raised that the control word does not mask.</summary>
    public readonly int Unmasked => Raised & ~Control & X87Status.Exceptions;
}
