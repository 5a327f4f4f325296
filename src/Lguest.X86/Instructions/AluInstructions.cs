// Two-operand arithmetic and logic, and the read-modify-write instructions that locks and counters are made of. The LOCK prefix needs
// nothing: there is one processor, and an instruction is never interrupted halfway.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class AluInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Add, Add);
        table.Add(Mnemonic.Adc, AddWithCarry);
        table.Add(Mnemonic.Sub, Subtract);
        table.Add(Mnemonic.Sbb, SubtractWithBorrow);
        table.Add(Mnemonic.Cmp, Compare);
        table.Add(Mnemonic.And, And);
        table.Add(Mnemonic.Or, Or);
        table.Add(Mnemonic.Xor, ExclusiveOr);
        table.Add(Mnemonic.Test, Test);
        table.Add(Mnemonic.Inc, Increment);
        table.Add(Mnemonic.Dec, Decrement);
        table.Add(Mnemonic.Neg, Negate);
        table.Add(Mnemonic.Not, Not);
        table.Add(Mnemonic.Cmpxchg, CompareAndExchange);
        table.Add(Mnemonic.Cmpxchg8b, CompareAndExchange8Bytes);
        table.Add(Mnemonic.Xadd, ExchangeAndAdd);
    }

    private static void Add(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint a = cpu.Load(destination);
        uint result = a + b;
        cpu.Store(destination, result);
        cpu.State.Flags.SetAdd(a, b, result, destination.Size);
    }

    private static void AddWithCarry(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint a = cpu.Load(destination);
        uint result = a + b + cpu.State.Flags.CarryValue;
        cpu.Store(destination, result);
        cpu.State.Flags.SetAdd(a, b, result, destination.Size);
    }

    private static void Subtract(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint a = cpu.Load(destination);
        uint result = a - b;
        cpu.Store(destination, result);
        cpu.State.Flags.SetSubtract(a, b, result, destination.Size);
    }

    private static void SubtractWithBorrow(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint a = cpu.Load(destination);
        uint result = a - b - cpu.State.Flags.CarryValue;
        cpu.Store(destination, result);
        cpu.State.Flags.SetSubtract(a, b, result, destination.Size);
    }

    private static void Compare(Processor cpu, in Instruction instruction)
    {
        Operand left = cpu.Resolve(instruction, 0, false);
        uint a = cpu.Load(left);
        uint b = cpu.ReadOperand(instruction, 1);
        cpu.State.Flags.SetSubtract(a, b, a - b, left.Size);
    }

    private static void And(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint result = cpu.Load(destination) & b;
        cpu.Store(destination, result);
        cpu.State.Flags.SetLogic(result, destination.Size);
    }

    private static void Or(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint result = cpu.Load(destination) | b;
        cpu.Store(destination, result);
        cpu.State.Flags.SetLogic(result, destination.Size);
    }

    private static void ExclusiveOr(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.ReadOperand(instruction, 1);
        uint result = cpu.Load(destination) ^ b;
        cpu.Store(destination, result);
        cpu.State.Flags.SetLogic(result, destination.Size);
    }

    private static void Test(Processor cpu, in Instruction instruction)
    {
        Operand left = cpu.Resolve(instruction, 0, false);
        cpu.State.Flags.SetLogic(cpu.Load(left) & cpu.ReadOperand(instruction, 1), left.Size);
    }

    private static void Increment(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint a = cpu.Load(destination);
        cpu.Store(destination, a + 1);
        ref LazyFlags flags = ref cpu.State.Flags;
        bool carry = flags.Carry;
        flags.SetAdd(a, 1, a + 1, destination.Size);
        flags.Carry = carry;
    }

    private static void Decrement(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint a = cpu.Load(destination);
        cpu.Store(destination, a - 1);
        ref LazyFlags flags = ref cpu.State.Flags;
        bool carry = flags.Carry;
        flags.SetSubtract(a, 1, a - 1, destination.Size);
        flags.Carry = carry;
    }

    private static void Negate(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        uint b = cpu.Load(destination);
        uint result = 0 - b;
        cpu.Store(destination, result);
        cpu.State.Flags.SetSubtract(0, b, result, destination.Size);
    }

    private static void Not(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        cpu.Store(destination, ~cpu.Load(destination));
    }

    // The destination is written in any case, with its old value when the comparison fails: what a bus sees, and what makes the
    // instruction fault on a read-only page always or never.
    private static void CompareAndExchange(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        Register accumulator = destination.Size switch { 1 => Iced.Intel.Register.AL, 2 => Iced.Intel.Register.AX, _ => Iced.Intel.Register.EAX };
        uint expected = cpu.ReadRegister(accumulator);
        uint old = cpu.Load(destination);
        if (old == expected)
        {
            cpu.Store(destination, cpu.ReadOperand(instruction, 1));
        }
        else
        {
            cpu.Store(destination, old);
            cpu.WriteRegister(accumulator, old);
        }
        cpu.State.Flags.SetSubtract(expected, old, expected - old, destination.Size);
    }

    private static void CompareAndExchange8Bytes(Processor cpu, in Instruction instruction)
    {
        uint linear = cpu.MemoryLinear(instruction, 8, true);
        cpu.ProbeWrite(linear, 8);
        ref GeneralRegisters general = ref cpu.State.General;
        ulong expected = general[(int)Register32.Eax] | ((ulong)general[(int)Register32.Edx] << 32);
        ulong old = cpu.ReadLinear<ulong>(linear);
        bool equal = old == expected;
        if (equal)
        {
            cpu.WriteLinear(linear, general[(int)Register32.Ebx] | ((ulong)general[(int)Register32.Ecx] << 32));
        }
        else
        {
            cpu.WriteLinear(linear, old);
            general[(int)Register32.Eax] = (uint)old;
            general[(int)Register32.Edx] = (uint)(old >> 32);
        }
        cpu.State.Flags.Zero = equal;
    }

    // The register takes the old destination before the destination takes the sum: with one register as both, the sum stays.
    private static void ExchangeAndAdd(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        Operand source = cpu.Resolve(instruction, 1, true);
        uint a = cpu.Load(destination);
        uint b = cpu.Load(source);
        cpu.Store(source, a);
        cpu.Store(destination, a + b);
        cpu.State.Flags.SetAdd(a, b, a + b, destination.Size);
    }
}
