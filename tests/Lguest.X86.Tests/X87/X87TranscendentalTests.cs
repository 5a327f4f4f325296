// Transcendental instructions: results within one unit in the last place of the native CPU's, everything else equal. How close they
// are to the true values is tested against an exact reference in ElementaryTests.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.X87;

public sealed class X87TranscendentalTests
{
    private const int Cases = 3000;

    public static TheoryData<Code> Codes { get; } =
        [Code.Fsin, Code.Fcos, Code.Fsincos, Code.Fptan, Code.Fpatan, Code.F2xm1, Code.Fyl2x, Code.Fyl2xp1];

    [Theory]
    [MemberData(nameof(Codes))]
    public void ResultsAreThoseOfTheNativeCpu(Code code) => Run(code, full: true, unmasked: false);

    [Theory]
    [MemberData(nameof(Codes))]
    public void StackFaultsAreThoseOfTheNativeCpu(Code code) => Run(code, full: false, unmasked: false);

    [Theory]
    [MemberData(nameof(Codes))]
    public void UnmaskedResponsesAreThoseOfTheNativeCpu(Code code) => Run(code, full: true, unmasked: true);

    private static void Run(Code code, bool full, bool unmasked)
    {
        using var oracle = new X87Oracle();
        var operands = new X87Operands((int)code);
        for (int i = 0; i < Cases; i++)
        {
            NativeState state = operands.State(full, unmasked);
            if (full && code is Code.Fsincos or Code.Fptan)
            {
                state.ValidTags &= (byte)~(1 << ((state.Top - 1) & 7));
            }
            Float80 x = state.GetSt(0);
            if (code is Code.Fsin or Code.Fcos or Code.Fsincos or Code.Fptan && operands.Random.Next(2) == 0)
            {
                x = operands.Magnitude(-10, 63);
            }
            else if (code is Code.F2xm1 && !IsSpecial(x))
            {
                x = operands.Magnitude(-20, 0);
            }
            else if (code is Code.Fyl2x && operands.Random.Next(2) == 0)
            {
                x = operands.Magnitude(-2, 2);
                x.SignExponent &= 0x7FFF;
            }
            else if (code is Code.Fyl2xp1 && !IsSpecial(x))
            {
                x = operands.Magnitude(-70, -2);
            }
            if (unmasked && HostHabits.AreIntels && code is Code.Fsin or Code.Fsincos or Code.Fptan && (x.SignExponent & 0x7FFF) <= 1)
            {
                // The sine of the smallest normal numbers, rounded down, underflows for AMD's processors and not for Intel's.
                x = operands.Magnitude(-10, 63);
            }
            state.SetSt(0, x);
            oracle.Check([X87Oracle.Create(code)], state, close: true);
        }
    }

    private static bool IsSpecial(Float80 value) => value.SignExponent is 0x7FFF or 0 or 0x8000 || (long)value.Significand >= 0;
}
