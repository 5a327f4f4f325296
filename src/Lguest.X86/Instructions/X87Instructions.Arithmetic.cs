// x87 arithmetic: the six operations of two operands in all their forms, and the operations on the top of the stack.

using System.Runtime.CompilerServices;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    /// <summary>An operation of destination and source.</summary>
    private interface IOperation
    {
        static abstract Float80 Apply(Float80 destination, Float80 source, ref X87Context context);
    }

    private delegate Float80 UnaryOperation(Float80 value, ref X87Context context);

    private static void RegisterArithmetic(InstructionTable table)
    {
        RegisterOperation<Addition>(
            table, Code.Fadd_m32fp, Code.Fadd_m64fp, Code.Fiadd_m16int, Code.Fiadd_m32int,
            Code.Fadd_st0_sti, Code.Fadd_sti_st0, Code.Faddp_sti_st0);
        RegisterOperation<Subtraction>(
            table, Code.Fsub_m32fp, Code.Fsub_m64fp, Code.Fisub_m16int, Code.Fisub_m32int,
            Code.Fsub_st0_sti, Code.Fsub_sti_st0, Code.Fsubp_sti_st0);
        RegisterOperation<ReversedSubtraction>(
            table, Code.Fsubr_m32fp, Code.Fsubr_m64fp, Code.Fisubr_m16int, Code.Fisubr_m32int,
            Code.Fsubr_st0_sti, Code.Fsubr_sti_st0, Code.Fsubrp_sti_st0);
        RegisterOperation<Multiplication>(
            table, Code.Fmul_m32fp, Code.Fmul_m64fp, Code.Fimul_m16int, Code.Fimul_m32int,
            Code.Fmul_st0_sti, Code.Fmul_sti_st0, Code.Fmulp_sti_st0);
        RegisterOperation<Division>(
            table, Code.Fdiv_m32fp, Code.Fdiv_m64fp, Code.Fidiv_m16int, Code.Fidiv_m32int,
            Code.Fdiv_st0_sti, Code.Fdiv_sti_st0, Code.Fdivp_sti_st0);
        RegisterOperation<ReversedDivision>(
            table, Code.Fdivr_m32fp, Code.Fdivr_m64fp, Code.Fidivr_m16int, Code.Fidivr_m32int,
            Code.Fdivr_st0_sti, Code.Fdivr_sti_st0, Code.Fdivrp_sti_st0);

        table.Add(Mnemonic.Fsqrt, static (Processor cpu, in Instruction i) => Unary(cpu, Extended.SquareRoot));
        table.Add(Mnemonic.Frndint, static (Processor cpu, in Instruction i) => Unary(cpu, Extended.RoundToIntegral));
        table.Add(Mnemonic.Fabs, static (Processor cpu, in Instruction i) => ChangeSign(cpu, 0x7FFF, 0));
        table.Add(Mnemonic.Fchs, static (Processor cpu, in Instruction i) => ChangeSign(cpu, 0xFFFF, 0x8000));
        table.Add(Mnemonic.Fscale, Fscale);
        table.Add(Mnemonic.Fprem, static (Processor cpu, in Instruction i) => Fprem(cpu, false));
        table.Add(Mnemonic.Fprem1, static (Processor cpu, in Instruction i) => Fprem(cpu, true));
        table.Add(Mnemonic.Fxtract, Fxtract);
    }

    private static void RegisterOperation<TOperation>(
        InstructionTable table, Code float32, Code float64, Code integer16, Code integer32, Code toTop, Code toRegister, Code toRegisterAndPop)
        where TOperation : IOperation
    {
        table.Add(float32, WithFloat32<TOperation>);
        table.Add(float64, WithFloat64<TOperation>);
        table.Add(integer16, WithInteger16<TOperation>);
        table.Add(integer32, WithInteger32<TOperation>);
        table.Add(toTop, ToTop<TOperation>);
        table.Add(toRegister, ToRegister<TOperation>);
        table.Add(toRegisterAndPop, ToRegisterAndPop<TOperation>);
    }

    private static void WithFloat32<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        WithMemory<TOperation>(cpu, ref state, Extended.FromFloat32(LoadOperand<uint>(cpu, instruction), ref context), context);
    }

    private static void WithFloat64<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        WithMemory<TOperation>(cpu, ref state, Extended.FromFloat64(LoadOperand<ulong>(cpu, instruction), ref context), context);
    }

    private static void WithInteger16<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation
    {
        ref CpuState state = ref Begin(cpu);
        Float80 source = Extended.FromInteger(LoadOperand<short>(cpu, instruction));
        WithMemory<TOperation>(cpu, ref state, source, new X87Context(state.Fpu.ControlWord));
    }

    private static void WithInteger32<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation
    {
        ref CpuState state = ref Begin(cpu);
        Float80 source = Extended.FromInteger(LoadOperand<int>(cpu, instruction));
        WithMemory<TOperation>(cpu, ref state, source, new X87Context(state.Fpu.ControlWord));
    }

    private static void WithMemory<TOperation>(Processor cpu, ref CpuState state, Float80 source, X87Context context)
        where TOperation : IOperation
    {
        Float80 result;
        if (state.Fpu.IsEmpty(0))
        {
            context.Raised = 0;
            Underflow(ref context);
            result = Extended.Indefinite;
        }
        else
        {
            result = TOperation.Apply(state.Fpu.St(0), source, ref context);
        }
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(0, result);
        }
    }

    private static void ToTop<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation => Operate<TOperation>(cpu, 0, StackIndex(instruction.Op1Register));

    private static void ToRegister<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation => Operate<TOperation>(cpu, StackIndex(instruction.Op0Register), 0);

    private static void ToRegisterAndPop<TOperation>(Processor cpu, in Instruction instruction)
        where TOperation : IOperation
    {
        if (Operate<TOperation>(cpu, StackIndex(instruction.Op0Register), 0))
        {
            cpu.State.Fpu.Pop();
        }
    }

    /// <summary>Computes ST(destination) from itself and ST(source).</summary>
    /// <returns>False when an unmasked exception forbids a result.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Operate<TOperation>(Processor cpu, int destination, int source)
        where TOperation : IOperation
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 result;
        if (state.Fpu.IsEmpty(destination) || state.Fpu.IsEmpty(source))
        {
            Underflow(ref context);
            result = Extended.Indefinite;
        }
        else
        {
            result = TOperation.Apply(state.Fpu.St(destination), state.Fpu.St(source), ref context);
        }
        if (!Commit(cpu, ref state, context))
        {
            return false;
        }
        state.Fpu.Set(destination, result);
        return true;
    }

    private static void Unary(Processor cpu, UnaryOperation operation)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 result = StoredValue(ref state, ref context);
        if (context.Raised == 0)
        {
            result = operation(result, ref context);
        }
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(0, result);
        }
    }

    /// <summary>FABS and FCHS change one bit, of whatever the register holds.</summary>
    private static void ChangeSign(Processor cpu, ushort keep, ushort flip)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 value = StoredValue(ref state, ref context);
        if (context.Raised == 0)
        {
            value.SignExponent = (ushort)((value.SignExponent & keep) ^ flip);
        }
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(0, value);
        }
    }

    private static void Fscale(Processor cpu, in Instruction instruction) => Operate<Scaling>(cpu, 0, 1);

    private static void Fprem(Processor cpu, bool nearest)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 result;
        bool divided = false;
        if (state.Fpu.IsEmpty(0) || state.Fpu.IsEmpty(1))
        {
            Underflow(ref context);
            result = Extended.Indefinite;
        }
        else
        {
            result = Extended.Remainder(state.Fpu.St(0), state.Fpu.St(1), nearest, ref context, out divided);
        }
        int cleared = X87Status.Conditions;
        if (!divided || (context.Unmasked & X87Status.BeforeComputation) != 0)
        {
            // Without a quotient, C0 and C3 keep what they were.
            context.Raised &= ~X87Status.Conditions;
            cleared = X87Status.C1 | X87Status.C2;
        }
        if (Commit(cpu, ref state, context, cleared))
        {
            state.Fpu.Set(0, result);
        }
    }

    /// <summary>The exponent replaces ST(0) and the significand is pushed.</summary>
    private static void Fxtract(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 significand = Extended.Indefinite;
        Float80 exponent = significand;
        if (state.Fpu.IsEmpty(0))
        {
            Underflow(ref context);
        }
        else if (!state.Fpu.IsEmpty(7))
        {
            context.Raised = X87Status.Invalid | X87Status.StackFault | X87Status.C1;
        }
        else
        {
            significand = Extended.Extract(state.Fpu.St(0), out exponent, ref context);
        }
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(0, exponent);
            state.Fpu.Push(significand);
        }
    }

    private struct Addition : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Add(destination, source, ref context);
    }

    private struct Subtraction : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Subtract(destination, source, ref context);
    }

    private struct ReversedSubtraction : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Subtract(source, destination, ref context);
    }

    private struct Multiplication : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Multiply(destination, source, ref context);
    }

    private struct Division : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Divide(destination, source, ref context);
    }

    private struct ReversedDivision : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Divide(source, destination, ref context);
    }

    private struct Scaling : IOperation
    {
        public static Float80 Apply(Float80 destination, Float80 source, ref X87Context context) =>
            Extended.Scale(destination, source, ref context);
    }
}
