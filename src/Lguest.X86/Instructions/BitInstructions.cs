// Single bits: test, set, reset, complement, and search. With a register as index, a bit string in memory reaches 2^31 bits to either
// side of its address; the instruction touches the operand-sized word that holds the bit.

using System.Numerics;
using Iced.Intel;

namespace Lguest.X86.Instructions;

internal static class BitInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Bt, Test);
        table.Add(Mnemonic.Bts, Set);
        table.Add(Mnemonic.Btr, Reset);
        table.Add(Mnemonic.Btc, Complement);
        table.Add(Mnemonic.Bsf, ScanForward);
        table.Add(Mnemonic.Bsr, ScanReverse);
        // The REP prefix that later made these TZCNT and LZCNT means nothing to this processor; compilers count on that.
        table.Add(Mnemonic.Tzcnt, ScanForward);
        table.Add(Mnemonic.Lzcnt, ScanReverse);
    }

    private static Operand ResolveWord(Processor cpu, in Instruction instruction, bool write, out uint bit)
    {
        uint index = cpu.ReadOperand(instruction, 1);
        int size = Processor.OperandSize(instruction, 0);
        uint bits = (uint)size * 8;
        bit = 1u << (int)(index & (bits - 1));
        if (instruction.Op0Kind == OpKind.Register || instruction.Op1Kind != OpKind.Register)
        {
            return cpu.Resolve(instruction, 0, write);
        }
        int signed = size == 2 ? (short)index : (int)index;
        uint offset = cpu.MemoryOffset(instruction) + (uint)(signed >> (size == 2 ? 4 : 5)) * (uint)size;
        if (Processor.UsesAddress16(instruction))
        {
            offset &= 0xFFFF;
        }
        uint linear = cpu.Linear(Processor.MemorySegment(instruction), offset, (uint)size, write);
        if (write)
        {
            cpu.ProbeWrite(linear, (uint)size);
        }
        return new Operand(true, linear, size);
    }

    private static void Test(Processor cpu, in Instruction instruction)
    {
        Operand word = ResolveWord(cpu, instruction, false, out uint bit);
        cpu.State.Flags.Carry = (cpu.Load(word) & bit) != 0;
    }

    private static void Set(Processor cpu, in Instruction instruction)
    {
        Operand word = ResolveWord(cpu, instruction, true, out uint bit);
        uint value = cpu.Load(word);
        cpu.Store(word, value | bit);
        cpu.State.Flags.Carry = (value & bit) != 0;
    }

    private static void Reset(Processor cpu, in Instruction instruction)
    {
        Operand word = ResolveWord(cpu, instruction, true, out uint bit);
        uint value = cpu.Load(word);
        cpu.Store(word, value & ~bit);
        cpu.State.Flags.Carry = (value & bit) != 0;
    }

    private static void Complement(Processor cpu, in Instruction instruction)
    {
        Operand word = ResolveWord(cpu, instruction, true, out uint bit);
        uint value = cpu.Load(word);
        cpu.Store(word, value ^ bit);
        cpu.State.Flags.Carry = (value & bit) != 0;
    }

    private static void ScanForward(Processor cpu, in Instruction instruction)
    {
        uint value = cpu.ReadOperand(instruction, 1);
        Finish(cpu, instruction, value == 0, (uint)BitOperations.TrailingZeroCount(value));
    }

    private static void ScanReverse(Processor cpu, in Instruction instruction)
    {
        uint value = cpu.ReadOperand(instruction, 1);
        Finish(cpu, instruction, value == 0, (uint)BitOperations.Log2(value));
    }

    // Without a bit to find the destination stays, on every processor made. Only ZF is defined; the others follow current AMD
    // processors: PF is the index's, the rest is cleared.
    private static void Finish(Processor cpu, in Instruction instruction, bool zero, uint index)
    {
        if (zero)
        {
            cpu.State.Flags.SetLogic(0, 4);
            return;
        }
        cpu.WriteRegister(instruction.Op0Register, index);
        cpu.State.Flags.SetLogic(index, 4);
        cpu.State.Flags.Zero = false;
    }
}
