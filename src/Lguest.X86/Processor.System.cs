// Control registers, privileges and flags: what the system instructions change about the processor itself.

using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private bool alignmentChecks;
    private ulong timeStampOffset;

    /// <summary>The time-stamp counter.</summary>
    internal ulong TimeStampCounter
    {
        get => options.TimeStampCounter() + timeStampOffset;
        set => timeStampOffset = value - options.TimeStampCounter();
    }

    /// <summary>IA32_TSC_ADJUST: what has been added to the counter since power-on.</summary>
    internal ulong TimeStampAdjust
    {
        get => timeStampOffset;
        set => timeStampOffset = value;
    }

    /// <summary>Recomputes what the engines derive from control registers, segments, flags and privilege level.</summary>
    /// <remarks>Call it after changing those in <see cref="State"/> directly.</remarks>
    public void StateChanged()
    {
        alignmentChecks = state->PrivilegeLevel == 3
            && (state->Cr0 & Cr0.AlignmentMask) != 0 && (state->SystemFlags & Eflags.AlignmentCheck) != 0;
        currentTlb = TlbFor(state->PrivilegeLevel == 3);
        leaveBlocks = true;
        UpdateMode();
    }

    /// <summary>#GP(0) outside ring 0.</summary>
    internal void RequireRing0()
    {
        if (state->PrivilegeLevel != 0)
        {
            throw Fault(Vector.GeneralProtection);
        }
    }

    /// <summary>Whether a code segment would run in the ring that belongs to the Host.</summary>
    internal bool IsHostRing(in Descriptor code) => options.HostOwnsRing0 && !code.IsConforming && code.PrivilegeLevel == 0;

    /// <summary>Whether the whole processor is the Guest's, ring 0 too.</summary>
    internal bool OwnsRing0 => !options.HostOwnsRing0;

    /// <summary>Writes CR0.</summary>
    /// <exception cref="Execution.GuestFault">The page-directory pointers that PAE paging begins with are wrong.</exception>
    internal void SetCr0(uint value)
    {
        uint changed = state->Cr0 ^ value;
        if ((changed & (Cr0.Paging | Cr0.CacheDisable | Cr0.NotWriteThrough)) != 0)
        {
            LoadDirectoryPointers(value, state->Cr3, state->Cr4);
        }
        state->Cr0 = value;
        if ((changed & (Cr0.Paging | Cr0.WriteProtect)) != 0)
        {
            FlushAddressSpaces();
        }
        StateChanged();
    }

    /// <summary>Writes CR3 as a kernel in ring 0 does: the TLB forgets everything that is not global.</summary>
    /// <exception cref="Execution.GuestFault">The page-directory pointers of PAE paging are wrong.</exception>
    internal void SetCr3(uint value)
    {
        LoadDirectoryPointers(state->Cr0, value, state->Cr4);
        state->Cr3 = value;
        currentSpace.Directory = value & 0xFFFF_F000;
        currentSpace.FlushLocal();
        leaveBlocks = true;
    }

    /// <summary>Writes CR4.</summary>
    /// <exception cref="Execution.GuestFault">The page-directory pointers that PAE paging begins with are wrong.</exception>
    internal void SetCr4(uint value)
    {
        const uint reloads = Cr4.PhysicalAddressExtension | Cr4.PageGlobalEnable | Cr4.PageSizeExtensions;
        if (((state->Cr4 ^ value) & reloads) != 0)
        {
            LoadDirectoryPointers(state->Cr0, state->Cr3, value);
        }
        state->Cr4 = value;
        FlushAddressSpaces();
        leaveBlocks = true;
    }

    /// <summary>Writes IA32_EFER.</summary>
    internal void SetEfer(uint value)
    {
        state->Efer = value;
        FlushAddressSpaces();
        leaveBlocks = true;
    }

    private void FlushAddressSpaces()
    {
        foreach (AddressSpace space in addressSpaces)
        {
            space.Flush();
        }
    }

    /// <summary>HLT in ring 0.</summary>
    internal void Halt()
    {
        ExitToHost(new ProcessorExit(ExitKind.Halt, 0, 0));
        leaveBlocks = true;
    }

    /// <summary>POPF and IRET: which flags may change depends on the privilege level (Intel SDM volume 1, 3.4.3).</summary>
    /// <param name="value">The popped image.</param>
    /// <param name="size">2 or 4 bytes.</param>
    /// <param name="level">Privilege level of the instruction, before it changed anything.</param>
    internal void RestoreFlags(uint value, int size, int level)
    {
        uint changeable = FlagsThatReturnRestores(size, level);
        SetEflags((state->Eflags & ~changeable) | (value & changeable));
    }

    private uint FlagsThatReturnRestores(int size, int level)
    {
        uint changeable = Eflags.Status | Eflags.Trap | Eflags.Direction | Eflags.NestedTask | Eflags.AlignmentCheck
            | Eflags.Identification | Eflags.Resume;
        if (level == 0)
        {
            changeable |= Eflags.IoPrivilege;
        }
        if (level <= (int)((state->SystemFlags & Eflags.IoPrivilege) >> 12))
        {
            changeable |= Eflags.Interrupt;
        }
        return size == 2 ? changeable & 0xFFFF : changeable;
    }

    /// <summary>Whether the I/O permission bitmap (or IOPL) lets this program touch ports; #GP(0) if not (Intel SDM volume 1, 18.5).</summary>
    internal void CheckPort(ushort port, int size)
    {
        if (!InVirtual8086Mode && state->PrivilegeLevel <= (int)((state->SystemFlags & Eflags.IoPrivilege) >> 12))
        {
            return;
        }
        ref Segment task = ref state->TaskRegister;
        bool task32 = task.Present && (task.Attributes & 0x800) != 0;
        if (task32 && task.Limit >= 0x67)
        {
            uint bitmap = ReadSystem<ushort>(task.Base + 0x66) + ((uint)port / 8);
            if (bitmap + 1 <= task.Limit)
            {
                uint bits = (uint)ReadSystem<ushort>(task.Base + bitmap) >> (port % 8);
                if ((bits & ((1u << size) - 1)) == 0)
                {
                    return;
                }
            }
        }
        throw Fault(Vector.GeneralProtection);
    }

    /// <summary>IN, permission granted.</summary>
    internal uint ReadPort(ushort port, int size) => options.Ports?.Read(port, size) ?? 0xFFFF_FFFF;

    /// <summary>OUT, permission granted.</summary>
    internal void WritePort(ushort port, int size, uint value) => options.Ports?.Write(port, size, value);

    /// <summary>A call through a gate to an inner ring: a new stack with the caller's stack pointer, parameters and return address.</summary>
    internal void SwitchToInnerStack(int ring, uint parameters, int size)
    {
        (Segment stack, uint esp) = InnerStack(ring, 0);
        uint words = 4 + parameters;
        uint mask = stack.Big ? 0xFFFF_FFFF : 0xFFFFu;
        uint bytes = words * (uint)size;
        uint top = (esp - bytes) & mask;
        if (!InLimit(stack, top, bytes))
        {
            throw Fault(Vector.StackFault, stack.Selector & 0xFFFCu);
        }
        SoftTlb tlb = TlbFor(ring == 3);
        uint linear = stack.Base + top;
        RequireFrame(tlb, linear, bytes, (uint)size);
        WriteFrameWord(tlb, ref linear, NextEip, size);
        WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.CS].Selector, size);
        for (uint i = 0; i < parameters; i++)
        {
            WriteFrameWord(tlb, ref linear, Peek(i * (uint)size, size), size);
        }
        WriteFrameWord(tlb, ref linear, state->General[(int)Register32.Esp], size);
        WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.SS].Selector, size);
        KeepX87Selectors();
        state->Segments[(int)SegmentName.SS] = stack;
        state->General[(int)Register32.Esp] = (esp & ~mask) | top;
    }
}
