// Where the next instruction is. A branch whose target lies outside the code segment faults itself, before it has changed anything;
// with a 16-bit operand the target is cut to 16 bits.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class ControlInstructions
{
    private static readonly Mnemonic[] ConditionalJumps =
    [
        Mnemonic.Jo, Mnemonic.Jno, Mnemonic.Jb, Mnemonic.Jae, Mnemonic.Je, Mnemonic.Jne, Mnemonic.Jbe, Mnemonic.Ja,
        Mnemonic.Js, Mnemonic.Jns, Mnemonic.Jp, Mnemonic.Jnp, Mnemonic.Jl, Mnemonic.Jge, Mnemonic.Jle, Mnemonic.Jg,
    ];

    public static void Register(InstructionTable table)
    {
        for (int number = 0; number < Conditions.Count; number++)
        {
            int condition = number;
            table.Add(ConditionalJumps[number], (Processor cpu, in Instruction instruction) =>
            {
                if (Conditions.Holds(condition, cpu.State.Flags))
                {
                    Branch(cpu, Target(instruction));
                }
            });
        }
        table.Add(Mnemonic.Jmp, Jump);
        table.Add(Mnemonic.Call, Call);
        table.Add(Mnemonic.Ret, Return);
        table.Add(Mnemonic.Jcxz, static (Processor cpu, in Instruction instruction) => JumpIfCounterZero(cpu, instruction, 0xFFFF));
        table.Add(Mnemonic.Jecxz, static (Processor cpu, in Instruction instruction) => JumpIfCounterZero(cpu, instruction, 0xFFFF_FFFF));
        foreach (Code code in (ReadOnlySpan<Code>)[Code.Loop_rel8_16_CX, Code.Loop_rel8_32_CX, Code.Loope_rel8_16_CX, Code.Loope_rel8_32_CX,
            Code.Loopne_rel8_16_CX, Code.Loopne_rel8_32_CX])
        {
            table.Add(code, static (Processor cpu, in Instruction instruction) => Loop(cpu, instruction, 0xFFFF));
        }
        foreach (Code code in (ReadOnlySpan<Code>)[Code.Loop_rel8_16_ECX, Code.Loop_rel8_32_ECX, Code.Loope_rel8_16_ECX, Code.Loope_rel8_32_ECX,
            Code.Loopne_rel8_16_ECX, Code.Loopne_rel8_32_ECX])
        {
            table.Add(code, static (Processor cpu, in Instruction instruction) => Loop(cpu, instruction, 0xFFFF_FFFF));
        }
        table.Add(Code.Enterw_imm16_imm8, static (Processor cpu, in Instruction instruction) => Enter(cpu, instruction, 2));
        table.Add(Code.Enterd_imm16_imm8, static (Processor cpu, in Instruction instruction) => Enter(cpu, instruction, 4));
        table.Add(Code.Leavew, static (Processor cpu, in Instruction _) => Leave(cpu, 2));
        table.Add(Code.Leaved, static (Processor cpu, in Instruction _) => Leave(cpu, 4));
        table.Add(Mnemonic.Bound, CheckBounds);
    }

    private static uint Target(in Instruction instruction) =>
        instruction.Op0Kind == OpKind.NearBranch16 ? instruction.NearBranch16 : instruction.NearBranch32;

    private static void CheckTarget(Processor cpu, uint target)
    {
        if (target > cpu.State.Segments[(int)SegmentName.CS].Limit)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
    }

    private static void Branch(Processor cpu, uint target)
    {
        CheckTarget(cpu, target);
        cpu.NextEip = target;
    }

    private static void Jump(Processor cpu, in Instruction instruction) => Branch(cpu, cpu.ReadOperand(instruction, 0));

    private static void Call(Processor cpu, in Instruction instruction)
    {
        uint target = cpu.ReadOperand(instruction, 0);
        CheckTarget(cpu, target);
        cpu.Push(cpu.NextEip, -instruction.StackPointerIncrement);
        cpu.NextEip = target;
    }

    private static void Return(Processor cpu, in Instruction instruction)
    {
        uint released = instruction.OpCount == 0 ? 0u : instruction.Immediate16;
        int size = instruction.Code is Code.Retnw or Code.Retnw_imm16 ? 2 : 4;
        Branch(cpu, cpu.Peek(0, size));
        cpu.Drop((uint)size + released);
    }

    private static void JumpIfCounterZero(Processor cpu, in Instruction instruction, uint mask)
    {
        if ((cpu.State.General[(int)Register32.Ecx] & mask) == 0)
        {
            Branch(cpu, Target(instruction));
        }
    }

    private static void Loop(Processor cpu, in Instruction instruction, uint mask)
    {
        ref uint counter = ref cpu.State.General[(int)Register32.Ecx];
        uint remaining = (counter - 1) & mask;
        bool wanted = instruction.Mnemonic switch
        {
            Mnemonic.Loope => cpu.State.Flags.Zero,
            Mnemonic.Loopne => !cpu.State.Flags.Zero,
            _ => true,
        };
        if (remaining != 0 && wanted)
        {
            Branch(cpu, Target(instruction));
        }
        counter = (counter & ~mask) | remaining;
    }

    // Every word that will be touched is checked first; then the pushes happen in order, because the new frame may overlap the old.
    private static void Enter(Processor cpu, in Instruction instruction, int size)
    {
        uint mask = cpu.StackMask;
        ref GeneralRegisters general = ref cpu.State.General;
        uint esp = general[(int)Register32.Esp];
        uint ebp = general[(int)Register32.Ebp];
        int level = instruction.Immediate8_2nd & 31;
        uint frame = (esp & ~mask) | ((esp - (uint)size) & mask);

        int pushes = 1 + level;
        for (int i = 1; i <= pushes; i++)
        {
            cpu.ProbeWrite(cpu.Linear(SegmentName.SS, (esp - (uint)(i * size)) & mask, (uint)size, true), (uint)size);
        }
        for (int i = 1; i < level; i++)
        {
            ReadFrame(i);
        }
        uint final = (frame - (uint)(level * size) - instruction.Immediate16) & mask;
        cpu.ProbeWrite(cpu.Linear(SegmentName.SS, final, 1, true), 1);

        cpu.Push(ebp, size);
        for (int i = 1; i < level; i++)
        {
            cpu.Push(ReadFrame(i), size);
        }
        if (level > 0)
        {
            cpu.Push(frame, size);
        }
        general[(int)Register32.Ebp] = size == 2 ? (ebp & 0xFFFF_0000) | (frame & 0xFFFF) : frame;
        general[(int)Register32.Esp] = (esp & ~mask) | final;

        uint ReadFrame(int depth)
        {
            uint linear = cpu.Linear(SegmentName.SS, (ebp - (uint)(depth * size)) & mask, (uint)size, false);
            return cpu.Load(new Operand(true, linear, size));
        }
    }

    private static void Leave(Processor cpu, int size)
    {
        uint mask = cpu.StackMask;
        ref GeneralRegisters general = ref cpu.State.General;
        uint ebp = general[(int)Register32.Ebp];
        uint value = cpu.Load(new Operand(true, cpu.Linear(SegmentName.SS, ebp & mask, (uint)size, false), size));
        ref uint esp = ref general[(int)Register32.Esp];
        esp = (esp & ~mask) | ((ebp + (uint)size) & mask);
        general[(int)Register32.Ebp] = size == 2 ? (ebp & 0xFFFF_0000) | value : value;
    }

    private static void CheckBounds(Processor cpu, in Instruction instruction)
    {
        Register register = instruction.Op0Register;
        int size = register.GetSize();
        uint linear = cpu.MemoryLinear(instruction, 2 * size, false);
        uint index = cpu.ReadRegister(register);
        bool inside = size == 2
            ? (short)index >= cpu.ReadLinear<short>(linear) && (short)index <= cpu.ReadLinear<short>(linear + 2)
            : (int)index >= cpu.ReadLinear<int>(linear) && (int)index <= cpu.ReadLinear<int>(linear + 4);
        if (!inside)
        {
            throw cpu.Fault(Vector.BoundRange);
        }
    }
}
