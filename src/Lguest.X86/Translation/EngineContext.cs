// What emitted code can reach besides the Guest's memory: one block of plain memory that R14 points to while a Guest runs. The words
// that every block touches come first, where a displacement of one byte reaches them; the architectural state follows.

using System.Runtime.InteropServices;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

/// <summary>Memory shared by the processor's C# and its translated code.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct EngineContext
{
    /// <summary>Not zero when the outer loop is wanted; other threads set it.</summary>
    public int Attention;

    /// <summary>Status flags as LAHF and SETO leave them: AH is the low byte of EFLAGS, AL is OF.</summary>
    public uint FlagsWord;

    /// <summary>Linear address of a memory operand that missed, or the EIP that an indirect branch wants.</summary>
    public uint Address;

    private readonly uint unused;

    /// <summary>Instructions completed; blocks count theirs when they are entered.</summary>
    public long InstructionCount;

    /// <summary>The soft-TLB in use.</summary>
    public Memory.TlbEntry* Tlb;

    /// <summary>Where indirect branches look first.</summary>
    public JumpCacheEntry* JumpCache;

    /// <summary>What the high half of a jump cache key must be: the soft-TLB's number and the block mode.</summary>
    public ulong JumpKey;

    /// <summary>The architectural state.</summary>
    public CpuState State;
}

/// <summary>Displacements from R14 to what emitted code uses.</summary>
internal static class ContextLayout
{
    public static readonly int Attention, FlagsWord, Address, InstructionCount, Tlb, JumpCache, JumpKey, State;

    static ContextLayout()
    {
        // SAFETY: only distances between the parts of a local are taken.
        unsafe
        {
            EngineContext context;
            byte* start = (byte*)&context;
            Attention = (int)((byte*)&context.Attention - start);
            FlagsWord = (int)((byte*)&context.FlagsWord - start);
            Address = (int)((byte*)&context.Address - start);
            InstructionCount = (int)((byte*)&context.InstructionCount - start);
            Tlb = (int)((byte*)&context.Tlb - start);
            JumpCache = (int)((byte*)&context.JumpCache - start);
            JumpKey = (int)((byte*)&context.JumpKey - start);
            State = (int)((byte*)&context.State - start);
        }
    }

    /// <summary>Displacement of a general register's word.</summary>
    public static int General(int index) => State + (index * 4);
}

/// <summary>Where an indirect branch found its target last time.</summary>
internal unsafe struct JumpCacheEntry
{
    /// <summary>EIP in the low half, <see cref="EngineContext.JumpKey"/> in the high one.</summary>
    public ulong Key;

    /// <summary>Entry of the block that takes the flags saved.</summary>
    public byte* Code;

    /// <summary>Entries of the cache.</summary>
    public const int Count = 4096;
}
