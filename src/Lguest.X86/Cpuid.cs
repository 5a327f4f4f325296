// What this processor says about itself: a late Pentium III with SSE2, run by a hypervisor. It claims what it has and nothing more.

using System.Buffers.Binary;
using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>CPUID (Intel SDM volume 2, CPUID).</summary>
internal static class Cpuid
{
    private const uint HighestBasic = 1;
    private const uint HypervisorLeaf = 0x4000_0000;
    private const uint HighestExtended = 0x8000_0004;

    // Family 6, model 13, stepping 8: a Pentium M, the last of the line whose feature set this is.
    private const uint Signature = 0x0000_06D8;

    private const uint Fpu = 1u << 0;
    private const uint DebuggingExtensions = 1u << 2;
    private const uint PageSizeExtensions = 1u << 3;
    private const uint TimeStampCounter = 1u << 4;
    private const uint ModelSpecificRegisters = 1u << 5;
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

    /// <summary>Answers the leaf in EAX.</summary>
    public static void Execute(ref CpuState state)
    {
        uint leaf = state.General[(int)Register32.Eax];
        if (leaf is > HighestBasic and < HypervisorLeaf or > HighestExtended or (> HypervisorLeaf and < 0x8000_0000))
        {
            leaf = HighestBasic;
        }
        (uint eax, uint ebx, uint ecx, uint edx) = leaf switch
        {
            0 => (HighestBasic, Word("Genu"u8), Word("ntel"u8), Word("ineI"u8)),
            1 => (Signature, 0x0000_0800u, Hypervisor, Fpu | DebuggingExtensions | PageSizeExtensions | TimeStampCounter | ModelSpecificRegisters
                | CompareExchange8 | Sysenter | GlobalPages | ConditionalMove | ClFlush | Mmx | Fxsr | Sse | Sse2),
            HypervisorLeaf => (HypervisorLeaf, Word("lgue"u8), Word("st.N"u8), Word("ET  "u8)),
            0x8000_0000 => (HighestExtended, 0u, 0u, 0u),
            0x8000_0002 => Brand(0),
            0x8000_0003 => Brand(16),
            0x8000_0004 => Brand(32),
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
