// Where floating-point results may differ from the native CPU's: status bits that the manual leaves undefined, and functions that are
// promised to within an error and not to the bit.

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Differential;

/// <summary>What the manual promises of floating-point results.</summary>
internal static class FloatingPointRules
{
    private const int C0 = 0x100;
    private const int C1 = 0x200;
    private const int C2 = 0x400;
    private const int C3 = 0x4000;
    private const int Precision = 0x20;
    private const int Underflow = 0x10;

    /// <summary>Bits of the x87 status word that are defined after an instruction (Intel SDM volume 1, 8.1.3).</summary>
    public static int DefinedStatus(Mnemonic mnemonic) => mnemonic switch
    {
        Mnemonic.Fcom or Mnemonic.Fcomp or Mnemonic.Fcompp or Mnemonic.Fucom or Mnemonic.Fucomp or Mnemonic.Fucompp or Mnemonic.Ficom or Mnemonic.Ficomp
            or Mnemonic.Ftst or Mnemonic.Fxam or Mnemonic.Fprem or Mnemonic.Fprem1 or Mnemonic.Fldenv or Mnemonic.Frstor or Mnemonic.Fninit
            or Mnemonic.Fnsave or Mnemonic.Fxrstor => 0xFFFF,
        Mnemonic.Fsin or Mnemonic.Fcos or Mnemonic.Fsincos or Mnemonic.Fptan => 0xFFFF & ~(C0 | C1 | C3 | Precision | Underflow),
        // The manual clears C1; AMD's processors leave it alone.
        Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip => 0xFFFF & ~(C0 | C1 | C2 | C3),
        _ when IsApproximate(mnemonic) => 0xFFFF & ~(C0 | C1 | C2 | C3 | Precision | Underflow),
        _ => 0xFFFF & ~(C0 | C2 | C3),
    };

    /// <summary>Whether an x87 register agrees.</summary>
    public static bool Agree(Mnemonic mnemonic, Float80 expected, Float80 actual)
    {
        if (expected.SignExponent == actual.SignExponent && expected.Significand == actual.Significand)
        {
            return true;
        }
        if (!IsApproximate(mnemonic))
        {
            return false;
        }
        // Neighbouring numbers are neighbouring integers; both processors may be one unit in the last place away from the truth.
        Int128 distance = Ordinal(expected) - Ordinal(actual);
        return Int128.Abs(distance) <= 2;
    }

    /// <summary>Whether an SSE register agrees.</summary>
    public static bool Agree(Mnemonic mnemonic, Vector128<byte> expected, Vector128<byte> actual)
    {
        if (expected == actual)
        {
            return true;
        }
        if (mnemonic is not (Mnemonic.Rcpps or Mnemonic.Rcpss or Mnemonic.Rsqrtps or Mnemonic.Rsqrtss))
        {
            return false;
        }
        for (int i = 0; i < 4; i++)
        {
            float a = expected.AsSingle()[i];
            float b = actual.AsSingle()[i];
            bool same = expected.AsUInt32()[i] == actual.AsUInt32()[i];
            if (!same && !(Math.Abs(a - b) <= Math.Abs(a) * (2 * 1.5 / 4096)))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>Whether the manual promises nothing: FYL2XP1 and F2XM1 outside the range of their argument.</summary>
    public static bool ResultIsUndefined(TestCase test)
    {
        Float80 x = test.Before.GetSt(0);
        int exponent = x.SignExponent & 0x7FFF;
        return test.Instruction.Mnemonic switch
        {
            // 1 - sqrt(2)/2
            Mnemonic.Fyl2xp1 => exponent is > 0x3FFD and < 0x7FFF || (exponent == 0x3FFD && x.Significand > 0x95F6_1998_0C43_36F7),
            Mnemonic.F2xm1 => exponent is >= 0x3FFF and < 0x7FFF && (exponent != 0x3FFF || x.Significand != 0x8000_0000_0000_0000),
            _ => false,
        };
    }

    /// <summary>Whether this CPU may leave the x87 half untouched: CVTPI2PS from memory enters MMX state on Intel's processors only.</summary>
    public static bool LeavesX87Alone(in Instruction instruction) => instruction.Mnemonic == Mnemonic.Cvtpi2ps && instruction.Op1Kind == OpKind.Memory;

    private static bool IsApproximate(Mnemonic mnemonic) => mnemonic is Mnemonic.Fsin or Mnemonic.Fcos or Mnemonic.Fsincos or Mnemonic.Fptan or Mnemonic.Fpatan
        or Mnemonic.F2xm1 or Mnemonic.Fyl2x or Mnemonic.Fyl2xp1;

    private static Int128 Ordinal(Float80 value)
    {
        Int128 magnitude = ((Int128)(value.SignExponent & 0x7FFF) << 63) + (Int128)(value.Significand & 0x7FFF_FFFF_FFFF_FFFF);
        return (value.SignExponent & 0x8000) != 0 ? -magnitude : magnitude;
    }
}
