// Moves: between registers and memory, to and from the stack, with extension, on a condition. None of them changes a flag.

using System.Buffers.Binary;
using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class DataInstructions
{
    private static readonly Mnemonic[] ConditionalMoves =
    [
        Mnemonic.Cmovo, Mnemonic.Cmovno, Mnemonic.Cmovb, Mnemonic.Cmovae, Mnemonic.Cmove, Mnemonic.Cmovne, Mnemonic.Cmovbe, Mnemonic.Cmova,
        Mnemonic.Cmovs, Mnemonic.Cmovns, Mnemonic.Cmovp, Mnemonic.Cmovnp, Mnemonic.Cmovl, Mnemonic.Cmovge, Mnemonic.Cmovle, Mnemonic.Cmovg,
    ];

    private static readonly Mnemonic[] ConditionalSets =
    [
        Mnemonic.Seto, Mnemonic.Setno, Mnemonic.Setb, Mnemonic.Setae, Mnemonic.Sete, Mnemonic.Setne, Mnemonic.Setbe, Mnemonic.Seta,
        Mnemonic.Sets, Mnemonic.Setns, Mnemonic.Setp, Mnemonic.Setnp, Mnemonic.Setl, Mnemonic.Setge, Mnemonic.Setle, Mnemonic.Setg,
    ];

    // Hints, and encodings that later processors gave a meaning which is to do nothing on a processor without the feature.
    private static readonly Mnemonic[] NoOperations =
    [
        Mnemonic.Nop, Mnemonic.Reservednop, Mnemonic.Pause, Mnemonic.Endbr32, Mnemonic.Endbr64, Mnemonic.Rdsspd, Mnemonic.Cldemote,
        Mnemonic.Prefetch, Mnemonic.Prefetchw, Mnemonic.Prefetchnta, Mnemonic.Prefetcht0, Mnemonic.Prefetcht1, Mnemonic.Prefetcht2,
        Mnemonic.Prefetchwt1, Mnemonic.Prefetchit0, Mnemonic.Prefetchit1,
    ];

    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Mov, Move);
        table.Add(Mnemonic.Movzx, MoveZeroExtended);
        table.Add(Mnemonic.Movsx, MoveSignExtended);
        table.Add(Mnemonic.Lea, LoadEffectiveAddress);
        table.Add(Mnemonic.Xchg, Exchange);
        table.Add(Mnemonic.Bswap, SwapBytes);
        table.Add(Mnemonic.Xlatb, Translate);
        table.Add(Mnemonic.Push, Push);
        table.Add(Mnemonic.Pop, Pop);
        table.Add(Mnemonic.Pusha, static (Processor cpu, in Instruction _) => PushAll(cpu, 2));
        table.Add(Mnemonic.Pushad, static (Processor cpu, in Instruction _) => PushAll(cpu, 4));
        table.Add(Mnemonic.Popa, static (Processor cpu, in Instruction _) => PopAll(cpu, 2));
        table.Add(Mnemonic.Popad, static (Processor cpu, in Instruction _) => PopAll(cpu, 4));
        table.Add(Mnemonic.Cbw, static (Processor cpu, in Instruction _) => cpu.WriteRegister(Iced.Intel.Register.AX, (uint)(sbyte)Eax(cpu)));
        table.Add(Mnemonic.Cwde, static (Processor cpu, in Instruction _) => Eax(cpu) = (uint)(short)Eax(cpu));
        table.Add(Mnemonic.Cwd, static (Processor cpu, in Instruction _) => cpu.WriteRegister(Iced.Intel.Register.DX, (uint)((short)Eax(cpu) >> 15)));
        table.Add(Mnemonic.Cdq, static (Processor cpu, in Instruction _) => cpu.State.General[(int)Register32.Edx] = (uint)((int)Eax(cpu) >> 31));
        for (int number = 0; number < Conditions.Count; number++)
        {
            int condition = number;
            table.Add(ConditionalMoves[number], (Processor cpu, in Instruction instruction) => MoveIf(cpu, instruction, condition));
            table.Add(ConditionalSets[number], (Processor cpu, in Instruction instruction) =>
                cpu.WriteOperand(instruction, 0, Conditions.Holds(condition, cpu.State.Flags) ? 1u : 0));
        }
        foreach (Mnemonic mnemonic in NoOperations)
        {
            table.Add(mnemonic, static (Processor _, in Instruction _) => { });
        }
    }

    private static ref uint Eax(Processor cpu) => ref cpu.State.General[(int)Register32.Eax];

    private static void Move(Processor cpu, in Instruction instruction) => cpu.WriteOperand(instruction, 0, cpu.ReadOperand(instruction, 1));

    private static void MoveZeroExtended(Processor cpu, in Instruction instruction) =>
        cpu.WriteRegister(instruction.Op0Register, cpu.ReadOperand(instruction, 1));

    private static void MoveSignExtended(Processor cpu, in Instruction instruction)
    {
        Operand source = cpu.Resolve(instruction, 1, false);
        uint value = cpu.Load(source);
        cpu.WriteRegister(instruction.Op0Register, source.Size == 1 ? (uint)(sbyte)value : (uint)(short)value);
    }

    private static void LoadEffectiveAddress(Processor cpu, in Instruction instruction) =>
        cpu.WriteRegister(instruction.Op0Register, cpu.MemoryOffset(instruction));

    private static void Exchange(Processor cpu, in Instruction instruction)
    {
        Operand first = cpu.Resolve(instruction, 0, true);
        Operand second = cpu.Resolve(instruction, 1, true);
        uint value = cpu.Load(first);
        cpu.Store(first, cpu.Load(second));
        cpu.Store(second, value);
    }

    // The result of the 16-bit form is undefined; processors clear the register's low half.
    private static void SwapBytes(Processor cpu, in Instruction instruction)
    {
        Register register = instruction.Op0Register;
        cpu.WriteRegister(register, register.GetSize() == 2 ? 0 : BinaryPrimitives.ReverseEndianness(cpu.ReadRegister(register)));
    }

    private static void Translate(Processor cpu, in Instruction instruction) =>
        cpu.WriteRegister(Iced.Intel.Register.AL, cpu.ReadMemory<byte>(instruction));

    // The source is read even when the condition is false, and faults then too.
    private static void MoveIf(Processor cpu, in Instruction instruction, int condition)
    {
        uint value = cpu.ReadOperand(instruction, 1);
        if (Conditions.Holds(condition, cpu.State.Flags))
        {
            cpu.WriteRegister(instruction.Op0Register, value);
        }
    }

    private static void Push(Processor cpu, in Instruction instruction) =>
        cpu.Push(cpu.ReadOperand(instruction, 0), -instruction.StackPointerIncrement);

    // A destination addressed through ESP sees it already moved (Intel SDM, POP), and POP ESP keeps the popped value.
    private static void Pop(Processor cpu, in Instruction instruction)
    {
        int size = instruction.StackPointerIncrement;
        uint value = cpu.Peek(0, size);
        uint before = cpu.State.General[(int)Register32.Esp];
        cpu.Drop((uint)size);
        if (instruction.Op0Kind == OpKind.Register)
        {
            cpu.WriteRegister(instruction.Op0Register, value);
            return;
        }
        uint offset = cpu.MemoryOffset(instruction);
        ref uint esp = ref cpu.State.General[(int)Register32.Esp];
        uint after = esp;
        esp = before;
        uint linear = cpu.Linear(Processor.MemorySegment(instruction), offset, (uint)size, true);
        cpu.Store(new Operand(true, linear, size), value);
        esp = after;
    }

    private static void PushAll(Processor cpu, int size)
    {
        ref GeneralRegisters general = ref cpu.State.General;
        uint esp = general[(int)Register32.Esp];
        uint mask = cpu.StackMask;
        for (int i = 1; i <= 8; i++)
        {
            cpu.ProbeWrite(cpu.Linear(SegmentName.SS, (esp - (uint)(i * size)) & mask, (uint)size, true), (uint)size);
        }
        for (int i = 0; i < 8; i++)
        {
            cpu.Push(i == (int)Register32.Esp ? esp : general[i], size);
        }
    }

    private static void PopAll(Processor cpu, int size)
    {
        Span<uint> values = stackalloc uint[8];
        for (int i = 0; i < 8; i++)
        {
            int register = 7 - i;
            if (register != (int)Register32.Esp)
            {
                values[register] = cpu.Peek((uint)(i * size), size);
            }
        }
        ref GeneralRegisters general = ref cpu.State.General;
        for (int register = 0; register < 8; register++)
        {
            if (register != (int)Register32.Esp)
            {
                general[register] = size == 2 ? (general[register] & 0xFFFF_0000) | values[register] : values[register];
            }
        }
        cpu.Drop((uint)(8 * size));
    }
}
