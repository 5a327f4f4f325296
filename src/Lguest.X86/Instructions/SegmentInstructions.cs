// Moves to and from segment registers, and the instructions that look at descriptors without loading them.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class SegmentInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Code.Mov_Sreg_rm16, MoveToSegment);
        table.Add(Code.Mov_Sreg_r32m16, MoveToSegment);
        table.Add(Code.Mov_rm16_Sreg, MoveFromSegment);
        table.Add(Code.Mov_r32m16_Sreg, MoveFromSegment);
        foreach (Code code in (ReadOnlySpan<Code>)[Code.Pushw_ES, Code.Pushw_CS, Code.Pushw_SS, Code.Pushw_DS, Code.Pushw_FS, Code.Pushw_GS,
            Code.Pushd_ES, Code.Pushd_CS, Code.Pushd_SS, Code.Pushd_DS, Code.Pushd_FS, Code.Pushd_GS])
        {
            table.Add(code, PushSegment);
        }
        foreach (Code code in (ReadOnlySpan<Code>)[Code.Popw_ES, Code.Popw_SS, Code.Popw_DS, Code.Popw_FS, Code.Popw_GS,
            Code.Popd_ES, Code.Popd_SS, Code.Popd_DS, Code.Popd_FS, Code.Popd_GS])
        {
            table.Add(code, PopSegment);
        }
        table.Add(Mnemonic.Les, LoadFarPointer);
        table.Add(Mnemonic.Lds, LoadFarPointer);
        table.Add(Mnemonic.Lss, LoadFarPointer);
        table.Add(Mnemonic.Lfs, LoadFarPointer);
        table.Add(Mnemonic.Lgs, LoadFarPointer);
        table.Add(Mnemonic.Lar, LoadAccessRights);
        table.Add(Mnemonic.Lsl, LoadSegmentLimit);
        table.Add(Mnemonic.Verr, Verify);
        table.Add(Mnemonic.Verw, Verify);
        table.Add(Mnemonic.Arpl, AdjustPrivilege);
    }

    private static SegmentName Name(Register register) => (SegmentName)(register - Iced.Intel.Register.ES);

    private static void MoveToSegment(Processor cpu, in Instruction instruction)
    {
        SegmentName name = Name(instruction.Op0Register);
        if (name == SegmentName.CS)
        {
            throw cpu.Fault(Vector.InvalidOpcode);
        }
        ushort selector = instruction.Op1Kind == OpKind.Register
            ? (ushort)cpu.ReadRegister(instruction.Op1Register)
            : cpu.ReadMemory<ushort>(instruction);
        cpu.LoadSegment(name, selector);
        if (name == SegmentName.SS)
        {
            cpu.InterruptShadow = true;
            cpu.DebugShadow = true;
        }
    }

    private static void MoveFromSegment(Processor cpu, in Instruction instruction)
    {
        ushort selector = cpu.State.Segments[(int)Name(instruction.Op1Register)].Selector;
        if (instruction.Op0Kind == OpKind.Register)
        {
            cpu.WriteRegister(instruction.Op0Register, selector);
        }
        else
        {
            cpu.WriteMemory(instruction, selector);
        }
    }

    private static void PushSegment(Processor cpu, in Instruction instruction)
    {
        ushort selector = cpu.State.Segments[(int)Name(instruction.Op0Register)].Selector;
        cpu.Push(selector, -instruction.StackPointerIncrement);
    }

    private static void PopSegment(Processor cpu, in Instruction instruction)
    {
        SegmentName name = Name(instruction.Op0Register);
        int size = instruction.StackPointerIncrement;
        ushort selector = (ushort)cpu.Peek(0, size);
        uint mask = cpu.StackMask;
        cpu.LoadSegment(name, selector);
        ref uint esp = ref cpu.State.General[(int)Register32.Esp];
        esp = (esp & ~mask) | ((esp + (uint)size) & mask);
        if (name == SegmentName.SS)
        {
            cpu.InterruptShadow = true;
            cpu.DebugShadow = true;
        }
    }

    private static void LoadFarPointer(Processor cpu, in Instruction instruction)
    {
        SegmentName name = instruction.Mnemonic switch
        {
            Mnemonic.Les => SegmentName.ES,
            Mnemonic.Lds => SegmentName.DS,
            Mnemonic.Lss => SegmentName.SS,
            Mnemonic.Lfs => SegmentName.FS,
            _ => SegmentName.GS,
        };
        int size = instruction.Op0Register.GetSize();
        uint linear = cpu.MemoryLinear(instruction, size + 2, false);
        uint offset = size == 2 ? cpu.ReadLinear<ushort>(linear) : cpu.ReadLinear<uint>(linear);
        ushort selector = cpu.ReadLinear<ushort>(linear + (uint)size);
        cpu.LoadSegment(name, selector);
        cpu.WriteRegister(instruction.Op0Register, offset);
    }

    private static ushort SelectorOperand(Processor cpu, in Instruction instruction, int index) =>
        instruction.GetOpKind(index) == OpKind.Register
            ? (ushort)cpu.ReadRegister(instruction.GetOpRegister(index))
            : cpu.ReadMemory<ushort>(instruction);

    private static void LoadAccessRights(Processor cpu, in Instruction instruction)
    {
        cpu.RequireDescriptors();
        ushort selector = SelectorOperand(cpu, instruction, 1);
        bool visible = IsVisible(cpu, selector, out Processor.Descriptor descriptor)
            && (descriptor.IsCodeOrData || descriptor.SystemType is 1 or 2 or 3 or 4 or 5 or 9 or 11 or 12);
        cpu.State.Flags.Zero = visible;
        if (visible)
        {
            cpu.WriteRegister(instruction.Op0Register, descriptor.High & 0x00FF_FF00);
        }
    }

    private static void LoadSegmentLimit(Processor cpu, in Instruction instruction)
    {
        cpu.RequireDescriptors();
        ushort selector = SelectorOperand(cpu, instruction, 1);
        bool visible = IsVisible(cpu, selector, out Processor.Descriptor descriptor)
            && (descriptor.IsCodeOrData || descriptor.SystemType is 1 or 2 or 3 or 9 or 11);
        cpu.State.Flags.Zero = visible;
        if (visible)
        {
            cpu.WriteRegister(instruction.Op0Register, descriptor.ToSegment(selector).Limit);
        }
    }

    private static void Verify(Processor cpu, in Instruction instruction)
    {
        cpu.RequireDescriptors();
        ushort selector = SelectorOperand(cpu, instruction, 0);
        bool visible = IsVisible(cpu, selector, out Processor.Descriptor descriptor) && descriptor.IsCodeOrData;
        cpu.State.Flags.Zero = visible && (instruction.Mnemonic == Mnemonic.Verr ? descriptor.IsReadable : descriptor.IsWritableData);
    }

    private static bool IsVisible(Processor cpu, ushort selector, out Processor.Descriptor descriptor)
    {
        descriptor = default;
        return (selector & 0xFFFC) != 0
            && cpu.TryReadDescriptor(selector, out descriptor)
            && (descriptor.IsConforming || descriptor.PrivilegeLevel >= Math.Max(cpu.State.PrivilegeLevel, selector & 3));
    }

    private static void AdjustPrivilege(Processor cpu, in Instruction instruction)
    {
        cpu.RequireDescriptors();
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint selector = cpu.Load(destination);
        uint wanted = cpu.ReadRegister(instruction.Op1Register) & 3;
        bool raise = (selector & 3) < wanted;
        if (raise)
        {
            cpu.Store(destination, (selector & ~3u) | wanted);
        }
        cpu.State.Flags.Zero = raise;
    }
}
