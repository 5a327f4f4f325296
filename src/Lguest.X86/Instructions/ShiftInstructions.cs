// Shifts and rotates. Counts are taken modulo 32; a count of zero changes nothing, not even a flag. OF is defined for a count of one
// only and AF never: HostHabits tells what becomes of them.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class ShiftInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Shl, ShiftLeft);
        table.Add(Mnemonic.Sal, ShiftLeft);
        table.Add(Mnemonic.Shr, ShiftRight);
        table.Add(Mnemonic.Sar, ShiftArithmeticRight);
        table.Add(Mnemonic.Rol, RotateLeft);
        table.Add(Mnemonic.Ror, RotateRight);
        table.Add(Mnemonic.Rcl, RotateThroughCarryLeft);
        table.Add(Mnemonic.Rcr, RotateThroughCarryRight);
        table.Add(Mnemonic.Shld, ShiftLeftDouble);
        table.Add(Mnemonic.Shrd, ShiftRightDouble);
    }

    private static int Count(Processor cpu, in Instruction instruction, int index) => (int)cpu.ReadOperand(instruction, index) & 31;

    private static bool Bit(ulong value, int index) => ((value >> index) & 1) != 0;

    private static void ShiftLeft(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 1);
        if (count == 0)
        {
            return;
        }
        int bits = destination.Size * 8;
        uint value = cpu.Load(destination);
        ulong wide = (ulong)value << count;
        cpu.Store(destination, (uint)wide);
        bool carry = Bit(wide, bits);
        bool overflow = HostHabits.AreIntels ? UpperBitsDiffer(value, bits) : carry != Bit(wide, bits - 1);
        cpu.State.Flags.SetShifted((uint)wide, destination.Size, carry, overflow);
    }

    private static void ShiftRight(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 1);
        if (count == 0)
        {
            return;
        }
        uint value = cpu.Load(destination);
        uint result = value >> count;
        cpu.Store(destination, result);
        bool overflow = (HostHabits.AreIntels || count == 1) && Bit(value, (destination.Size * 8) - 1);
        cpu.State.Flags.SetShifted(result, destination.Size, Bit(value, count - 1), overflow);
    }

    private static void ShiftArithmeticRight(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 1);
        if (count == 0)
        {
            return;
        }
        uint raw = cpu.Load(destination);
        int value = destination.Size switch { 1 => (sbyte)raw, 2 => (short)raw, _ => (int)raw };
        uint result = (uint)(value >> count);
        cpu.Store(destination, result);
        cpu.State.Flags.SetShifted(result, destination.Size, ((value >> (count - 1)) & 1) != 0, false);
    }

    private static bool UpperBitsDiffer(ulong value, int bits) => Bit(value, bits - 1) != Bit(value, bits - 2);

    // Rotates touch CF and OF only. A count that is a multiple of the size moves nothing but still sets both.
    private static void RotateLeft(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 1);
        if (count == 0)
        {
            return;
        }
        int bits = destination.Size * 8;
        uint value = cpu.Load(destination);
        int turn = count & (bits - 1);
        uint result = turn == 0 ? value : (value << turn) | (value >> (bits - turn));
        cpu.Store(destination, result);
        SetRotated(cpu, instruction, count, Bit(result, 0), Bit(result, 0) != Bit(result, bits - 1), UpperBitsDiffer(value, bits));
    }

    private static void RotateRight(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 1);
        if (count == 0)
        {
            return;
        }
        int bits = destination.Size * 8;
        uint value = cpu.Load(destination);
        int turn = count & (bits - 1);
        uint result = turn == 0 ? value : (value >> turn) | (value << (bits - turn));
        cpu.Store(destination, result);
        bool top = Bit(result, bits - 1);
        SetRotated(cpu, instruction, count, top, top != Bit(result, bits - 2), Bit(value, 0) != Bit(value, bits - 1));
    }

    private static void RotateThroughCarryLeft(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int bits = destination.Size * 8;
        int count = Count(cpu, instruction, 1) % (bits + 1);
        if (count == 0)
        {
            RotateThroughCarryByNothing(cpu, instruction, destination, true);
            return;
        }
        ulong value = cpu.Load(destination) | ((ulong)cpu.State.Flags.CarryValue << bits);
        ulong result = (value << count) | (value >> (bits + 1 - count));
        cpu.Store(destination, (uint)result);
        bool carry = Bit(result, bits);
        SetRotated(cpu, instruction, count, carry, carry != Bit(result, bits - 1), UpperBitsDiffer(value, bits));
    }

    private static void RotateThroughCarryRight(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int bits = destination.Size * 8;
        int count = Count(cpu, instruction, 1) % (bits + 1);
        if (count == 0)
        {
            RotateThroughCarryByNothing(cpu, instruction, destination, false);
            return;
        }
        ulong value = cpu.Load(destination) | ((ulong)cpu.State.Flags.CarryValue << bits);
        ulong result = (value >> count) | (value << (bits + 1 - count));
        cpu.Store(destination, (uint)result);
        SetRotated(cpu, instruction, count, Bit(result, bits), UpperBitsDiffer(result, bits), Bit(value, bits) != Bit(value, bits - 1));
    }

    // Nine steps of a byte and seventeen of a word are a full turn: value and CF stay, OF follows its rule, or stays too.
    private static void RotateThroughCarryByNothing(Processor cpu, in Instruction instruction, Operand destination, bool left)
    {
        if (HostHabits.AreIntels || Count(cpu, instruction, 1) == 0)
        {
            return;
        }
        uint value = cpu.Load(destination);
        int top = (destination.Size * 8) - 1;
        cpu.State.Flags.Overflow = Bit(value, top) != (left ? cpu.State.Flags.Carry : Bit(value, top - 1));
    }

    /// <param name="cpu">The processor.</param>
    /// <param name="instruction">The rotate.</param>
    /// <param name="count">How often it has turned.</param>
    /// <param name="carry">CF behind the last turn.</param>
    /// <param name="overflow">OF by the rule for a single turn, applied to the last one.</param>
    /// <param name="overflowOfFirst">The same for the first.</param>
    private static void SetRotated(Processor cpu, in Instruction instruction, int count, bool carry, bool overflow, bool overflowOfFirst)
    {
        bool keeps = HostHabits.AreIntels && count != 1 && instruction.Op0Kind == OpKind.Register && instruction.Op1Kind != OpKind.Register
            && instruction.Mnemonic is (Mnemonic.Rol or Mnemonic.Ror);
        overflow = keeps ? cpu.State.Flags.Overflow : HostHabits.AreIntels ? overflowOfFirst : overflow;
        cpu.State.Flags.Carry = carry;
        cpu.State.Flags.Overflow = overflow;
    }

    // Beyond 16 bits the result of a 16-bit double shift is undefined; the source then follows itself, as in current AMD processors.
    private static void ShiftLeftDouble(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 2);
        if (count == 0)
        {
            return;
        }
        int bits = destination.Size * 8;
        ulong value = cpu.Load(destination);
        ulong source = cpu.ReadOperand(instruction, 1);
        ulong wide = (value << 32) | (bits == 16 ? (source << 16) | source : source);
        bool carry = count <= bits && Bit(value, bits - count);
        var result = (uint)((wide << count) >> 32);
        bool overflow = HostHabits.AreIntels ? UpperBitsDiffer(value, bits) : carry != Bit(result, bits - 1);
        cpu.Store(destination, result);
        cpu.State.Flags.SetShifted(result, destination.Size, carry, overflow);
    }

    private static void ShiftRightDouble(Processor cpu, in Instruction instruction)
    {
        Operand destination = cpu.Resolve(instruction, 0, true);
        int count = Count(cpu, instruction, 2);
        if (count == 0)
        {
            return;
        }
        int bits = destination.Size * 8;
        ulong value = cpu.Load(destination);
        ulong source = cpu.ReadOperand(instruction, 1);
        ulong wide = value | (source << bits) | (bits == 16 ? source << 32 : 0);
        var result = (uint)(wide >> count);
        bool overflow = HostHabits.AreIntels ? Bit(wide, bits) != Bit(wide, bits - 1) : UpperBitsDiffer(result, bits);
        cpu.Store(destination, result);
        cpu.State.Flags.SetShifted(result, destination.Size, count <= bits && Bit(wide, count - 1), overflow);
    }
}
