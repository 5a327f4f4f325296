// How an exception or interrupt finds its handler: through the IDT, the code segment's descriptor and, for a more privileged handler,
// the stack in the TSS (Intel SDM volume 3, chapter 6). Where the handler's ring belongs to the Host, the search ends in C#: that is
// how every trap of an lguest Guest reaches its hypervisor, and why the traps that stay inside the Guest cost nothing.

using Lguest.X86.Execution;
using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>What caused an event; it decides privilege checks and error codes.</summary>
internal enum EventSource
{
    /// <summary>The processor found a reason to interrupt the current instruction.</summary>
    Exception,

    /// <summary>INT n, INT3, INTO: the gate's privilege level is checked.</summary>
    Instruction,

    /// <summary>A device.</summary>
    External,
}

public sealed unsafe partial class Processor
{
    private const uint ErrorCodeIdt = 2;
    private const uint ImplementedFlags = 0x003F_7FD7;

    private ProcessorExit hostExit;
    private bool hostExitPending;

    /// <summary>Whether a vector pushes an error code when the processor itself raises it.</summary>
    private static bool HasErrorCode(byte vector) => vector is 8 or >= 10 and <= 14 or 17;

    /// <summary>Delivers the noted exception at the current instruction; exceptions on the way follow the double-fault rules (6.15).</summary>
    private void DeliverPendingException()
    {
        if (pendingVector == Vector.X87FloatingPoint && (state->Cr0 & Cr0.NumericError) == 0 && options.NumericError is { } numericError)
        {
            // The wire leads to the interrupt controller; the processor stands still until an interrupt comes (Intel SDM volume 1, appendix D).
            numericError();
            ExitToHost(new ProcessorExit(ExitKind.Halt, 0, 0));
            return;
        }
        // A fault saves RF set, so that the debugger's breakpoint on the restarted instruction does not trigger again.
        state->SystemFlags |= Eflags.Resume;
        DeliverPending();
    }

    private void DeliverPending()
    {
        byte vector = pendingVector;
        uint errorCode = pendingErrorCode;
        while (true)
        {
            try
            {
                NextEip = state->Eip;
                Deliver(vector, errorCode, EventSource.Exception, state->Eip);
                state->Eip = NextEip;
                return;
            }
            catch (GuestFault)
            {
                if (vector == Vector.DoubleFault)
                {
                    ExitToHost(new ProcessorExit(ExitKind.Shutdown, vector, 0));
                    return;
                }
                bool doubleFault = (IsContributory(vector) && IsContributory(pendingVector))
                    || (vector == Vector.PageFault && (pendingVector == Vector.PageFault || IsContributory(pendingVector)));
                vector = doubleFault ? Vector.DoubleFault : pendingVector;
                errorCode = doubleFault ? 0 : pendingErrorCode;
            }
        }
    }

    private static bool IsContributory(byte vector) => vector is 0 or >= 10 and <= 13;

    /// <summary>Raises a trap behind the current instruction (INT n and its kin). A single step ends with the gate.</summary>
    internal void SoftwareInterrupt(byte vector)
    {
        Deliver(vector, 0, EventSource.Instruction, NextEip);
        singleStepping = false;
    }

    /// <summary>INT1: a trap that, unlike INT n, asks no gate for permission.</summary>
    internal void DebugTrap()
    {
        Deliver(Vector.Debug, 0, EventSource.Exception, NextEip);
        singleStepping = false;
    }

    /// <summary>Delivers a device's interrupt between two instructions.</summary>
    private void DeliverExternal(byte vector)
    {
        try
        {
            NextEip = state->Eip;
            Deliver(vector, 0, EventSource.External, state->Eip);
            state->Eip = NextEip;
        }
        catch (GuestFault)
        {
            DeliverPendingException();
        }
    }

    private void ExitToHost(in ProcessorExit exit)
    {
        hostExit = exit;
        hostExitPending = true;
    }

    // S:110 *Scene two: the other side, an instant later; or much later, who could tell.*
    //
    //   GUEST      I only wanted to read a byte.
    //   PROCESSOR  There is no page at that address. Fourteen.
    //   GUEST      Fourteen! I have a handler for that. It is in my table.
    //   PROCESSOR  Mine says something else. Gate fourteen: code segment 0x50, and that one is ring 0.
    //   GUEST      But I am ring 0!
    //   PROCESSOR  (politely) You are ring 1.
    //
    // *They have reached the gate. Light falls through it.*
    //
    //   HOST       That is far enough. What is it this time?
    //   PROCESSOR  Vector 14, error 0: he only wanted to read. And there is the address.
    //   HOST       Leave him as he is. I shall see to it.
    //
    // *The Guest stands still, in the middle of an instruction that has never begun. Curtain. Somebody behind the curtain.*
    //
    //   GUEST'S PROGRAM  INT 0x80!
    //   PROCESSOR        Gate 128: code segment 0x61, ring 1. That is in your own country; you need not ask anybody. Pass.
    //
    // Follow the checks in the code: a gate that is none, a gate that the caller may not use, a segment that is not code. All of them are
    // the manual's. One line is ours, the one that asks who owns ring 0.
    /// <summary>Follows the gate of a vector. On success NextEip is the handler; a refusal throws with nothing changed.</summary>
    private void Deliver(byte vector, uint errorCode, EventSource source, uint returnEip)
    {
        deliveries++;
        if (InRealMode)
        {
            DeliverInRealMode(vector, returnEip);
            return;
        }
        uint external = source == EventSource.Instruction ? 0u : 1u;
        uint gateError = ((uint)vector * 8) | ErrorCodeIdt | external;
        if (((uint)vector * 8) + 7 > state->Idtr.Limit)
        {
            throw Fault(Vector.GeneralProtection, gateError);
        }
        ulong gate = ReadSystem<ulong>(state->Idtr.Base + ((uint)vector * 8));
        uint low = (uint)gate;
        uint high = (uint)(gate >> 32);
        uint type = (high >> 8) & 0x1F;
        bool leadsToTask = type == TaskGate && OwnsRing0;
        if (type is not (0x06 or 0x07 or 0x0E or 0x0F) && !leadsToTask)
        {
            throw Fault(Vector.GeneralProtection, gateError);
        }
        if (source == EventSource.Instruction && ((high >> 13) & 3) < state->PrivilegeLevel)
        {
            throw Fault(Vector.GeneralProtection, gateError);
        }
        if ((high & 0x8000) == 0)
        {
            throw Fault(Vector.SegmentNotPresent, gateError);
        }
        ushort selector = (ushort)(low >> 16);
        bool pushError = source == EventSource.Exception && HasErrorCode(vector);
        if (leadsToTask)
        {
            SwitchThroughGate(selector, TaskSwitch.Nest, external, returnEip);
            if (pushError)
            {
                Push(errorCode, TaskIs32Bits(state->TaskRegister) ? 4 : 2);
            }
            return;
        }
        if ((selector & 0xFFFC) == 0)
        {
            throw Fault(Vector.GeneralProtection, external);
        }
        uint selectorError = (selector & 0xFFFCu) | external;
        Descriptor code = ReadDescriptor(selector, Vector.GeneralProtection, external);
        if (!code.IsCode || code.PrivilegeLevel > state->PrivilegeLevel)
        {
            throw Fault(Vector.GeneralProtection, selectorError);
        }
        if (!code.Present)
        {
            throw Fault(Vector.SegmentNotPresent, selectorError);
        }
        int ring = code.IsConforming ? state->PrivilegeLevel : code.PrivilegeLevel;
        if (InVirtual8086Mode && ring != 0)
        {
            throw Fault(Vector.GeneralProtection, selectorError);
        }
        if (options.HostOwnsRing0 && ring == 0)
        {
            ExitToHost(new ProcessorExit(ExitKind.HostRing, vector, errorCode));
            return;
        }

        bool gate32 = (type & 8) != 0;
        uint handler = gate32 ? GateOffset(gate) : low & 0xFFFF;
        ushort codeSelector = (ushort)((selector & 0xFFFC) | ring);
        if (handler > code.ToSegment(codeSelector).Limit)
        {
            throw Fault(Vector.GeneralProtection, external);
        }
        Segment codeSegment = MarkAccessed(code, selector).ToSegment(codeSelector);
        int from = state->PrivilegeLevel;
        PushInterruptFrame(ring, gate32 ? 4 : 2, returnEip, pushError ? errorCode : null, external);
        KeepX87Selectors();
        state->Segments[(int)SegmentName.CS] = codeSegment;
        state->SystemFlags &= ~FlagsClearedBy(gate);
        SetPrivilegeLevel(ring);
        NextEip = handler;
        if (source == EventSource.Instruction && gate32)
        {
            NoteEntered(vector, gate, from);
        }
    }
    // :*

    private static uint GateOffset(ulong gate) => ((uint)gate & 0xFFFF) | ((uint)(gate >> 32) & 0xFFFF_0000);

    /// <summary>Flags that a gate clears, IF among them if it is an interrupt gate and not a trap gate.</summary>
    private static uint FlagsClearedBy(ulong gate)
    {
        const ulong trapGate = 1ul << 40;
        const uint always = Eflags.Trap | Eflags.NestedTask | Eflags.Resume | Eflags.Virtual8086;
        return (gate & trapGate) == 0 ? always | Eflags.Interrupt : always;
    }

    /// <summary>Pushes the frame onto the stack that the handler will run on, and makes that stack current.</summary>
    private void PushInterruptFrame(int ring, int size, uint returnEip, uint? errorCode, uint external)
    {
        bool inner = ring < state->PrivilegeLevel;
        Segment stack = state->Segments[(int)SegmentName.SS];
        uint esp = state->General[(int)Register32.Esp];
        if (inner)
        {
            (stack, esp) = InnerStack(ring, external);
        }
        uint words = (inner ? 5u : 3u) + (errorCode is null ? 0u : 1u) + (InVirtual8086Mode ? 4u : 0u);
        uint mask = stack.Big ? 0xFFFF_FFFF : 0xFFFFu;
        uint bytes = words * (uint)size;
        uint top = (esp - bytes) & mask;
        if (!InLimit(stack, top, bytes))
        {
            throw Fault(Vector.StackFault, inner ? (stack.Selector & 0xFFFCu) | external : external);
        }

        // The frame of an inner ring lies in pages that only supervisors may write.
        Memory.SoftTlb tlb = TlbFor(ring == 3);
        uint linear = stack.Base + top;
        RequireFrame(tlb, linear, bytes, (uint)size);
        if (errorCode is { } code)
        {
            WriteFrameWord(tlb, ref linear, code, size);
        }
        WriteFrameWord(tlb, ref linear, returnEip, size);
        WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.CS].Selector, size);
        WriteFrameWord(tlb, ref linear, state->Eflags, size);
        if (inner)
        {
            WriteFrameWord(tlb, ref linear, state->General[(int)Register32.Esp], size);
            WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.SS].Selector, size);
            KeepX87Selectors();
            if (InVirtual8086Mode)
            {
                WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.ES].Selector, size);
                WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.DS].Selector, size);
                WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.FS].Selector, size);
                WriteFrameWord(tlb, ref linear, state->Segments[(int)SegmentName.GS].Selector, size);
                DropDataSegments();
            }
            state->Segments[(int)SegmentName.SS] = stack;
        }
        state->General[(int)Register32.Esp] = (esp & ~mask) | top;
    }

    /// <summary>Faults unless a frame can be written: at its highest word, which is pushed first, or where it reaches the page below.</summary>
    private void RequireFrame(Memory.SoftTlb tlb, uint linear, uint bytes, uint size)
    {
        Require(tlb, linear + bytes - size, true);
        Require(tlb, linear + bytes - 1, true);
        Require(tlb, linear, true);
    }

    private void WriteFrameWord(Memory.SoftTlb tlb, ref uint linear, uint value, int size)
    {
        if (size == 2)
        {
            Write(tlb, linear, (ushort)value);
        }
        else
        {
            Write(tlb, linear, value);
        }
        linear += (uint)size;
    }

    /// <summary>Stack of a more privileged ring, from the TSS (Intel SDM volume 3, 7.2.1).</summary>
    internal (Segment Stack, uint Esp) InnerStack(int ring, uint external)
    {
        ref Segment task = ref state->TaskRegister;
        bool task32 = TaskIs32Bits(task);
        uint offset = task32 ? StackInTask + ((uint)ring * StackOfRing) : 2 + ((uint)ring * 4);
        uint last = offset + (task32 ? 5u : 3u);
        if (!task.Present || last > task.Limit)
        {
            throw Fault(Vector.InvalidTss, (task.Selector & 0xFFFCu) | external);
        }
        uint esp = task32 ? ReadSystem<uint>(task.Base + offset) : ReadSystem<ushort>(task.Base + offset);
        ushort selector = ReadSystem<ushort>(task.Base + offset + (task32 ? 4u : 2u));
        if ((selector & 0xFFFC) == 0)
        {
            throw Fault(Vector.InvalidTss, external);
        }
        Descriptor descriptor = ReadDescriptor(selector, Vector.InvalidTss, external);
        CheckStackDescriptor(descriptor, selector, ring, Vector.InvalidTss, external);
        return (MarkAccessed(descriptor, selector).ToSegment(selector), esp);
    }
}
