// Segmentation: from selector and offset to linear address, and everything that is checked on the way (Intel SDM volume 3, chapter 5).

using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    /// <summary>Linear address of an access, after the checks of the segment (and of alignment, where the program asked for them).</summary>
    /// <param name="name">Segment register.</param>
    /// <param name="offset">Offset of the first byte.</param>
    /// <param name="size">Bytes, at least 1.</param>
    /// <param name="write">Write rather than read.</param>
    internal uint Linear(SegmentName name, uint offset, uint size, bool write)
    {
        ref Segment segment = ref state->Segments[(int)name];
        bool allowed = (segment.IsCode
            ? !write && segment.ReadableOrWritable
            : !write || segment.ReadableOrWritable) || UsesRealSegments;
        if (!segment.Present || !allowed || !InLimit(segment, offset, size))
        {
            throw Fault(name == SegmentName.SS ? Vector.StackFault : Vector.GeneralProtection);
        }
        uint linear = segment.Base + offset;
        if (alignmentChecks && size is 2 or 4 or 8 && (linear & (size - 1)) != 0)
        {
            throw Fault(Vector.AlignmentCheck);
        }
        return linear;
    }

    private static bool InLimit(in Segment segment, uint offset, uint size)
    {
        uint last = offset + size - 1;
        if (!segment.IsCode && segment.ConformingOrExpandDown)
        {
            return offset > segment.Limit && last >= offset && last <= (segment.Big ? 0xFFFF_FFFF : 0xFFFF);
        }
        // An access that wraps around a segment of 4 GiB may or may not fault (5.3); here it does not, as fast paths check nothing.
        return last <= segment.Limit && (last >= offset || segment.Limit == 0xFFFF_FFFF);
    }

    /// <summary>Whether a data segment is the whole 4 GiB from 0 and writable, so that its checks never fail.</summary>
    private static bool IsFlat(in Segment segment) => segment.Base == 0 && IsUnlimited(segment);

    /// <summary>Whether a code segment is the whole 4 GiB from 0, of 32-bit code.</summary>
    private static bool IsFlatCode(in Segment segment) => segment.Big && segment.Base == 0 && segment.Limit == 0xFFFF_FFFF;

    private static bool IsUnlimited(in Segment segment) =>
        segment.Present && segment.Limit == 0xFFFF_FFFF && segment.ReadableOrWritable && !segment.IsCode && !segment.ConformingOrExpandDown;

    /// <summary>The stack pointer wraps at 16 bits when the stack segment is a 16-bit one.</summary>
    internal uint StackMask => state->Segments[(int)SegmentName.SS].Big ? 0xFFFF_FFFF : 0xFFFF;

    /// <summary>Pushes a value of two or four bytes.</summary>
    internal void Push(uint value, int size)
    {
        uint mask = StackMask;
        uint esp = state->General[(int)Register32.Esp];
        uint offset = (esp - (uint)size) & mask;
        uint linear = Linear(SegmentName.SS, offset, (uint)size, true);
        if (size == 2)
        {
            WriteLinear(linear, (ushort)value);
        }
        else
        {
            WriteLinear(linear, value);
        }
        state->General[(int)Register32.Esp] = (esp & ~mask) | offset;
    }

    /// <summary>Reads a value <paramref name="depth"/> bytes above the top of the stack without popping it.</summary>
    internal uint Peek(uint depth, int size)
    {
        uint offset = (state->General[(int)Register32.Esp] + depth) & StackMask;
        uint linear = Linear(SegmentName.SS, offset, (uint)size, false);
        return size == 2 ? ReadLinear<ushort>(linear) : ReadLinear<uint>(linear);
    }

    /// <summary>Moves the stack pointer up.</summary>
    internal void Drop(uint bytes)
    {
        uint mask = StackMask;
        ref uint esp = ref state->General[(int)Register32.Esp];
        esp = (esp & ~mask) | ((esp + bytes) & mask);
    }

    /// <summary>Pops a value of two or four bytes.</summary>
    internal uint Pop(int size)
    {
        uint value = Peek(0, size);
        Drop((uint)size);
        return value;
    }
}
