// Moves between XMM, MMX and general registers and memory. They look at no number and raise no floating-point exception.

using System.Runtime.Intrinsics;
using Iced.Intel;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

internal static class SseMoves
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Movaps, MoveAligned);
        table.Add(Mnemonic.Movapd, MoveAligned);
        table.Add(Mnemonic.Movdqa, MoveAligned);
        table.Add(Mnemonic.Movntps, MoveAligned);
        table.Add(Mnemonic.Movntpd, MoveAligned);
        table.Add(Mnemonic.Movntdq, MoveAligned);
        table.Add(Mnemonic.Movups, MoveUnaligned);
        table.Add(Mnemonic.Movupd, MoveUnaligned);
        table.Add(Mnemonic.Movdqu, MoveUnaligned);
        table.Add(Mnemonic.Movss, MoveSingle);
        table.Add(Code.Movsd_xmm_xmmm64, MoveDouble);
        table.Add(Code.Movsd_xmmm64_xmm, MoveDouble);
        table.Add(Mnemonic.Movlps, MoveLow);
        table.Add(Mnemonic.Movlpd, MoveLow);
        table.Add(Mnemonic.Movhps, MoveHigh);
        table.Add(Mnemonic.Movhpd, MoveHigh);
        table.Add(Mnemonic.Movhlps, MoveHighToLow);
        table.Add(Mnemonic.Movlhps, MoveLowToHigh);
        table.Add(Mnemonic.Movd, MoveDoubleword);
        table.Add(Mnemonic.Movq, MoveQuadword);
        table.Add(Mnemonic.Movntq, MoveQuadword);
        table.Add(Mnemonic.Movq2dq, MoveMmxToXmm);
        table.Add(Mnemonic.Movdq2q, MoveXmmToMmx);
        table.Add(Mnemonic.Movmskps, MoveMaskSingle);
        table.Add(Mnemonic.Movmskpd, MoveMaskDouble);
        table.Add(Mnemonic.Movnti, MoveNonTemporal);
    }

    private static void MoveAligned(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        if (instruction.Op0Kind == OpKind.Register)
        {
            Xmm(cpu, instruction.Op0Register) = XmmSource(cpu, instruction);
        }
        else
        {
            cpu.WriteLinear(AlignedLinear(cpu, instruction, true), Xmm(cpu, instruction.Op1Register));
        }
    }

    private static void MoveUnaligned(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        if (instruction.Op0Kind != OpKind.Register)
        {
            cpu.WriteMemory(instruction, Xmm(cpu, instruction.Op1Register));
        }
        else if (instruction.Op1Kind == OpKind.Register)
        {
            Xmm(cpu, instruction.Op0Register) = Xmm(cpu, instruction.Op1Register);
        }
        else
        {
            Xmm(cpu, instruction.Op0Register) = cpu.ReadMemory<Vector128<byte>>(instruction);
        }
    }

    // A load clears the rest of the register; a move between registers leaves it alone.
    private static void MoveSingle(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        if (instruction.Op0Kind != OpKind.Register)
        {
            cpu.WriteMemory(instruction, Xmm(cpu, instruction.Op1Register).AsUInt32().ToScalar());
        }
        else if (instruction.Op1Kind == OpKind.Register)
        {
            ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
            destination = destination.AsUInt32().WithElement(0, Xmm(cpu, instruction.Op1Register).AsUInt32().ToScalar()).AsByte();
        }
        else
        {
            Xmm(cpu, instruction.Op0Register) = Vector128.CreateScalar(cpu.ReadMemory<uint>(instruction)).AsByte();
        }
    }

    private static void MoveDouble(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        if (instruction.Op0Kind != OpKind.Register)
        {
            cpu.WriteMemory(instruction, Low(Xmm(cpu, instruction.Op1Register)));
        }
        else if (instruction.Op1Kind == OpKind.Register)
        {
            SetLow(cpu, instruction, Low(Xmm(cpu, instruction.Op1Register)));
        }
        else
        {
            Xmm(cpu, instruction.Op0Register) = Widen(cpu.ReadMemory<ulong>(instruction));
        }
    }

    private static void MoveLow(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        if (instruction.Op0Kind == OpKind.Register)
        {
            SetLow(cpu, instruction, cpu.ReadMemory<ulong>(instruction));
        }
        else
        {
            cpu.WriteMemory(instruction, Low(Xmm(cpu, instruction.Op1Register)));
        }
    }

    private static void MoveHigh(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        if (instruction.Op0Kind == OpKind.Register)
        {
            SetHigh(cpu, instruction, cpu.ReadMemory<ulong>(instruction));
        }
        else
        {
            cpu.WriteMemory(instruction, High(Xmm(cpu, instruction.Op1Register)));
        }
    }

    private static void MoveHighToLow(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        SetLow(cpu, instruction, High(Xmm(cpu, instruction.Op1Register)));
    }

    private static void MoveLowToHigh(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        SetHigh(cpu, instruction, Low(Xmm(cpu, instruction.Op1Register)));
    }

    private static void SetLow(Processor cpu, in Instruction instruction, ulong value)
    {
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = destination.AsUInt64().WithElement(0, value).AsByte();
    }

    private static void SetHigh(Processor cpu, in Instruction instruction, ulong value)
    {
        ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
        destination = destination.AsUInt64().WithElement(1, value).AsByte();
    }

    private static void MoveDoubleword(Processor cpu, in Instruction instruction)
    {
        switch (instruction.Code)
        {
            case Code.Movd_xmm_rm32:
                RequireSse(cpu);
                Xmm(cpu, instruction.Op0Register) = Widen(cpu.ReadOperand(instruction, 1));
                break;
            case Code.Movd_rm32_xmm:
                RequireSse(cpu);
                cpu.WriteOperand(instruction, 0, Xmm(cpu, instruction.Op1Register).AsUInt32().ToScalar());
                break;
            case Code.Movd_mm_rm32:
                RequireMmx(cpu);
                WriteMmx(cpu, instruction.Op0Register, cpu.ReadOperand(instruction, 1));
                break;
            default:
                RequireMmx(cpu);
                cpu.WriteOperand(instruction, 0, (uint)ReadMmx(cpu, instruction.Op1Register));
                EnterMmx(cpu);
                break;
        }
    }

    private static void MoveQuadword(Processor cpu, in Instruction instruction)
    {
        bool mmx = IsMmx(instruction.Op0Register) || IsMmx(instruction.Op1Register);
        if (mmx)
        {
            MoveMmx(cpu, instruction);
            return;
        }
        RequireSse(cpu);
        if (instruction.Op0Kind == OpKind.Register)
        {
            Xmm(cpu, instruction.Op0Register) = Widen(Low(XmmSource(cpu, instruction, 8)));
        }
        else
        {
            cpu.WriteMemory(instruction, Low(Xmm(cpu, instruction.Op1Register)));
        }
    }

    private static void MoveMmx(Processor cpu, in Instruction instruction)
    {
        RequireMmx(cpu);
        if (instruction.Op0Kind == OpKind.Register)
        {
            WriteMmx(cpu, instruction.Op0Register, MmxSource(cpu, instruction));
        }
        else
        {
            cpu.WriteMemory(instruction, ReadMmx(cpu, instruction.Op1Register));
            EnterMmx(cpu);
        }
    }

    private static void MoveMmxToXmm(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        RequireMmx(cpu);
        Xmm(cpu, instruction.Op0Register) = Widen(ReadMmx(cpu, instruction.Op1Register));
        EnterMmx(cpu);
    }

    private static void MoveXmmToMmx(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        RequireMmx(cpu);
        WriteMmx(cpu, instruction.Op0Register, Low(Xmm(cpu, instruction.Op1Register)));
    }

    private static void MoveMaskSingle(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        cpu.WriteRegister(instruction.Op0Register, Xmm(cpu, instruction.Op1Register).AsUInt32().ExtractMostSignificantBits());
    }

    private static void MoveMaskDouble(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        cpu.WriteRegister(instruction.Op0Register, Xmm(cpu, instruction.Op1Register).AsUInt64().ExtractMostSignificantBits());
    }

    // MOVNTI touches no SSE state, so neither CR0 nor CR4 can forbid it.
    private static void MoveNonTemporal(Processor cpu, in Instruction instruction) =>
        cpu.WriteMemory(instruction, cpu.ReadRegister(instruction.Op1Register));
}
