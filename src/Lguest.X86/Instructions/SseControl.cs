// MXCSR, memory ordering, cache control, and the stores under a byte mask.

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

internal static class SseControl
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Ldmxcsr, LoadMxcsr);
        table.Add(Mnemonic.Stmxcsr, StoreMxcsr);
        table.Add(Mnemonic.Maskmovq, MaskedStoreMmx);
        table.Add(Mnemonic.Maskmovdqu, MaskedStoreXmm);
        table.Add(Mnemonic.Sfence, OrderMemory);
        table.Add(Mnemonic.Lfence, OrderMemory);
        table.Add(Mnemonic.Mfence, OrderMemory);
        table.Add(Mnemonic.Clflush, FlushCacheLine);
        table.Add(Mnemonic.Prefetchnta, Prefetch);
        table.Add(Mnemonic.Prefetcht0, Prefetch);
        table.Add(Mnemonic.Prefetcht1, Prefetch);
        table.Add(Mnemonic.Prefetcht2, Prefetch);
    }

    private static void LoadMxcsr(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        uint value = cpu.ReadMemory<uint>(instruction);
        if ((value & ~Mxcsr.Valid) != 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        cpu.State.Fpu.Mxcsr = value;
    }

    private static void StoreMxcsr(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        cpu.WriteMemory(instruction, cpu.State.Fpu.Mxcsr);
    }

    private static void MaskedStoreMmx(Processor cpu, in Instruction instruction)
    {
        RequireMmx(cpu);
        MaskedStore(cpu, instruction, 8, Widen(ReadMmx(cpu, instruction.Op1Register)), Widen(ReadMmx(cpu, instruction.Op2Register)));
        EnterMmx(cpu);
    }

    private static void MaskedStoreXmm(Processor cpu, in Instruction instruction)
    {
        RequireSse(cpu);
        MaskedStore(cpu, instruction, 16, Xmm(cpu, instruction.Op1Register), Xmm(cpu, instruction.Op2Register));
    }

    // Only the pages of selected bytes can fault; they are probed before the first byte is written.
    private static void MaskedStore(Processor cpu, in Instruction instruction, int size, Vector128<byte> data, Vector128<byte> mask)
    {
        uint offset = cpu.State.General[(int)Register32.Edi] & (instruction.Op0Kind == OpKind.MemorySegDI ? 0xFFFF : 0xFFFF_FFFF);
        uint linear = cpu.Linear(Processor.MemorySegment(instruction), offset, (uint)size, true);
        uint selected = mask.ExtractMostSignificantBits();
        if (selected == 0)
        {
            return;
        }
        int first = int.TrailingZeroCount((int)selected);
        int last = int.Log2((int)selected);
        cpu.ProbeWrite(linear + (uint)first, (uint)(last - first + 1));
        for (int i = first; i <= last; i++)
        {
            if ((selected & (1u << i)) != 0)
            {
                cpu.WriteLinear(linear + (uint)i, data.GetElement(i));
            }
        }
    }

    // One thread runs the Guest and every access is done in program order; devices on other threads synchronise on their own.
    private static void OrderMemory(Processor cpu, in Instruction instruction) => Thread.MemoryBarrier();

    // There is no cache to flush, but the address is checked as that of a load.
    private static void FlushCacheLine(Processor cpu, in Instruction instruction) => cpu.ReadMemory<byte>(instruction);

    private static void Prefetch(Processor cpu, in Instruction instruction)
    {
    }
}
