// Transfers that change CS: far jumps, calls and returns, call gates, software interrupts and IRET (Intel SDM volume 3, 5.8).

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class FarTransferInstructions
{
    private const int CallGate16 = 4;
    private const int CallGate32 = 12;

    public static void Register(InstructionTable table)
    {
        table.Add(Code.Jmp_ptr1616, JumpFar);
        table.Add(Code.Jmp_ptr1632, JumpFar);
        table.Add(Code.Jmp_m1616, JumpFar);
        table.Add(Code.Jmp_m1632, JumpFar);
        table.Add(Code.Call_ptr1616, CallFar);
        table.Add(Code.Call_ptr1632, CallFar);
        table.Add(Code.Call_m1616, CallFar);
        table.Add(Code.Call_m1632, CallFar);
        table.Add(Mnemonic.Retf, ReturnFar);
        table.Add(Mnemonic.Iret, InterruptReturn);
        table.Add(Mnemonic.Iretd, InterruptReturn);
        table.Add(Mnemonic.Int, static (Processor cpu, in Instruction i) =>
        {
            cpu.RequireIoPrivilegeInVirtual8086Mode();
            cpu.SoftwareInterrupt(i.Immediate8);
        });
        table.Add(Mnemonic.Int3, static (Processor cpu, in Instruction i) => cpu.SoftwareInterrupt(Vector.Breakpoint));
        table.Add(Mnemonic.Int1, static (Processor cpu, in Instruction i) => cpu.DebugTrap());
        table.Add(Mnemonic.Into, InterruptOnOverflow);
    }

    private static void InterruptOnOverflow(Processor cpu, in Instruction instruction)
    {
        if (cpu.State.Flags.Overflow)
        {
            cpu.SoftwareInterrupt(Vector.Overflow);
        }
    }

    private static (ushort Selector, uint Offset, int Size) FarTarget(Processor cpu, in Instruction instruction)
    {
        switch (instruction.Op0Kind)
        {
            case OpKind.FarBranch16:
                return (instruction.FarBranchSelector, instruction.FarBranch16, 2);
            case OpKind.FarBranch32:
                return (instruction.FarBranchSelector, instruction.FarBranch32, 4);
            default:
                int size = instruction.Code is Code.Jmp_m1616 or Code.Call_m1616 ? 2 : 4;
                uint linear = cpu.MemoryLinear(instruction, size + 2, false);
                uint offset = size == 2 ? cpu.ReadLinear<ushort>(linear) : cpu.ReadLinear<uint>(linear);
                return (cpu.ReadLinear<ushort>(linear + (uint)size), offset, size);
        }
    }

    private static void JumpFar(Processor cpu, in Instruction instruction)
    {
        (ushort selector, uint offset, _) = FarTarget(cpu, instruction);
        if (cpu.UsesRealSegments)
        {
            cpu.JumpToRealCode(selector, offset);
            return;
        }
        Processor.Descriptor descriptor = ReadTarget(cpu, selector);
        if (LeadsToTask(cpu, descriptor))
        {
            SwitchTask(cpu, selector, descriptor, TaskSwitch.Jump);
            return;
        }
        if (!descriptor.IsCodeOrData)
        {
            (selector, offset, _, descriptor) = FollowCallGate(cpu, selector, descriptor, isJump: true);
        }
        else
        {
            CheckDirectTarget(cpu, selector, descriptor);
        }
        EnterCode(cpu, selector, descriptor, offset, cpu.State.PrivilegeLevel);
    }

    private static void CallFar(Processor cpu, in Instruction instruction)
    {
        (ushort selector, uint offset, int size) = FarTarget(cpu, instruction);
        if (cpu.UsesRealSegments)
        {
            cpu.RequireInRealCode(offset);
            PushReturn(cpu, size);
            cpu.JumpToRealCode(selector, offset);
            return;
        }
        Processor.Descriptor descriptor = ReadTarget(cpu, selector);
        if (LeadsToTask(cpu, descriptor))
        {
            SwitchTask(cpu, selector, descriptor, TaskSwitch.Nest);
            return;
        }
        if (descriptor.IsCodeOrData)
        {
            CheckDirectTarget(cpu, selector, descriptor);
            CheckOffset(cpu, descriptor, selector, offset);
            descriptor = cpu.MarkAccessed(descriptor, selector);
            PushReturn(cpu, size);
            EnterCode(cpu, selector, descriptor, offset, cpu.State.PrivilegeLevel);
            return;
        }
        uint parameters = descriptor.High & 0x1F;
        (selector, offset, size, descriptor) = FollowCallGate(cpu, selector, descriptor, isJump: false);
        CheckOffset(cpu, descriptor, selector, offset);
        descriptor = cpu.MarkAccessed(descriptor, selector);
        int ring = descriptor.IsConforming ? cpu.State.PrivilegeLevel : descriptor.PrivilegeLevel;
        if (ring < cpu.State.PrivilegeLevel)
        {
            cpu.SwitchToInnerStack(ring, parameters, size);
        }
        else
        {
            PushReturn(cpu, size);
        }
        EnterCode(cpu, selector, descriptor, offset, ring);
    }

    private static bool LeadsToTask(Processor cpu, in Processor.Descriptor descriptor) => cpu.OwnsRing0 && !descriptor.IsCodeOrData
        && (descriptor.SystemType == Processor.TaskGate || Processor.IsTask(descriptor.SystemType));

    private static void SwitchTask(Processor cpu, ushort selector, in Processor.Descriptor descriptor, TaskSwitch why)
    {
        uint errorCode = selector & 0xFFFCu;
        if (descriptor.PrivilegeLevel < Math.Max(cpu.State.PrivilegeLevel, selector & 3))
        {
            throw cpu.Fault(Vector.GeneralProtection, errorCode);
        }
        if (descriptor.SystemType != Processor.TaskGate)
        {
            cpu.SwitchTask(selector, descriptor, why, 0, cpu.NextEip);
            return;
        }
        if (!descriptor.Present)
        {
            throw cpu.Fault(Vector.SegmentNotPresent, errorCode);
        }
        cpu.SwitchThroughGate((ushort)(descriptor.Low >> 16), why, 0, cpu.NextEip);
    }

    private static void PushReturn(Processor cpu, int size)
    {
        uint esp = cpu.State.General[(int)Register32.Esp];
        cpu.Push(cpu.State.Segments[(int)SegmentName.CS].Selector, size);
        try
        {
            cpu.Push(cpu.NextEip, size);
        }
        catch (Execution.GuestFault)
        {
            cpu.State.General[(int)Register32.Esp] = esp;
            throw;
        }
    }

    private static Processor.Descriptor ReadTarget(Processor cpu, ushort selector)
    {
        if ((selector & 0xFFFC) == 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        return cpu.ReadDescriptor(selector);
    }

    private static void CheckDirectTarget(Processor cpu, ushort selector, in Processor.Descriptor descriptor)
    {
        uint errorCode = selector & 0xFFFCu;
        int current = cpu.State.PrivilegeLevel;
        bool allowed = descriptor.IsCode && (descriptor.IsConforming
            ? descriptor.PrivilegeLevel <= current
            : descriptor.PrivilegeLevel == current && (selector & 3) <= current);
        if (!allowed)
        {
            throw cpu.Fault(Vector.GeneralProtection, errorCode);
        }
        if (!descriptor.Present)
        {
            throw cpu.Fault(Vector.SegmentNotPresent, errorCode);
        }
    }

    /// <summary>Checks a call gate and reads the code segment behind it. A ring that belongs to the Host has no call gates.</summary>
    private static (ushort Selector, uint Offset, int Size, Processor.Descriptor Code) FollowCallGate(
        Processor cpu, ushort selector, in Processor.Descriptor gate, bool isJump)
    {
        uint gateError = selector & 0xFFFCu;
        int current = cpu.State.PrivilegeLevel;
        if (gate.SystemType is not (CallGate16 or CallGate32) || gate.PrivilegeLevel < Math.Max(current, selector & 3))
        {
            throw cpu.Fault(Vector.GeneralProtection, gateError);
        }
        if (!gate.Present)
        {
            throw cpu.Fault(Vector.SegmentNotPresent, gateError);
        }
        var target = (ushort)(gate.Low >> 16);
        Processor.Descriptor code = ReadTarget(cpu, target);
        bool inner = !code.IsConforming && code.PrivilegeLevel < current;
        if (!code.IsCode || code.PrivilegeLevel > current || (isJump && inner) || cpu.IsHostRing(code))
        {
            throw cpu.Fault(Vector.GeneralProtection, target & 0xFFFCu);
        }
        if (!code.Present)
        {
            throw cpu.Fault(Vector.SegmentNotPresent, target & 0xFFFCu);
        }
        bool gate32 = gate.SystemType == CallGate32;
        uint offset = gate32 ? (gate.Low & 0xFFFF) | (gate.High & 0xFFFF_0000) : gate.Low & 0xFFFF;
        return (target, offset, gate32 ? 4 : 2, code);
    }

    private static void CheckOffset(Processor cpu, in Processor.Descriptor code, ushort selector, uint offset)
    {
        if (offset > code.ToSegment(selector).Limit)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
    }

    private static void EnterCode(Processor cpu, ushort selector, in Processor.Descriptor descriptor, uint offset, int ring)
    {
        CheckOffset(cpu, descriptor, selector, offset);
        var loaded = (ushort)((selector & 0xFFFC) | ring);
        Segment segment = cpu.MarkAccessed(descriptor, selector).ToSegment(loaded);
        cpu.SetSegment(SegmentName.CS, segment);
        cpu.SetPrivilegeLevel(ring);
        cpu.NextEip = offset;
    }

    private static void ReturnFar(Processor cpu, in Instruction instruction)
    {
        int size = instruction.Code is Code.Retfw or Code.Retfw_imm16 ? 2 : 4;
        uint released = instruction.OpCount == 1 ? instruction.Immediate16 : 0u;
        uint eip = cpu.Peek(0, size);
        var selector = (ushort)cpu.Peek((uint)size, size);
        if (cpu.UsesRealSegments)
        {
            cpu.JumpToRealCode(selector, eip);
            cpu.Drop(((uint)size * 2) + released);
            return;
        }
        Processor.Descriptor code = cpu.CheckReturnCode(selector, eip);
        if ((selector & 3) == cpu.State.PrivilegeLevel)
        {
            cpu.SetSegment(SegmentName.CS, cpu.MarkAccessed(code, selector).ToSegment(selector));
            cpu.Drop(((uint)size * 2) + released);
        }
        else
        {
            uint esp = cpu.Peek(((uint)size * 2) + released, size);
            var stackSelector = (ushort)cpu.Peek(((uint)size * 3) + released, size);
            cpu.ReturnToOuterRing(selector, eip, stackSelector, esp);
            cpu.Drop(released);
        }
        cpu.NextEip = eip;
    }

    private static void InterruptReturn(Processor cpu, in Instruction instruction)
    {
        cpu.RequireIoPrivilegeInVirtual8086Mode();
        if (!cpu.UsesRealSegments && (cpu.State.SystemFlags & Eflags.NestedTask) != 0)
        {
            cpu.ReturnFromTask();
            return;
        }
        int size = instruction.Code == Code.Iretw ? 2 : 4;
        uint eip = cpu.Peek(0, size);
        var selector = (ushort)cpu.Peek((uint)size, size);
        uint flags = cpu.Peek((uint)size * 2, size);
        int current = cpu.State.PrivilegeLevel;
        if (cpu.UsesRealSegments)
        {
            cpu.JumpToRealCode(selector, eip);
            cpu.Drop((uint)size * 3);
            cpu.RestoreFlags(flags, size, current);
            return;
        }
        if (current == 0 && size == 4 && (flags & Eflags.Virtual8086) != 0 && cpu.OwnsRing0)
        {
            cpu.ReturnToVirtual8086(eip, selector, flags);
            return;
        }
        Processor.Descriptor code = cpu.CheckReturnCode(selector, eip);
        if ((selector & 3) == current)
        {
            cpu.SetSegment(SegmentName.CS, cpu.MarkAccessed(code, selector).ToSegment(selector));
            cpu.Drop((uint)size * 3);
        }
        else
        {
            uint esp = cpu.Peek((uint)size * 3, size);
            var stackSelector = (ushort)cpu.Peek((uint)size * 4, size);
            cpu.ReturnToOuterRing(selector, eip, stackSelector, esp);
            cpu.NoteLeft(current);
        }
        cpu.RestoreFlags(flags, size, current);
        cpu.NextEip = eip;
    }
}
