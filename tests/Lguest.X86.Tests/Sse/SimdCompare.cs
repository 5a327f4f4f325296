// Says in words where two register states differ.

using System.Runtime.Intrinsics;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Sse;

internal static class SimdCompare
{
    /// <summary>The first difference between two states, or null.</summary>
    public static string? Difference(in NativeState before, in NativeState expected, in NativeState actual)
    {
        for (int i = 0; i < 8; i++)
        {
            if (expected.General[i] != actual.General[i])
            {
                return $"general register {i}: expected {expected.General[i]:X8}, got {actual.General[i]:X8}; XMM {AllXmm(before)}";
            }
            if (expected.GetXmm(i) != actual.GetXmm(i))
            {
                return $"XMM{i}: was {Hex(before.GetXmm(i))}, expected {Hex(expected.GetXmm(i))}, got {Hex(actual.GetXmm(i))}; XMM {AllXmm(before)}";
            }
            if (!expected.GetSt(i).Equals(actual.GetSt(i)))
            {
                return $"ST{i}: expected {expected.GetSt(i).SignExponent:X4} {expected.GetSt(i).Significand:X16}, "
                    + $"got {actual.GetSt(i).SignExponent:X4} {actual.GetSt(i).Significand:X16}";
            }
        }
        return expected.Mxcsr != actual.Mxcsr ? $"MXCSR: expected {expected.Mxcsr:X4}, got {actual.Mxcsr:X4}; XMM {AllXmm(before)}"
            : expected.Eflags != actual.Eflags ? $"EFLAGS: expected {expected.Eflags:X}, got {actual.Eflags:X}"
            : expected.StatusWord != actual.StatusWord ? $"status word: expected {expected.StatusWord:X4}, got {actual.StatusWord:X4}"
            : expected.ValidTags != actual.ValidTags ? $"tags: expected {expected.ValidTags:X2}, got {actual.ValidTags:X2}"
            : null;
    }

    /// <summary>The bytes of a vector, followed by others.</summary>
    public static byte[] ToBytes(this Vector128<byte> value, byte[] rest)
    {
        byte[] bytes = new byte[16 + rest.Length];
        value.CopyTo(bytes);
        rest.CopyTo(bytes, 16);
        return bytes;
    }

    private static string AllXmm(in NativeState state)
    {
        string text = "";
        for (int i = 0; i < 8; i++)
        {
            text += " " + Hex(state.GetXmm(i));
        }
        return text;
    }

    private static string Hex(Vector128<byte> value) => $"{value.AsUInt64().GetElement(1):X16}:{value.AsUInt64().ToScalar():X16}";
}
