// What a manual calls undefined, a processor does all the same, and each maker's processors have done the same for many years. Translated
// code has these flags from the host, for they are the host's own. So that both engines agree to the last flag, the reference handlers
// do as the host does: by Intel's habits on Intel's processors, and by AMD's everywhere else.
//
// A program cannot rely on either. But two runs can then be compared bit by bit, and a saved flags word does not depend on how hot a
// block was.

using System.Runtime.Intrinsics.X86;

namespace Lguest.X86.State;

/// <summary>How the host's processor leaves flags that Intel's manual calls undefined.</summary>
internal static class HostHabits
{
    /// <summary>
    /// As Intel's processors: shifts clear AF, and OF is what the first single shift or rotate would give, but ROL and ROR of a register by
    /// an immediate of more than one leave it; products set SF and PF by their low half and clear ZF and AF; quotients change nothing.
    /// </summary>
    /// <remarks>Otherwise as AMD's: shifts set AF, and OF is what the last single shift or rotate would give; products change CF and OF
    /// only; quotients clear PF, ZF and SF and set AF.</remarks>
    public static readonly bool AreIntels = X86Base.IsSupported && X86Base.CpuId(0, 0) is (_, 0x756E_6547, 0x6C65_746E, 0x4965_6E69);
}
