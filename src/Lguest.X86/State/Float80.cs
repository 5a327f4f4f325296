// The x87 keeps numbers in 80 bits; no .NET type does. This is the number as the register holds it.

namespace Lguest.X86.State;

/// <summary>An x87 extended-precision number (Intel SDM volume 1, 4.2.2).</summary>
public struct Float80
{
    /// <summary>64-bit significand with explicit integer bit; an MMX register is this word.</summary>
    public ulong Significand;

    /// <summary>Sign in bit 15, biased exponent (bias 16383) in bits 0 to 14.</summary>
    public ushort SignExponent;

    /// <summary>Builds a number from its two parts.</summary>
    public Float80(ushort signExponent, ulong significand)
    {
        SignExponent = signExponent;
        Significand = significand;
    }
}
