// Runs of bytes that string instructions may touch directly: inside one page, inside the segment, known to the TLB. Copying and
// clearing memory is a large part of what a kernel does, and the host does it a page at a time much faster than element by element.

using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    /// <summary>The longest run that begins (or, backward, ends) with the element at an offset and may be accessed at will.</summary>
    /// <param name="name">Segment register.</param>
    /// <param name="offset">Offset of the element.</param>
    /// <param name="mask">Where offsets wrap: all ones in the address size.</param>
    /// <param name="size">Bytes of the element.</param>
    /// <param name="backward">The run extends to lower addresses.</param>
    /// <param name="write">Write rather than read.</param>
    /// <returns>
    /// Empty when the element needs the ordinary path: it crosses a boundary, would fault, or somebody must hear of the access.
    /// </returns>
    internal Span<byte> DirectSpan(SegmentName name, uint offset, uint mask, uint size, bool backward, bool write)
    {
        ref Segment segment = ref state->Segments[(int)name];
        uint linear = segment.Base + offset;
        uint inPage = linear & 0xFFF;
        uint end = Math.Min(segment.Limit, mask);
        bool plain = segment.Present && !alignmentChecks
            && (segment.IsCode ? !write && segment.ReadableOrWritable : !segment.ConformingOrExpandDown && (!write || segment.ReadableOrWritable));
        if (!plain || inPage + size > MachineMemory.FrameSize || end < size - 1 || offset > end - (size - 1))
        {
            return [];
        }
        // SAFETY: the tag says that the whole page is readable (or writable without notice) at the entry's host address; the run was
        // cut to that page above.
        unsafe
        {
            TlbEntry* entry = currentTlb.Data + ((linear >> 12) % SoftTlb.Entries);
            uint page = linear & 0xFFFF_F000;
            if ((write ? entry->WriteTag : entry->ReadTag) != page
                && (!TryFillData(currentTlb, linear, write, out _) || (write ? entry->WriteTag : entry->ReadTag) != page))
            {
                return [];
            }
            byte* host = (byte*)(entry->Addend + (nint)linear);
            if (backward)
            {
                uint before = Math.Min(inPage, offset);
                return new Span<byte>(host - before, (int)(before + size));
            }
            return new Span<byte>(host, (int)(Math.Min(MachineMemory.FrameSize - 1 - inPage, end - offset) + 1));
        }
    }
}
