// Multiplication and division. What becomes of the flags that the manual leaves undefined, HostHabits tells.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class MultiplyInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Mul, Multiply);
        table.Add(Mnemonic.Imul, MultiplySigned);
        table.Add(Mnemonic.Div, Divide);
        table.Add(Mnemonic.Idiv, DivideSigned);
    }

    /// <summary>A value of 1, 2 or 4 bytes as a signed number.</summary>
    private static long SignExtend(uint value, int size) => size switch
    {
        1 => (sbyte)value,
        2 => (short)value,
        _ => (int)value,
    };

    /// <summary>Twice the operand's size: AX, DX:AX or EDX:EAX.</summary>
    private static ulong ReadAccumulatorPair(Processor cpu, int size)
    {
        ref GeneralRegisters general = ref cpu.State.General;
        uint low = general[(int)Register32.Eax];
        uint high = general[(int)Register32.Edx];
        return size switch
        {
            1 => low & 0xFFFF,
            2 => (high << 16) | (low & 0xFFFF),
            _ => ((ulong)high << 32) | low,
        };
    }

    /// <summary>Low and high half (quotient and remainder, for division) into AL and AH, AX and DX, or EAX and EDX.</summary>
    private static void WriteAccumulatorPair(Processor cpu, uint low, uint high, int size)
    {
        switch (size)
        {
            case 1:
                cpu.WriteRegister(Iced.Intel.Register.AL, low);
                cpu.WriteRegister(Iced.Intel.Register.AH, high);
                break;
            case 2:
                cpu.WriteRegister(Iced.Intel.Register.AX, low);
                cpu.WriteRegister(Iced.Intel.Register.DX, high);
                break;
            default:
                cpu.WriteRegister(Iced.Intel.Register.EAX, low);
                cpu.WriteRegister(Iced.Intel.Register.EDX, high);
                break;
        }
    }

    private static void Multiply(Processor cpu, in Instruction instruction)
    {
        Operand source = cpu.Resolve(instruction, 0, false);
        int bits = source.Size * 8;
        uint mask = uint.MaxValue >> (32 - bits);
        ulong product = (ulong)(cpu.State.General[(int)Register32.Eax] & mask) * cpu.Load(source);
        uint high = (uint)(product >> bits);
        WriteAccumulatorPair(cpu, (uint)product, high, source.Size);
        cpu.State.Flags.SetProduct((uint)product, source.Size, high != 0);
    }

    private static void MultiplySigned(Processor cpu, in Instruction instruction)
    {
        if (instruction.OpCount == 1)
        {
            Operand source = cpu.Resolve(instruction, 0, false);
            long full = SignExtend(cpu.State.General[(int)Register32.Eax], source.Size) * SignExtend(cpu.Load(source), source.Size);
            WriteAccumulatorPair(cpu, (uint)full, (uint)(full >> (source.Size * 8)), source.Size);
            cpu.State.Flags.SetProduct((uint)full, source.Size, full != SignExtend((uint)full, source.Size));
            return;
        }
        int last = instruction.OpCount - 1;
        int size = instruction.Op0Register.GetSize();
        uint left = cpu.ReadOperand(instruction, last - 1);
        long product = SignExtend(left, size) * SignExtend(cpu.ReadOperand(instruction, last), size);
        cpu.WriteRegister(instruction.Op0Register, (uint)product);
        cpu.State.Flags.SetProduct((uint)product, size, product != SignExtend((uint)product, size));
    }

    private static void Divide(Processor cpu, in Instruction instruction)
    {
        Operand source = cpu.Resolve(instruction, 0, false);
        ulong divisor = cpu.Load(source);
        if (divisor == 0)
        {
            throw cpu.Fault(Vector.DivideError);
        }
        (ulong quotient, ulong remainder) = Math.DivRem(ReadAccumulatorPair(cpu, source.Size), divisor);
        if (quotient >> (source.Size * 8) != 0)
        {
            throw cpu.Fault(Vector.DivideError);
        }
        WriteAccumulatorPair(cpu, (uint)quotient, (uint)remainder, source.Size);
        SetDivisionFlags(cpu);
    }

    private static void DivideSigned(Processor cpu, in Instruction instruction)
    {
        Operand source = cpu.Resolve(instruction, 0, false);
        long divisor = SignExtend(cpu.Load(source), source.Size);
        ulong raw = ReadAccumulatorPair(cpu, source.Size);
        long dividend = source.Size switch { 1 => (short)raw, 2 => (int)raw, _ => (long)raw };
        // The one quotient that C# cannot form is also one that does not fit.
        if (divisor == 0 || (divisor == -1 && dividend == long.MinValue))
        {
            throw cpu.Fault(Vector.DivideError);
        }
        (long quotient, long remainder) = Math.DivRem(dividend, divisor);
        if (quotient != SignExtend((uint)quotient, source.Size))
        {
            throw cpu.Fault(Vector.DivideError);
        }
        WriteAccumulatorPair(cpu, (uint)quotient, (uint)remainder, source.Size);
        SetDivisionFlags(cpu);
    }

    private static void SetDivisionFlags(Processor cpu)
    {
        const uint oddPositive = 1;
        ref LazyFlags flags = ref cpu.State.Flags;
        if (!HostHabits.AreIntels)
        {
            flags.SetResult(oddPositive, 4, flags.Carry, flags.Overflow, true);
        }
    }
}
