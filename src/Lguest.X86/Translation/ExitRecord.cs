// Translated code leaves for many reasons and says which by one number: the place of an exit record. What is needed to act on it was
// known when the code was written, so it is kept here and costs nothing until somebody comes this way.

using System.Runtime.InteropServices;
using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

/// <summary>Why translated code returned to C#.</summary>
internal enum CodeExit : byte
{
    /// <summary>The soft-TLB does not know the page for reading.</summary>
    ReadMiss,

    /// <summary>The soft-TLB does not allow to write the page without notice.</summary>
    WriteMiss,

    /// <summary>The soft-TLB does not allow a run of bytes that a block shares a probe for.</summary>
    RunMiss,

    /// <summary>An instruction that only its reference handler executes.</summary>
    Reference,

    /// <summary>INT n.</summary>
    Interrupt,

    /// <summary>IRETD.</summary>
    InterruptReturn,

    /// <summary>A branch whose target is known but not linked yet.</summary>
    Link,

    /// <summary>A branch to another page whose mapping is not the one that it was linked for.</summary>
    LinkAcrossPages,

    /// <summary>A branch whose target is in <see cref="EngineContext.Address"/> and not in the jump cache, or attention is wanted there.</summary>
    Indirect,

    /// <summary>A floating-point instruction, but the host's units do not hold the Guest's values.</summary>
    Float,

    /// <summary>The entry of a block across a page border whose second page is not mapped as it was, or not known.</summary>
    Remapped,

    /// <summary>The outer loop is wanted, before an instruction.</summary>
    Attention,
}

/// <summary>What C# needs to know about one exit.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ExitRecord
{
    public CodeExit Kind;

    /// <summary>Number of the instruction in its block.</summary>
    public byte Instruction;

    /// <summary>The instruction's reference handler works on the floating-point state.</summary>
    public bool TouchesFloat;

    /// <summary>Misses: the operand is written.</summary>
    public bool Writes;

    /// <summary>What the code behind the instruction counts on in the host's floating-point units. Float: what the instruction needs.</summary>
    public FloatUnits Units;

    /// <summary>Misses: bytes that were asked for, the operand's or the run's.</summary>
    public ushort Size;

    /// <summary>Misses: where among them the operand begins.</summary>
    public ushort Offset;

    /// <summary>Misses: all that was asked for must be writable.</summary>
    public bool ProbeWrites;

    /// <summary>Links: the code there takes the flags saved rather than native.</summary>
    public bool FlagsSaved;

    /// <summary>How far behind ESP the code that tries again, and that behind the instruction, expect R9 to be.</summary>
    public short BehindAtRetry, BehindAtNext;

    /// <summary>The block that was left.</summary>
    public Block* Block;

    /// <summary>Misses: code that tries again. Links: target EIP.</summary>
    public nint Retry;

    /// <summary>Code behind the instruction. Links: where the distance of the jump is, in the write view.</summary>
    public nint Next;

    /// <summary>Links across pages: where the expected mapping is, in the write view. Other links: the exit that they lead to without a target. Misses of runs: the first block of the superblock.</summary>
    public nint Unlinked;

    /// <summary>Links: among those that lead to the same block.</summary>
    public ListNode InIncoming;

    /// <summary>Where the node is, for who has it and wants its record.</summary>
    public const int InIncomingOffset = 48;
}
