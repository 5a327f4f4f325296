// binary32 and binary64 differ in two numbers only. Everything in Ieee is written once for both; as the format is a type parameter, the
// JIT compiles it twice, with the numbers as constants.

namespace Lguest.X86.FloatingPoint;

/// <summary>An IEEE 754 binary interchange format of up to 64 bits.</summary>
internal interface IIeeeFormat
{
    /// <summary>Bits of the fraction, without the hidden one.</summary>
    static abstract int FractionBits { get; }

    /// <summary>Bits of the biased exponent.</summary>
    static abstract int ExponentBits { get; }
}

/// <summary>Single precision.</summary>
internal readonly struct Binary32 : IIeeeFormat
{
    public static int FractionBits => 23;

    public static int ExponentBits => 8;
}

/// <summary>Double precision.</summary>
internal readonly struct Binary64 : IIeeeFormat
{
    public static int FractionBits => 52;

    public static int ExponentBits => 11;
}
