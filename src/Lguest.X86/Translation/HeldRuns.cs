// Where a run of shared bytes is in the host's memory was found once and is kept in a word of the context; but the access behind the next
// one had better not wait until that has been written and read again. R10 and R11 are what accesses are found with, and most instructions
// leave both alone, so what they point at is often still of use. This file remembers it for as long as it is true: the emitter notes which
// registers somebody has named, so an instruction that uses one need not say so here.

namespace Lguest.X86.Translation;

/// <summary>The runs that R10 and R11 point at.</summary>
internal sealed class HeldRuns(Emitter hot)
{
    private const int None = -1;
    private const uint Both = (1u << (int)HostRegister.R10) | (1u << (int)HostRegister.R11);

    private static readonly Held Nothing = new(None, default);

    private Held first = Nothing;
    private Held second = Nothing;

    private readonly record struct Held(int Run, HostOperand At);

    /// <summary>Forgets both: code may arrive here from elsewhere.</summary>
    public void Clear()
    {
        first = Nothing;
        second = Nothing;
    }

    /// <summary>From here on, registers point at a run.</summary>
    /// <param name="run">The run.</param>
    /// <param name="at">Its first byte, by R10, R11 or the sum of both; they have just been written.</param>
    public void Hold(int run, in HostOperand at)
    {
        Held other = IsTrue(first) ? first : second;
        second = IsTrue(other) ? other : Nothing;
        first = new Held(run, at);
        hot.Used &= ~RegistersOf(at);
    }

    /// <summary>Whether a run can be had without looking for it, and then where its first byte is.</summary>
    public bool TryGet(int run, out HostOperand at)
    {
        if (second.Run == run && IsTrue(second))
        {
            (first, second) = (second, first);
        }
        at = first.At;
        return first.Run == run && IsTrue(first);
    }

    /// <summary>The register to point at another run: not the one that was of use last.</summary>
    public HostRegister Next => IsTrue(first) && RegistersOf(first.At) == 1u << (int)HostRegister.R11 ? HostRegister.R10 : HostRegister.R11;

    private bool IsTrue(in Held held) => held.Run != None && (hot.Used & RegistersOf(held.At)) == 0;

    private static uint RegistersOf(in HostOperand at) => Both & (BitOf(at.Base) | BitOf(at.Index));

    private static uint BitOf(HostRegister register) => register == HostRegister.None ? 0 : 1u << (int)register;
}
