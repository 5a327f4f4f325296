// x87 comparison: into the condition codes, and since the Pentium Pro into EFLAGS. The outcome is delivered even when an unmasked
// exception is raised, as processors do; only the pop is then left out.

using System.Runtime.CompilerServices;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    private static void RegisterCompare(InstructionTable table)
    {
        table.Add(Code.Fcom_m32fp, static (Processor cpu, in Instruction i) => CompareWithFloat32(cpu, i, 0));
        table.Add(Code.Fcomp_m32fp, static (Processor cpu, in Instruction i) => CompareWithFloat32(cpu, i, 1));
        table.Add(Code.Fcom_m64fp, static (Processor cpu, in Instruction i) => CompareWithFloat64(cpu, i, 0));
        table.Add(Code.Fcomp_m64fp, static (Processor cpu, in Instruction i) => CompareWithFloat64(cpu, i, 1));
        table.Add(Code.Ficom_m16int, static (Processor cpu, in Instruction i) => CompareWithInteger16(cpu, i, 0));
        table.Add(Code.Ficomp_m16int, static (Processor cpu, in Instruction i) => CompareWithInteger16(cpu, i, 1));
        table.Add(Code.Ficom_m32int, static (Processor cpu, in Instruction i) => CompareWithInteger32(cpu, i, 0));
        table.Add(Code.Ficomp_m32int, static (Processor cpu, in Instruction i) => CompareWithInteger32(cpu, i, 1));
        table.Add(Mnemonic.Fcom, static (Processor cpu, in Instruction i) => CompareRegisters(cpu, StackIndex(i.Op1Register), false, 0));
        table.Add(Mnemonic.Fcomp, static (Processor cpu, in Instruction i) => CompareRegisters(cpu, StackIndex(i.Op1Register), false, 1));
        table.Add(Mnemonic.Fcompp, static (Processor cpu, in Instruction i) => CompareRegisters(cpu, 1, false, 2));
        table.Add(Mnemonic.Fucom, static (Processor cpu, in Instruction i) => CompareRegisters(cpu, StackIndex(i.Op1Register), true, 0));
        table.Add(Mnemonic.Fucomp, static (Processor cpu, in Instruction i) => CompareRegisters(cpu, StackIndex(i.Op1Register), true, 1));
        table.Add(Mnemonic.Fucompp, static (Processor cpu, in Instruction i) => CompareRegisters(cpu, 1, true, 2));
        table.Add(Mnemonic.Fcomi, static (Processor cpu, in Instruction i) => CompareToFlags(cpu, i, false, 0));
        table.Add(Mnemonic.Fcomip, static (Processor cpu, in Instruction i) => CompareToFlags(cpu, i, false, 1));
        table.Add(Mnemonic.Fucomi, static (Processor cpu, in Instruction i) => CompareToFlags(cpu, i, true, 0));
        table.Add(Mnemonic.Fucomip, static (Processor cpu, in Instruction i) => CompareToFlags(cpu, i, true, 1));
        table.Add(Mnemonic.Ftst, Ftst);
        table.Add(Mnemonic.Fxam, Fxam);
    }

    private static void CompareWithFloat32(Processor cpu, in Instruction instruction, int pops)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        CompareWith(cpu, ref state, Extended.FromFloat32(LoadOperand<uint>(cpu, instruction), ref context), context, pops);
    }

    private static void CompareWithFloat64(Processor cpu, in Instruction instruction, int pops)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        CompareWith(cpu, ref state, Extended.FromFloat64(LoadOperand<ulong>(cpu, instruction), ref context), context, pops);
    }

    private static void CompareWithInteger16(Processor cpu, in Instruction instruction, int pops) =>
        CompareWithInteger(cpu, ref Begin(cpu), LoadOperand<short>(cpu, instruction), pops);

    private static void CompareWithInteger32(Processor cpu, in Instruction instruction, int pops) =>
        CompareWithInteger(cpu, ref Begin(cpu), LoadOperand<int>(cpu, instruction), pops);

    private static void CompareWithInteger(Processor cpu, ref CpuState state, long value, int pops) =>
        CompareWith(cpu, ref state, Extended.FromInteger(value), new X87Context(state.Fpu.ControlWord), pops);

    private static void Ftst(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        CompareWith(cpu, ref state, default, new X87Context(state.Fpu.ControlWord), 0);
    }

    private static void CompareWith(Processor cpu, ref CpuState state, Float80 source, X87Context context, int pops)
    {
        int order = Extended.Unordered;
        if (state.Fpu.IsEmpty(0))
        {
            context.Raised = 0;
            Underflow(ref context);
        }
        else
        {
            order = Extended.Compare(state.Fpu.St(0), source, false, ref context);
        }
        FinishCompare(cpu, ref state, context, order, pops);
    }

    private static void CompareRegisters(Processor cpu, int index, bool quiet, int pops)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        int order = CompareStack(ref state, index, quiet, ref context);
        FinishCompare(cpu, ref state, context, order, pops);
    }

    private static int CompareStack(ref CpuState state, int index, bool quiet, ref X87Context context)
    {
        if (!state.Fpu.IsEmpty(0) && !state.Fpu.IsEmpty(index))
        {
            return Extended.Compare(state.Fpu.St(0), state.Fpu.St(index), quiet, ref context);
        }
        Underflow(ref context);
        return Extended.Unordered;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishCompare(Processor cpu, ref CpuState state, X87Context context, int order, int pops)
    {
        context.Raised |= order;
        if (Commit(cpu, ref state, context, X87Status.Conditions))
        {
            Pop(ref state, pops);
        }
    }

    /// <summary>FCOMI and its kin: ZF, PF and CF as an unsigned integer comparison would set them; OF, SF and AF become zero.</summary>
    private static void CompareToFlags(Processor cpu, in Instruction instruction, bool quiet, int pops)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        int order = CompareStack(ref state, StackIndex(instruction.Op1Register), quiet, ref context);
        bool pop = Commit(cpu, ref state, context);
        state.Flags.Value = order switch
        {
            Extended.Less => Eflags.Carry,
            Extended.Equal => Eflags.Zero,
            Extended.Unordered => Eflags.Zero | Eflags.Parity | Eflags.Carry,
            _ => 0,
        };
        if (pop)
        {
            Pop(ref state, pops);
        }
    }

    private static void Pop(ref CpuState state, int count)
    {
        for (int i = 0; i < count; i++)
        {
            state.Fpu.Pop();
        }
    }

    private static void Fxam(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord) { Raised = Extended.Examine(state.Fpu.St(0)) };
        if (state.Fpu.IsEmpty(0))
        {
            context.Raised = (context.Raised & X87Status.C1) | X87Status.C3 | X87Status.C0;
        }
        Commit(cpu, ref state, context, X87Status.Conditions);
    }
}
