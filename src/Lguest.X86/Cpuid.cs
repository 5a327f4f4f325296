// What this processor says about itself: a late Pentium III with SSE2, run by a hypervisor. It claims what it has and nothing more.
//
// To a kernel that owns ring 0 it gives the signature of an early Atom instead. Those execute in order, as we do, and kernels know that
// nothing which other processors leak by speculation can leak here: they leave out separate page tables and indirect branches by RET.

using System.Buffers.Binary;
using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>CPUID (Intel SDM volume 2, CPUID).</summary>
internal static class Cpuid
{
    private const uint HighestBasic = 1;
    private const uint HighestBasicInRing0 = 0x16;
    private const uint HypervisorLeaf = 0x4000_0000;
    private const uint HighestExtended = 0x8000_0004;
    private const uint HighestExtendedInRing0 = 0x8000_0008;

    // Family 6, model 13, stepping 8: a Pentium M, the last of the line whose feature set this is.
    private const uint Signature = 0x0000_06D8;

    /// <summary>Family 6, model 28, stepping 10: an Atom.</summary>
    public const uint SignatureInRing0 = 0x0001_06CA;

    // The time-stamp counter's rate (ProcessorOptions.TimeStampCounter): a kernel that is told need not measure, and does not drift.
    private const uint ClockHertz = 1_000_000_000;
    private const uint ClockMegahertz = 1_000;
    private const uint BusMegahertz = 100;

    // Bits of physical addresses, and of linear ones.
    private const uint AddressBits = 32 | (32 << 8);

    private const uint Fpu = 1u << 0;
    private const uint DebuggingExtensions = 1u << 2;
    private const uint PageSizeExtensions = 1u << 3;
    private const uint TimeStampCounter = 1u << 4;
    private const uint ModelSpecificRegisters = 1u << 5;
    private const uint PhysicalAddressExtension = 1u << 6;
    private const uint CompareExchange8 = 1u << 8;
    private const uint Sysenter = 1u << 11;
    private const uint GlobalPages = 1u << 13;
    private const uint ConditionalMove = 1u << 15;
    private const uint ClFlush = 1u << 19;
    private const uint Mmx = 1u << 23;
    private const uint Fxsr = 1u << 24;
    private const uint Sse = 1u << 25;
    private const uint Sse2 = 1u << 26;
    private const uint Hypervisor = 1u << 31;
    private const uint NoExecute = 1u << 20;
    private const uint InvariantTimeStampCounter = 1u << 8;
    // By it a kernel can see that nobody has moved the counter, and needs no second clock to watch over it.
    private const uint TimeStampAdjust = 1u << 1;
    private const uint Features = Fpu | DebuggingExtensions | PageSizeExtensions | TimeStampCounter | ModelSpecificRegisters
        | CompareExchange8 | Sysenter | GlobalPages | ConditionalMove | ClFlush | Mmx | Fxsr | Sse | Sse2;

    /// <summary>Answers the leaf in EAX.</summary>
    /// <param name="state">The asking processor's state.</param>
    /// <param name="ownsRing0">The Guest has the whole processor; otherwise what only ring 0 could use is not shown.</param>
    public static void Execute(ref CpuState state, bool ownsRing0)
    {
        uint leaf = state.General[(int)Register32.Eax];
        uint highestBasic = ownsRing0 ? HighestBasicInRing0 : HighestBasic;
        uint highestExtended = ownsRing0 ? HighestExtendedInRing0 : HighestExtended;
        if ((leaf > highestBasic && leaf < HypervisorLeaf) || leaf is > HypervisorLeaf and < 0x8000_0000 || leaf > highestExtended)
        {
            leaf = highestBasic;
        }
        (uint eax, uint ebx, uint ecx, uint edx) = leaf switch
        {
            0 => (highestBasic, Word("Genu"u8), Word("ntel"u8), Word("ineI"u8)),
            1 when ownsRing0 => (SignatureInRing0, 0x0000_0800u, Hypervisor, Features | PhysicalAddressExtension),
            1 => (Signature, 0x0000_0800u, Hypervisor, Features),
            7 => (0u, TimeStampAdjust, 0u, 0u),
            0x15 => (1u, 1u, ClockHertz, 0u),
            0x16 => (ClockMegahertz, ClockMegahertz, BusMegahertz, 0u),
            HypervisorLeaf => (HypervisorLeaf, Word("lgue"u8), Word("st.N"u8), Word("ET  "u8)),
            0x8000_0000 => (highestExtended, 0u, 0u, 0u),
            0x8000_0001 when ownsRing0 => (0u, 0u, 0u, NoExecute),
            0x8000_0002 => Brand(0),
            0x8000_0003 => Brand(16),
            0x8000_0004 => Brand(32),
            0x8000_0007 => (0u, 0u, 0u, InvariantTimeStampCounter),
            0x8000_0008 => (AddressBits, 0u, 0u, 0u),
            _ => (0u, 0u, 0u, 0u),
        };
        state.General[(int)Register32.Eax] = eax;
        state.General[(int)Register32.Ebx] = ebx;
        state.General[(int)Register32.Ecx] = ecx;
        state.General[(int)Register32.Edx] = edx;
    }

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) Brand(int offset)
    {
        ReadOnlySpan<byte> brand = "lguest for .NET virtual processor               "u8;
        return (Word(brand[offset..]), Word(brand[(offset + 4)..]), Word(brand[(offset + 8)..]), Word(brand[(offset + 12)..]));
    }

    private static uint Word(ReadOnlySpan<byte> text) => BinaryPrimitives.ReadUInt32LittleEndian(text);
}
