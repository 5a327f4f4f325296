// The short way into a kernel and out again. A program that makes system calls goes through the same gate every time, and the kernel
// returns by the same two selectors. The manual has a page of rules for each way (Processor.Interrupts.cs and Processor.Descriptors.cs
// follow them one by one), but they all depend on a few words in memory: the gate, two descriptors, the stack in the TSS. As long as
// these are what they were when the rules were last followed, and nothing rare is asked for, the result is what it was.
//
// Only translated code comes this way, so everything is flat before. Only crossings between flat segments are remembered, so everything
// is flat behind, and blocks may assume what they did.

using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const uint WordsOfCrossing = 5;
    private const uint BytesOfCrossing = WordsOfCrossing * sizeof(uint);
    private const uint StackInTask = 4;
    private const uint StackOfRing = 8;

    private Crossing entering;
    private Crossing leaving;

    /// <summary>Two segments that a way into or out of an inner ring has loaded, and what they were made of.</summary>
    private struct Crossing
    {
        /// <summary>The vector, for a way in.</summary>
        public byte Vector;

        /// <summary>The ring that is left; no ring is <see cref="Nowhere"/>.</summary>
        public int From = Nowhere;

        /// <summary>The gate, for a way in.</summary>
        public ulong Gate;

        /// <summary>Descriptors of code and stack as they stand in the GDT, and its limit.</summary>
        public ulong CodeDescriptor, StackDescriptor;

        public uint TableLimit;

        public Segment Code, Stack;

        public const int Nowhere = -1;

        public Crossing()
        {
        }
    }

    /// <summary>Remembers a way in that all rules allow: the state is as it is behind it.</summary>
    /// <param name="vector">Its vector.</param>
    /// <param name="gate">Its gate, to a 32-bit handler.</param>
    /// <param name="from">The ring that has been left.</param>
    private void NoteEntered(byte vector, ulong gate, int from)
    {
        entering.From = Crossing.Nowhere;
        if (from > state->PrivilegeLevel && TaskIs32Bits(state->TaskRegister) && TryNote(ref entering))
        {
            entering.Vector = vector;
            entering.Gate = gate;
            entering.From = from;
        }
    }

    /// <summary>Remembers a way out in the same manner.</summary>
    internal void NoteLeft(int from)
    {
        leaving.From = Crossing.Nowhere;
        if (TryNote(ref leaving))
        {
            leaving.From = from;
        }
    }

    private bool TryNote(ref Crossing crossing)
    {
        crossing.Code = state->Segments[(int)SegmentName.CS];
        crossing.Stack = state->Segments[(int)SegmentName.SS];
        crossing.TableLimit = state->Gdtr.Limit;
        return IsFlatCode(crossing.Code) && IsFlat(crossing.Stack) && crossing.Stack.Big
            && ((crossing.Code.Selector | crossing.Stack.Selector) & SelectorLocal) == 0
            && TryReadKnownSystem(DescriptorAddress(crossing.Code), out crossing.CodeDescriptor)
            && TryReadKnownSystem(DescriptorAddress(crossing.Stack), out crossing.StackDescriptor);
    }

    private static bool TaskIs32Bits(in Segment task) => (task.Attributes & 0x800) != 0;

    private uint DescriptorAddress(in Segment segment) => state->Gdtr.Base + (segment.Selector & 0xFFF8u);

    /// <summary>Whether the descriptors that a crossing was made of have not changed.</summary>
    private bool IsUnchanged(in Crossing crossing) =>
        state->PrivilegeLevel == crossing.From && state->Gdtr.Limit == crossing.TableLimit
        && TryReadKnownSystem(DescriptorAddress(crossing.Code), out ulong code) && code == crossing.CodeDescriptor
        && TryReadKnownSystem(DescriptorAddress(crossing.Stack), out ulong stack) && stack == crossing.StackDescriptor;

    /// <summary>INT n as it went last time; false, with nothing changed, where it may go otherwise.</summary>
    /// <param name="vector">Its vector.</param>
    /// <param name="returnEip">EIP behind it.</param>
    private bool TryEnterAsBefore(byte vector, uint returnEip)
    {
        ref readonly Crossing way = ref entering;
        ref Segment task = ref state->TaskRegister;
        int ring = way.Code.Selector & 3;
        uint stackInTask = StackInTask + ((uint)ring * StackOfRing);
        if (vector != way.Vector || !IsUnchanged(way)
            || ((uint)vector * 8) + 7 > state->Idtr.Limit
            || !TryReadKnownSystem(state->Idtr.Base + ((uint)vector * 8), out ulong gate) || gate != way.Gate
            || !task.Present || !TaskIs32Bits(task) || stackInTask + 5 > task.Limit
            || !TryReadKnownSystem(task.Base + stackInTask, out ulong innerStack) || (ushort)(innerStack >> 32) != way.Stack.Selector)
        {
            return false;
        }
        uint top = (uint)innerStack - BytesOfCrossing;
        // SAFETY: the index is reduced modulo the TLB's length; a write tag that is the page of the frame's first byte and of its last
        // means that both lie in the host page that the entry names.
        unsafe
        {
            TlbEntry* entry = Entry(currentSpace.Supervisor.Data, top);
            if (entry->WriteTag != (top & PageMask) || entry->WriteTag != ((top + BytesOfCrossing - 1) & PageMask))
            {
                return false;
            }
            uint* frame = (uint*)(entry->Addend + (nint)top);
            frame[0] = returnEip;
            frame[1] = state->Segments[(int)SegmentName.CS].Selector;
            frame[2] = state->SystemFlags | SavedStatus(context->FlagsWord);
            frame[3] = state->General[(int)Register32.Esp];
            frame[4] = state->Segments[(int)SegmentName.SS].Selector;
        }
        state->General[(int)Register32.Esp] = top;
        state->SystemFlags &= ~FlagsClearedBy(gate);
        state->Eip = GateOffset(gate);
        Cross(way, ring);
        deliveries++;
        return true;
    }

    /// <summary>IRETD to an outer ring as it went last time; false, with nothing changed, where it may go otherwise.</summary>
    private bool TryLeaveAsBefore()
    {
        const uint rare = Eflags.Trap | Eflags.NestedTask | Eflags.Resume | Eflags.Virtual8086 | Eflags.AlignmentCheck;
        ref readonly Crossing way = ref leaving;
        uint esp = state->General[(int)Register32.Esp];
        int ring = way.Code.Selector & 3;
        if (!IsUnchanged(way) || (state->SystemFlags & Eflags.NestedTask) != 0 || HasInnerSegments(ring))
        {
            return false;
        }
        // SAFETY: as in TryEnterAsBefore, for reading.
        unsafe
        {
            TlbEntry* entry = Entry(currentTlb.Data, esp);
            if (entry->ReadTag != (esp & PageMask) || entry->ReadTag != ((esp + BytesOfCrossing - 1) & PageMask))
            {
                return false;
            }
            uint* frame = (uint*)(entry->Addend + (nint)esp);
            uint flags = frame[2];
            if ((ushort)frame[1] != way.Code.Selector || (ushort)frame[4] != way.Stack.Selector || (flags & rare) != 0)
            {
                return false;
            }
            uint changeable = FlagsThatReturnRestores(4, way.From) & ~Eflags.Status;
            state->SystemFlags = ((state->SystemFlags & ~changeable) | (flags & changeable)) & ImplementedFlags;
            context->FlagsWord = PackFlags(flags);
            state->Eip = frame[0];
            state->General[(int)Register32.Esp] = frame[3];
        }
        Cross(way, ring);
        return true;
    }

    private void Cross(in Crossing way, int ring)
    {
        KeepX87Selectors();
        state->Segments[(int)SegmentName.CS] = way.Code;
        state->Segments[(int)SegmentName.SS] = way.Stack;
        state->PrivilegeLevel = ring;
        currentTlb = TlbFor(ring == 3);
    }
}
