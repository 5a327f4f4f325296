// The sixteen conditions that Jcc, SETcc and CMOVcc share, by their number in the encoding (Intel SDM volume 2, appendix B.1.4.7).

using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class Conditions
{
    public const int Count = 16;

    /// <summary>Whether condition <paramref name="number"/>, 0 (O) to 15 (NLE), holds.</summary>
    public static bool Holds(int number, in LazyFlags flags)
    {
        bool positive = (number >> 1) switch
        {
            0 => flags.Overflow,
            1 => flags.Carry,
            2 => flags.Zero,
            3 => flags.Carry || flags.Zero,
            4 => flags.Sign,
            5 => flags.Parity,
            6 => flags.Sign != flags.Overflow,
            _ => flags.Zero || flags.Sign != flags.Overflow,
        };
        return positive ^ ((number & 1) != 0);
    }
}
