// Loading segment registers: selectors become descriptors here, and every rule of protection that the loading instruction enforces is
// enforced here (Intel SDM volume 3, 5.5 to 5.8). The Host leans on these rules: a Guest in ring 1 is confined by them.

using Lguest.X86.State;
using Lguest.X86.Translation;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const uint DescriptorAccessed = 0x100;
    private const ushort SelectorLocal = 4;

    /// <summary>A descriptor as it stands in its table.</summary>
    internal readonly record struct Descriptor(uint Low, uint High)
    {
        public bool Present => (High & 0x8000) != 0;

        public int PrivilegeLevel => (int)(High >> 13) & 3;

        public bool IsCodeOrData => (High & 0x1000) != 0;

        public bool IsCode => (High & 0x1800) == 0x1800;

        public bool IsConforming => (High & 0x1C00) == 0x1C00;

        public bool IsReadable => !IsCode || (High & 0x200) != 0;

        public bool IsWritableData => (High & 0x1A00) == 0x1200;

        /// <summary>Type field of a system descriptor, 0 to 15.</summary>
        public int SystemType => (int)(High >> 8) & 0xF;

        public Segment ToSegment(ushort selector)
        {
            uint limit = (Low & 0xFFFF) | (High & 0xF_0000);
            return new Segment
            {
                Selector = selector,
                Base = (Low >> 16) | ((High & 0xFF) << 16) | (High & 0xFF00_0000),
                Limit = (High & 0x80_0000) != 0 ? (limit << 12) | 0xFFF : limit,
                Attributes = High & 0x00F0_FF00,
            };
        }
    }

    /// <summary>Reads the descriptor that a selector names; false when it lies outside its table.</summary>
    internal bool TryReadDescriptor(ushort selector, out Descriptor descriptor)
    {
        uint offset = selector & 0xFFF8u;
        uint tableBase = state->Gdtr.Base;
        uint tableLimit = state->Gdtr.Limit;
        if ((selector & 4) != 0)
        {
            tableBase = state->Ldtr.Base;
            tableLimit = state->Ldtr.Limit;
            if (!state->Ldtr.Present)
            {
                descriptor = default;
                return false;
            }
        }
        if (offset + 7 > tableLimit)
        {
            descriptor = default;
            return false;
        }
        ulong raw = ReadSystem<ulong>(tableBase + offset);
        descriptor = new Descriptor((uint)raw, (uint)(raw >> 32));
        return true;
    }

    /// <summary>Reads the descriptor that a selector names, or faults with #GP(selector) or another vector.</summary>
    internal Descriptor ReadDescriptor(ushort selector, byte vector = Vector.GeneralProtection, uint external = 0) =>
        TryReadDescriptor(selector, out Descriptor descriptor) ? descriptor : throw Fault(vector, (selector & 0xFFFCu) | external);

    /// <summary>Loads ES, SS, DS, FS or GS as MOV and POP do.</summary>
    internal void LoadSegment(SegmentName name, ushort selector)
    {
        if (UsesRealSegments)
        {
            LoadRealSegment(name, selector);
            return;
        }
        if ((selector & 0xFFFC) == 0)
        {
            if (name == SegmentName.SS)
            {
                throw Fault(Vector.GeneralProtection);
            }
            var nothing = new Segment { Selector = selector };
            SetSegment(name, nothing);
            // What the table has in its first place matters to nobody, but the search for loaded descriptors compares it.
            if (TryReadKnownSystem(state->Gdtr.Base, out ulong first))
            {
                NoteLoaded(new Descriptor((uint)first, (uint)(first >> 32)), nothing);
            }
            return;
        }
        uint errorCode = selector & 0xFFFCu;
        Descriptor descriptor = ReadDescriptor(selector);
        int requested = selector & 3;
        int current = state->PrivilegeLevel;
        if (name == SegmentName.SS)
        {
            CheckStackDescriptor(descriptor, selector, current, Vector.GeneralProtection, 0);
        }
        else
        {
            bool allowed = descriptor.IsCodeOrData && descriptor.IsReadable
                && (descriptor.IsConforming || descriptor.PrivilegeLevel >= Math.Max(current, requested));
            if (!allowed)
            {
                throw Fault(Vector.GeneralProtection, errorCode);
            }
            if (!descriptor.Present)
            {
                throw Fault(Vector.SegmentNotPresent, errorCode);
            }
        }
        descriptor = MarkAccessed(descriptor, selector);
        Segment segment = descriptor.ToSegment(selector);
        SetSegment(name, segment);
        if ((selector & SelectorLocal) == 0)
        {
            NoteLoaded(descriptor, segment);
        }
    }

    /// <summary>Remembers what a selector in the GDT stands for, for the next time that translated code loads it.</summary>
    private void NoteLoaded(in Descriptor descriptor, in Segment segment) => context->Descriptors[LoadedDescriptor.Slot(segment.Selector)] = new LoadedDescriptor
    {
        Key = ((uint)state->PrivilegeLevel << 16) | segment.Selector,
        Base = segment.Base,
        Limit = segment.Limit,
        Attributes = segment.Attributes,
        Raw = ((ulong)descriptor.High << 32) | descriptor.Low,
        IsUnlimited = IsUnlimited(segment) ? (byte)1 : (byte)0,
        IsFlat = IsFlat(segment) ? (byte)1 : (byte)0,
        TableLimit = state->Gdtr.Limit,
    };

    /// <summary>Faults unless a descriptor can be the stack segment of a ring.</summary>
    internal void CheckStackDescriptor(in Descriptor descriptor, ushort selector, int ring, byte vector, uint external)
    {
        uint errorCode = (selector & 0xFFFCu) | external;
        if ((selector & 3) != ring || descriptor.PrivilegeLevel != ring || !descriptor.IsWritableData)
        {
            throw Fault(vector, errorCode);
        }
        if (!descriptor.Present)
        {
            throw Fault(Vector.StackFault, errorCode);
        }
    }

    /// <summary>Sets the accessed bit of a descriptor in its table, as loading it does.</summary>
    internal Descriptor MarkAccessed(in Descriptor descriptor, ushort selector)
    {
        if ((descriptor.High & DescriptorAccessed) != 0)
        {
            return descriptor;
        }
        uint tableBase = (selector & 4) != 0 ? state->Ldtr.Base : state->Gdtr.Base;
        WriteSystem(tableBase + (selector & 0xFFF8u) + 4, descriptor.High | DescriptorAccessed);
        return descriptor with { High = descriptor.High | DescriptorAccessed };
    }

    /// <summary>Replaces a segment register whole, hidden part included.</summary>
    internal void SetSegment(SegmentName name, in Segment segment)
    {
        KeepX87Selectors();
        state->Segments[(int)name] = segment;
        UpdateMode();
    }

    /// <summary>Enters a ring: its translations, its alignment checks.</summary>
    internal void SetPrivilegeLevel(int level)
    {
        state->PrivilegeLevel = level;
        StateChanged();
    }

    /// <summary>After a return to an outer ring, data segments that it may not use become null (Intel SDM volume 2, IRET).</summary>
    internal void DropInnerSegments()
    {
        foreach (SegmentName name in (ReadOnlySpan<SegmentName>)[SegmentName.ES, SegmentName.DS, SegmentName.FS, SegmentName.GS])
        {
            if (IsInner(state->Segments[(int)name], state->PrivilegeLevel))
            {
                SetSegment(name, default);
            }
        }
    }

    private bool HasInnerSegments(int ring)
    {
        ref SegmentRegisters segments = ref state->Segments;
        return IsInner(segments[(int)SegmentName.ES], ring) || IsInner(segments[(int)SegmentName.DS], ring)
            || IsInner(segments[(int)SegmentName.FS], ring) || IsInner(segments[(int)SegmentName.GS], ring);
    }

    /// <summary>Whether a data segment belongs to a more privileged ring.</summary>
    private static bool IsInner(in Segment segment, int ring) =>
        segment.Present && segment.PrivilegeLevel < ring && !(segment.IsCode && segment.ConformingOrExpandDown);

    // S:100 The crossing, a play in two scenes. *Scene one: a border post at night. On this side lies the realm of C#, ring 0, brightly
    // lit. On the other side it is dark, and somebody is breathing.*
    //
    //   HOST       You want to go over? Papers.
    //   PROCESSOR  Nine pieces. Four selectors for data.
    //   HOST       Look them up, one by one. In the table over there, not in your memory.
    //   PROCESSOR  GS, that is one of the thread's own segments. FS. DS, ES: flat. All in order.
    //   HOST       And had one of them not been?
    //   PROCESSOR  Then I would raise a fault, here, in your ring, before anything happened.
    //   HOST       I would find number 256 in the book, and look for somebody to give it to. Go on.
    //   PROCESSOR  A code segment, with the address of the next instruction. Ring 1.
    //   HOST       Not ring 0? Some have tried.
    //   PROCESSOR  Ring 1. Flags: interrupts on. A stack, of the same ring.
    //   HOST       Then go. Take nothing of mine with you.
    //   PROCESSOR  Whatever segment is too good for ring 1, I drop at the gate.
    //
    // *He steps over. It is not as if he were somebody else on the other side. He only forgets, at once and completely, that there is
    // this one.*
    /// <summary>Leaves the Host's ring for ring 1, 2 or 3 as the instructions <c>pop %gs; pop %fs; pop %ds; pop %es; iret</c> would.</summary>
    /// <returns>
    /// False when a register cannot be loaded; <paramref name="fault"/> is the exception that ring 0 would have seen, and the state is
    /// unchanged.
    /// </returns>
    public bool TryLeaveHostRing(in OuterRingFrame frame, out ProcessorExit fault)
    {
        SegmentRegisters segments = state->Segments;
        int level = state->PrivilegeLevel;
        try
        {
            SetPrivilegeLevel(0);
            LoadSegment(SegmentName.GS, frame.Gs);
            LoadSegment(SegmentName.FS, frame.Fs);
            LoadSegment(SegmentName.DS, frame.Ds);
            LoadSegment(SegmentName.ES, frame.Es);
            int ring = frame.Cs & 3;
            if (ring == 0)
            {
                throw Fault(Vector.GeneralProtection, frame.Cs & 0xFFFCu);
            }
            ReturnToOuterRing(frame.Cs, frame.Eip, frame.Ss, frame.Esp);
            state->Eip = frame.Eip;
            SetEflags(frame.Eflags & ~Eflags.Virtual8086);
            fault = default;
            return true;
        }
        catch (Execution.GuestFault)
        {
            state->Segments = segments;
            SetPrivilegeLevel(level);
            fault = new ProcessorExit(ExitKind.HostRing, pendingVector, pendingErrorCode);
            return false;
        }
    }
    // :*

    /// <summary>Replaces EFLAGS whole, and what the engines derive from it.</summary>
    internal void SetEflags(uint value)
    {
        state->Eflags = value & ImplementedFlags;
        StateChanged();
    }

    /// <summary>Loads CS and SS for a return to an outer ring, after all checks, and enters that ring.</summary>
    internal void ReturnToOuterRing(ushort codeSelector, uint eip, ushort stackSelector, uint esp)
    {
        int ring = codeSelector & 3;
        Descriptor code = CheckReturnCode(codeSelector, eip);
        if ((stackSelector & 0xFFFC) == 0)
        {
            throw Fault(Vector.GeneralProtection);
        }
        Descriptor stack = ReadDescriptor(stackSelector);
        CheckStackDescriptor(stack, stackSelector, ring, Vector.GeneralProtection, 0);
        Segment codeSegment = MarkAccessed(code, codeSelector).ToSegment(codeSelector);
        Segment stackSegment = MarkAccessed(stack, stackSelector).ToSegment(stackSelector);
        KeepX87Selectors();
        state->Segments[(int)SegmentName.CS] = codeSegment;
        state->Segments[(int)SegmentName.SS] = stackSegment;
        ref uint stackPointer = ref state->General[(int)Register32.Esp];
        stackPointer = stackSegment.Big ? esp : (stackPointer & 0xFFFF_0000) | (esp & 0xFFFF);
        SetPrivilegeLevel(ring);
        DropInnerSegments();
    }

    /// <summary>Checks the code segment of a far return or IRET.</summary>
    internal Descriptor CheckReturnCode(ushort selector, uint eip)
    {
        if ((selector & 0xFFFC) == 0)
        {
            throw Fault(Vector.GeneralProtection);
        }
        uint errorCode = selector & 0xFFFCu;
        Descriptor code = ReadDescriptor(selector);
        int ring = selector & 3;
        bool allowed = code.IsCode && ring >= state->PrivilegeLevel
            && (code.IsConforming ? code.PrivilegeLevel <= ring : code.PrivilegeLevel == ring);
        if (!allowed)
        {
            throw Fault(Vector.GeneralProtection, errorCode);
        }
        if (!code.Present)
        {
            throw Fault(Vector.SegmentNotPresent, errorCode);
        }
        if (eip > code.ToSegment(selector).Limit)
        {
            throw Fault(Vector.GeneralProtection);
        }
        return code;
    }
}

/// <summary>What the Host's ring restores when it returns to an outer ring.</summary>
public struct OuterRingFrame
{
    /// <summary>GS, FS, DS and ES, loaded in this order.</summary>
    public ushort Gs, Fs, Ds, Es;

    /// <summary>EIP, EFLAGS and ESP of the outer ring.</summary>
    public uint Eip, Eflags, Esp;

    /// <summary>CS and SS of the outer ring; the RPL of CS is the ring, 1 to 3.</summary>
    public ushort Cs, Ss;
}
