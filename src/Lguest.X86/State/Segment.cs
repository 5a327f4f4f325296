// A segment register is two things: the selector that programs see and the descriptor that was read when it was loaded. Only the
// second one matters to memory accesses, and it keeps its value when the table in memory changes: a fact on which lguest's own
// entry code (reload everything) and every operating system's task switch depend.

using System.Runtime.CompilerServices;

namespace Lguest.X86.State;

/// <summary>Number of a segment register, in the order of the instruction encoding.</summary>
public enum SegmentName
{
    /// <summary>Extra segment.</summary>
    ES,

    /// <summary>Code segment.</summary>
    CS,

    /// <summary>Stack segment.</summary>
    SS,

    /// <summary>Data segment.</summary>
    DS,

    /// <summary>FS.</summary>
    FS,

    /// <summary>GS.</summary>
    GS,
}

/// <summary>A segment register with its hidden part (Intel SDM volume 3, 3.4.3).</summary>
public struct Segment
{
    /// <summary>Linear address of the first byte.</summary>
    public uint Base;

    /// <summary>Last valid offset in bytes, granularity applied (for expand-down segments: last invalid offset).</summary>
    public uint Limit;

    /// <summary>The high word of the descriptor, of which bits 8 to 15 and 20 to 23 mean: type, S, DPL, P, AVL, D/B and G.</summary>
    public uint Attributes;

    /// <summary>Visible selector.</summary>
    public ushort Selector;

    /// <summary>P: the segment can be used. A null selector leaves it clear.</summary>
    public readonly bool Present => (Attributes & 0x8000) != 0;

    /// <summary>DPL, 0 to 3.</summary>
    public readonly int PrivilegeLevel => (int)(Attributes >> 13) & 3;

    /// <summary>S: code or data, not a system descriptor.</summary>
    public readonly bool IsCodeOrData => (Attributes & 0x1000) != 0;

    /// <summary>Code segment.</summary>
    public readonly bool IsCode => (Attributes & 0x1800) == 0x1800;

    /// <summary>Conforming code, or expand-down data.</summary>
    public readonly bool ConformingOrExpandDown => (Attributes & 0x400) != 0;

    /// <summary>Code: readable. Data: writable.</summary>
    public readonly bool ReadableOrWritable => (Attributes & 0x200) != 0;

    /// <summary>D/B: 32-bit code, 32-bit stack pointer or 4 GiB upper bound of an expand-down segment.</summary>
    public readonly bool Big => (Attributes & 0x40_0000) != 0;
}

/// <summary>The six segment registers, indexed by <see cref="SegmentName"/>.</summary>
[InlineArray(6)]
public struct SegmentRegisters
{
    private Segment first;
}

/// <summary>GDTR or IDTR.</summary>
public struct DescriptorTable
{
    /// <summary>Linear address of the table.</summary>
    public uint Base;

    /// <summary>Last valid offset in bytes, 0 to 0xFFFF.</summary>
    public uint Limit;
}
