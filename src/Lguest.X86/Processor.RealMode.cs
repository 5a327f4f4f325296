// Real mode and virtual-8086 mode (Intel SDM volume 3, chapter 20): the processor of 1978, in which a segment is its number times 16.
// Real mode is what every processor starts in. Its segment registers keep the hidden parts that protected mode gave them, limits above
// all, on which firmware relies. Virtual-8086 mode is a ring 3 that believes in 1978: what would hurt others faults to its monitor.

using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const uint RealLimit = 0xFFFF;
    private const uint RealAttributes = 0x9300;
    private const uint Virtual8086Attributes = 0xF300;
    private const uint TypeAndPresence = 0xFF00;

    /// <summary>Protection is off.</summary>
    internal bool InRealMode => (state->Cr0 & Cr0.ProtectionEnable) == 0;

    /// <summary>A ring-3 program in virtual-8086 mode runs.</summary>
    internal bool InVirtual8086Mode => (state->SystemFlags & Eflags.Virtual8086) != 0;

    /// <summary>Selectors are addresses divided by 16, not numbers of descriptors.</summary>
    internal bool UsesRealSegments => InRealMode || InVirtual8086Mode;

    /// <summary>#UD where there are no descriptors.</summary>
    internal void RequireDescriptors()
    {
        if (UsesRealSegments)
        {
            throw Fault(Vector.InvalidOpcode);
        }
    }

    /// <summary>#GP(0) for what a virtual-8086 program may do only with IOPL 3.</summary>
    internal void RequireIoPrivilegeInVirtual8086Mode()
    {
        if (InVirtual8086Mode && (state->SystemFlags & Eflags.IoPrivilege) != Eflags.IoPrivilege)
        {
            throw Fault(Vector.GeneralProtection);
        }
    }

    /// <summary>The state after the RESET pin (9.1.1): real mode, and the first instruction 16 bytes below 4 GiB.</summary>
    /// <remarks>Call it while the processor is not running. Memory, the time-stamp counter and what is decoded stay.</remarks>
    public void ResetToRealMode()
    {
        CpuState cleared = default;
        State = cleared;
        Reset();
        ref CpuState s = ref State;
        s.Cr0 = Cr0.ExtensionType | Cr0.CacheDisable | Cr0.NotWriteThrough;
        for (int i = 0; i < 6; i++)
        {
            s.Segments[i] = new Segment { Limit = RealLimit, Attributes = RealAttributes };
        }
        s.Segments[(int)SegmentName.CS].Selector = 0xF000;
        s.Segments[(int)SegmentName.CS].Base = 0xFFFF_0000;
        s.Eip = 0xFFF0;
        s.General[(int)Register32.Edx] = Cpuid.SignatureInRing0;
        s.Fpu.ControlWord = 0x40;
        s.Ldtr = new Segment { Limit = RealLimit, Attributes = 0x8200 };
        s.TaskRegister = new Segment { Limit = RealLimit, Attributes = 0x8B00 };
        currentSpace.Directory = 0;
        FlushAddressSpaces();
        interruptRequest = 0;
        InterruptShadow = false;
        ArmDebugging();
        StateChanged();
    }

    /// <summary>What a segment register holds in virtual-8086 mode.</summary>
    private static Segment Virtual8086Segment(ushort selector) => new()
    {
        Selector = selector,
        Base = (uint)selector << 4,
        Limit = RealLimit,
        Attributes = Virtual8086Attributes,
    };

    /// <summary>Loads a segment register, CS too, in real or virtual-8086 mode.</summary>
    internal void LoadRealSegment(SegmentName name, ushort selector)
    {
        if (InVirtual8086Mode)
        {
            SetSegment(name, Virtual8086Segment(selector));
            return;
        }
        Segment segment = state->Segments[(int)name];
        if (!segment.Present)
        {
            segment.Limit = RealLimit;
        }
        segment.Selector = selector;
        segment.Base = (uint)selector << 4;
        segment.Attributes = (segment.Attributes & ~TypeAndPresence) | RealAttributes;
        SetSegment(name, segment);
    }

    /// <summary>Jumps to another code segment in real or virtual-8086 mode.</summary>
    internal void JumpToRealCode(ushort selector, uint eip)
    {
        RequireInRealCode(eip);
        LoadRealSegment(SegmentName.CS, selector);
        NextEip = eip;
    }

    /// <summary>#GP unless an address can be in a code segment of real or virtual-8086 mode.</summary>
    internal void RequireInRealCode(uint eip)
    {
        if (eip > (InVirtual8086Mode ? RealLimit : state->Segments[(int)SegmentName.CS].Limit))
        {
            throw Fault(Vector.GeneralProtection);
        }
    }

    /// <summary>Follows the interrupt vector table of real mode (20.1.4).</summary>
    private void DeliverInRealMode(byte vector, uint returnEip)
    {
        uint entry = (uint)vector * 4;
        if (entry + 3 > state->Idtr.Limit)
        {
            throw Fault(Vector.GeneralProtection);
        }
        uint target = ReadSystem<uint>(state->Idtr.Base + entry);
        RequireInRealCode(target & 0xFFFF);
        ref uint esp = ref state->General[(int)Register32.Esp];
        uint before = esp;
        try
        {
            Push(state->Eflags, 2);
            Push(state->Segments[(int)SegmentName.CS].Selector, 2);
            Push(returnEip, 2);
        }
        catch (Execution.GuestFault)
        {
            esp = before;
            throw;
        }
        state->SystemFlags &= ~(Eflags.Interrupt | Eflags.Trap | Eflags.AlignmentCheck | Eflags.Resume);
        JumpToRealCode((ushort)(target >> 16), target & 0xFFFF);
        StateChanged();
    }

    /// <summary>IRET of ring 0 into virtual-8086 mode: the rest of the frame, behind EIP, CS and EFLAGS.</summary>
    internal void ReturnToVirtual8086(uint eip, ushort code, uint eflags)
    {
        uint esp = Peek(12, 4);
        Span<ushort> selectors = stackalloc ushort[6];
        selectors[(int)SegmentName.CS] = code;
        selectors[(int)SegmentName.SS] = (ushort)Peek(16, 4);
        selectors[(int)SegmentName.ES] = (ushort)Peek(20, 4);
        selectors[(int)SegmentName.DS] = (ushort)Peek(24, 4);
        selectors[(int)SegmentName.FS] = (ushort)Peek(28, 4);
        selectors[(int)SegmentName.GS] = (ushort)Peek(32, 4);
        if (eip > RealLimit)
        {
            throw Fault(Vector.GeneralProtection);
        }
        state->General[(int)Register32.Esp] = esp;
        KeepX87Selectors();
        for (int i = 0; i < 6; i++)
        {
            state->Segments[i] = Virtual8086Segment(selectors[i]);
        }
        SetEflags(eflags);
        SetPrivilegeLevel(3);
        NextEip = eip;
    }

    /// <summary>What an interrupt out of virtual-8086 mode leaves in the data segment registers: nothing.</summary>
    private void DropDataSegments()
    {
        foreach (SegmentName name in (ReadOnlySpan<SegmentName>)[SegmentName.ES, SegmentName.DS, SegmentName.FS, SegmentName.GS])
        {
            state->Segments[(int)name] = default;
        }
    }
}
