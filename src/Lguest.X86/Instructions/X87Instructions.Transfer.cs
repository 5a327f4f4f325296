// x87 data transfer: between the stack and memory in seven formats, inside the stack, and constants.

using System.Runtime.CompilerServices;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    private static void RegisterTransfer(InstructionTable table)
    {
        table.Add(Code.Fld_m32fp, FldFloat32);
        table.Add(Code.Fld_m64fp, FldFloat64);
        table.Add(Code.Fld_m80fp, FldFloat80);
        table.Add(Code.Fld_sti, FldRegister);
        table.Add(Code.Fild_m16int, FildInteger16);
        table.Add(Code.Fild_m32int, FildInteger32);
        table.Add(Code.Fild_m64int, FildInteger64);
        table.Add(Mnemonic.Fbld, Fbld);

        table.Add(Code.Fst_m32fp, FstFloat32);
        table.Add(Code.Fstp_m32fp, FstFloat32);
        table.Add(Code.Fst_m64fp, FstFloat64);
        table.Add(Code.Fstp_m64fp, FstFloat64);
        table.Add(Code.Fstp_m80fp, FstpFloat80);
        table.Add(Mnemonic.Fst, FstRegister);
        table.Add(Mnemonic.Fstp, FstRegister);
        table.Add(Mnemonic.Fstpnce, Fstpnce);
        table.Add(Code.Fist_m16int, FistInteger16);
        table.Add(Code.Fistp_m16int, FistInteger16);
        table.Add(Code.Fist_m32int, FistInteger32);
        table.Add(Code.Fistp_m32int, FistInteger32);
        table.Add(Code.Fistp_m64int, FistpInteger64);
        table.Add(Mnemonic.Fbstp, Fbstp);

        table.Add(Mnemonic.Fxch, Fxch);
        AddMove(table, Mnemonic.Fcmovb, static (in LazyFlags flags) => flags.Carry);
        AddMove(table, Mnemonic.Fcmovnb, static (in LazyFlags flags) => !flags.Carry);
        AddMove(table, Mnemonic.Fcmove, static (in LazyFlags flags) => flags.Zero);
        AddMove(table, Mnemonic.Fcmovne, static (in LazyFlags flags) => !flags.Zero);
        AddMove(table, Mnemonic.Fcmovbe, static (in LazyFlags flags) => flags.Carry || flags.Zero);
        AddMove(table, Mnemonic.Fcmovnbe, static (in LazyFlags flags) => !flags.Carry && !flags.Zero);
        AddMove(table, Mnemonic.Fcmovu, static (in LazyFlags flags) => flags.Parity);
        AddMove(table, Mnemonic.Fcmovnu, static (in LazyFlags flags) => !flags.Parity);

        AddConstant(table, Mnemonic.Fldz, 0, 0, 0);
        AddConstant(table, Mnemonic.Fld1, 0x3FFF, 0x8000_0000_0000_0000, 0);
        AddConstant(table, Mnemonic.Fldl2t, 0x4000, 0xD49A_784B_CD1B_8AFE, 0x492B_F6FF_4DAF_DB4C);
        AddConstant(table, Mnemonic.Fldl2e, 0x3FFF, 0xB8AA_3B29_5C17_F0BB, 0xBE87_FED0_691D_3E88);
        AddConstant(table, Mnemonic.Fldpi, 0x4000, 0xC90F_DAA2_2168_C234, 0xC4C6_628B_80DC_1CD1);
        AddConstant(table, Mnemonic.Fldlg2, 0x3FFD, 0x9A20_9A84_FBCF_F798, 0x8F89_59AC_0B7C_9178);
        AddConstant(table, Mnemonic.Fldln2, 0x3FFE, 0xB172_17F7_D1CF_79AB, 0xC9E3_B398_03F2_F6AF);
    }

    private delegate bool MoveCondition(in LazyFlags flags);

    private static void AddMove(InstructionTable table, Mnemonic mnemonic, MoveCondition condition) =>
        table.Add(mnemonic, (Processor cpu, in Instruction i) => Fcmov(cpu, i, condition(cpu.State.Flags)));

    private static void AddConstant(InstructionTable table, Mnemonic mnemonic, ushort exponent, ulong significand, ulong rest) =>
        table.Add(mnemonic, (Processor cpu, in Instruction i) => PushConstant(cpu, exponent, significand, rest));

    private static void FldFloat32(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        PushLoaded(cpu, ref state, Extended.FromFloat32(LoadOperand<uint>(cpu, instruction), ref context), context);
    }

    private static void FldFloat64(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        PushLoaded(cpu, ref state, Extended.FromFloat64(LoadOperand<ulong>(cpu, instruction), ref context), context);
    }

    /// <summary>The 80-bit format is loaded as it is: no exception but a full stack.</summary>
    private static void FldFloat80(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        (ulong significand, ushort signExponent) = LoadTenBytes(cpu, instruction);
        Push(cpu, ref state, new Float80(signExponent, significand), new X87Context(state.Fpu.ControlWord));
    }

    private static void FldRegister(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        int index = StackIndex(instruction.Op0Register);
        if (state.Fpu.IsEmpty(index))
        {
            Underflow(ref context);
        }
        Push(cpu, ref state, state.Fpu.St(index), context);
    }

    private static void FildInteger16(Processor cpu, in Instruction instruction) =>
        PushInteger(cpu, ref Begin(cpu), LoadOperand<short>(cpu, instruction));

    private static void FildInteger32(Processor cpu, in Instruction instruction) =>
        PushInteger(cpu, ref Begin(cpu), LoadOperand<int>(cpu, instruction));

    private static void FildInteger64(Processor cpu, in Instruction instruction) =>
        PushInteger(cpu, ref Begin(cpu), LoadOperand<long>(cpu, instruction));

    private static void PushInteger(Processor cpu, ref CpuState state, long value) =>
        Push(cpu, ref state, Extended.FromInteger(value), new X87Context(state.Fpu.ControlWord));

    private static void Fbld(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        (ulong digits, ushort top) = LoadTenBytes(cpu, instruction);
        Push(cpu, ref state, Extended.FromDecimal(digits, top), new X87Context(state.Fpu.ControlWord));
    }

    /// <summary>Pushes a widened number; a signalling NaN becomes quiet now, and invalid.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void PushLoaded(Processor cpu, ref CpuState state, Float80 value, X87Context context)
    {
        if (Extended.Exponent(value) == Extended.MaxExponent)
        {
            _ = Extended.TryNaN(value, ref context, out Float80 quiet);
            value = Extended.IsNaN(value) ? quiet : value;
        }
        Push(cpu, ref state, value, context);
    }

    /// <summary>Pushes unless that is an unmasked invalid operation. A denormal has already been converted and is pushed in any case.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Push(Processor cpu, ref CpuState state, Float80 value, X87Context context)
    {
        if (!state.Fpu.IsEmpty(7) && (context.Raised & X87Status.StackFault) == 0)
        {
            context.Raised = X87Status.Invalid | X87Status.StackFault | X87Status.C1;
        }
        if ((context.Raised & X87Status.StackFault) != 0)
        {
            value = Extended.Indefinite;
        }
        Commit(cpu, ref state, context);
        if ((context.Unmasked & X87Status.Invalid) == 0)
        {
            state.Fpu.Push(value);
        }
    }

    private static void PushConstant(Processor cpu, ushort exponent, ulong significand, ulong rest)
    {
        ref CpuState state = ref Begin(cpu);
        Push(cpu, ref state, Extended.Constant(exponent, significand, rest, state.Fpu.ControlWord), new X87Context(state.Fpu.ControlWord));
    }

    private static void FstFloat32(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        uint bits = Extended.ToFloat32(StoredValue(ref state, ref context), ref context);
        FinishStore(cpu, instruction, ref state, context, bits, instruction.Code == Code.Fstp_m32fp);
    }

    private static void FstFloat64(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        ulong bits = Extended.ToFloat64(StoredValue(ref state, ref context), ref context);
        FinishStore(cpu, instruction, ref state, context, bits, instruction.Code == Code.Fstp_m64fp);
    }

    private static void FistInteger16(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        short value = (short)Extended.ToInteger(StoredValue(ref state, ref context), 16, ref context);
        FinishStore(cpu, instruction, ref state, context, value, instruction.Code == Code.Fistp_m16int);
    }

    private static void FistInteger32(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        int value = (int)Extended.ToInteger(StoredValue(ref state, ref context), 32, ref context);
        FinishStore(cpu, instruction, ref state, context, value, instruction.Code == Code.Fistp_m32int);
    }

    private static void FistpInteger64(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        long value = Extended.ToInteger(StoredValue(ref state, ref context), 64, ref context);
        FinishStore(cpu, instruction, ref state, context, value, true);
    }

    private static void Fbstp(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        (ulong digits, ushort top) = Extended.ToDecimal(StoredValue(ref state, ref context), ref context);
        FinishStoreTenBytes(cpu, instruction, ref state, context, digits, top);
    }

    private static void FstpFloat80(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        X87Context context = BeginStore(ref state);
        Float80 value = StoredValue(ref state, ref context);
        FinishStoreTenBytes(cpu, instruction, ref state, context, value.Significand, value.SignExponent);
    }

    private static X87Context BeginStore(ref CpuState state) => new(state.Fpu.ControlWord);

    /// <summary>ST(0), or what stands for it when it is empty: a NaN, which becomes the indefinite value of every format.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float80 StoredValue(ref CpuState state, ref X87Context context)
    {
        if (!state.Fpu.IsEmpty(0))
        {
            return state.Fpu.St(0);
        }
        Underflow(ref context);
        return Extended.Indefinite;
    }

    /// <summary>Stores, books and pops. With an unmasked exception, other than precision, memory and stack stay as they are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishStore<T>(Processor cpu, in Instruction instruction, ref CpuState state, in X87Context context, T value, bool pop)
        where T : unmanaged
    {
        bool stores = (context.Unmasked & ~X87Status.Precision) == 0;
        if (stores)
        {
            StoreOperand(cpu, instruction, value);
        }
        Commit(cpu, ref state, context);
        if (stores && pop)
        {
            state.Fpu.Pop();
        }
    }

    private static void FinishStoreTenBytes(
        Processor cpu, in Instruction instruction, ref CpuState state, in X87Context context, ulong low, ushort high)
    {
        bool stores = (context.Unmasked & ~X87Status.Precision) == 0;
        if (stores)
        {
            StoreTenBytes(cpu, instruction, low, high);
        }
        Commit(cpu, ref state, context);
        if (stores)
        {
            state.Fpu.Pop();
        }
    }

    /// <summary>FST, FSTP and their undocumented twins with a register as destination: a copy.</summary>
    private static void FstRegister(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 value = StoredValue(ref state, ref context);
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(StackIndex(instruction.Op0Register), value);
            if (instruction.Code != Code.Fst_sti)
            {
                state.Fpu.Pop();
            }
        }
    }

    /// <summary>FSTP's twin that does not mind an empty top of stack: then it only pops.</summary>
    private static void Fstpnce(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        if (!state.Fpu.IsEmpty(0))
        {
            state.Fpu.Set(StackIndex(instruction.Op0Register), state.Fpu.St(0));
        }
        Commit(cpu, ref state, new X87Context(state.Fpu.ControlWord));
        state.Fpu.Pop();
    }

    private static void Fxch(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        int index = StackIndex(instruction.Op1Register);
        Float80 top = state.Fpu.St(0);
        Float80 other = state.Fpu.St(index);
        if (state.Fpu.IsEmpty(0) || state.Fpu.IsEmpty(index))
        {
            Underflow(ref context);
            top = state.Fpu.IsEmpty(0) ? Extended.Indefinite : top;
            other = state.Fpu.IsEmpty(index) ? Extended.Indefinite : other;
        }
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(index, top);
            state.Fpu.Set(0, other);
        }
    }

    private static void Fcmov(Processor cpu, in Instruction instruction, bool condition)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        int index = StackIndex(instruction.Op1Register);
        Float80 value = condition ? state.Fpu.St(index) : state.Fpu.St(0);
        bool underflow = state.Fpu.IsEmpty(0) || state.Fpu.IsEmpty(index);
        if (underflow)
        {
            Underflow(ref context);
            value = Extended.Indefinite;
        }
        if (Commit(cpu, ref state, context, underflow ? X87Status.C1 : 0))
        {
            state.Fpu.Set(0, value);
        }
    }
}
