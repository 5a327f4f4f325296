// x87 transcendental instructions: what is special about their operands is here, the functions themselves are in Elementary.

using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    private const int TrigonometricLimit = Extended.Bias + 63;

    private static void RegisterTranscendental(InstructionTable table)
    {
        table.Add(Mnemonic.Fsin, static (Processor cpu, in Instruction i) => SineOrCosine(cpu, false));
        table.Add(Mnemonic.Fcos, static (Processor cpu, in Instruction i) => SineOrCosine(cpu, true));
        table.Add(Mnemonic.Fsincos, static (Processor cpu, in Instruction i) => TwoResults(cpu, SineCosine));
        table.Add(Mnemonic.Fptan, static (Processor cpu, in Instruction i) => TwoResults(cpu, Tangent));
        table.Add(Mnemonic.F2xm1, static (Processor cpu, in Instruction i) => Unary(cpu, Exp2Minus1));
        table.Add(Mnemonic.Fpatan, static (Processor cpu, in Instruction i) => BinaryAndPop(cpu, Arctangent));
        table.Add(Mnemonic.Fyl2x, static (Processor cpu, in Instruction i) => BinaryAndPop(cpu, TimesLog2));
        table.Add(Mnemonic.Fyl2xp1, static (Processor cpu, in Instruction i) => BinaryAndPop(cpu, TimesLog2Plus1));
    }

    private delegate (Float80 First, Float80 Pushed) TwoResultOperation(Float80 value, ref X87Context context);

    private delegate Float80 BinaryOperation(Float80 y, Float80 x, ref X87Context context);

    /// <summary>An argument of 2^63 and more is refused by C2; so is no other finite one.</summary>
    private static bool IsOutOfRange(Float80 value) =>
        Extended.Exponent(value) is >= TrigonometricLimit and < Extended.MaxExponent && !Extended.IsUnsupported(value);

    private static void SineOrCosine(Processor cpu, bool cosine)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 value = StoredValue(ref state, ref context);
        if (context.Raised == 0)
        {
            if (IsOutOfRange(value))
            {
                context.Raised = X87Status.C2;
            }
            else
            {
                value = cosine ? Cosine(value, ref context) : Sine(value, ref context);
            }
        }
        if (Commit(cpu, ref state, context, X87Status.C1 | X87Status.C2))
        {
            state.Fpu.Set(0, value);
        }
    }

    /// <summary>FSINCOS and FPTAN: one result replaces ST(0), the other is pushed.</summary>
    private static void TwoResults(Processor cpu, TwoResultOperation operation)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        (Float80 First, Float80 Pushed) results = (Extended.Indefinite, Extended.Indefinite);
        if (state.Fpu.IsEmpty(0))
        {
            Underflow(ref context);
        }
        else if (!state.Fpu.IsEmpty(7))
        {
            context.Raised = X87Status.Invalid | X87Status.StackFault | X87Status.C1;
        }
        else if (IsOutOfRange(state.Fpu.St(0)))
        {
            context.Raised = X87Status.C2;
        }
        else
        {
            results = operation(state.Fpu.St(0), ref context);
        }
        if (Commit(cpu, ref state, context, X87Status.C1 | X87Status.C2) && (context.Raised & X87Status.C2) == 0)
        {
            state.Fpu.Set(0, results.First);
            state.Fpu.Push(results.Pushed);
        }
    }

    /// <summary>FPATAN, FYL2X and FYL2XP1: the result replaces ST(1), and ST(0) is popped.</summary>
    private static void BinaryAndPop(Processor cpu, BinaryOperation operation)
    {
        ref CpuState state = ref Begin(cpu);
        var context = new X87Context(state.Fpu.ControlWord);
        Float80 result;
        if (state.Fpu.IsEmpty(0) || state.Fpu.IsEmpty(1))
        {
            Underflow(ref context);
            result = Extended.Indefinite;
        }
        else if (!Extended.TryNaN(state.Fpu.St(1), state.Fpu.St(0), ref context, out result))
        {
            result = operation(state.Fpu.St(1), state.Fpu.St(0), ref context);
        }
        if (Commit(cpu, ref state, context))
        {
            state.Fpu.Set(1, result);
            state.Fpu.Pop();
        }
    }

    private static Float80 Sine(Float80 value, ref X87Context context) =>
        SineCosine(value, ref context, wantsSine: true, wantsCosine: false).First;

    private static Float80 Cosine(Float80 value, ref X87Context context) =>
        SineCosine(value, ref context, wantsSine: false, wantsCosine: true).Pushed;

    private static (Float80 First, Float80 Pushed) SineCosine(Float80 value, ref X87Context context) =>
        SineCosine(value, ref context, wantsSine: true, wantsCosine: true);

    private static (Float80 First, Float80 Pushed) SineCosine(Float80 value, ref X87Context context, bool wantsSine, bool wantsCosine)
    {
        if (TryTrigonometricSpecial(value, ref context, out Float80 special))
        {
            return (special, special);
        }
        if (Extended.IsZero(value))
        {
            return (value, Extended.FromInteger(1));
        }
        (WideFloat sine, WideFloat cosine) = Elementary.SineCosine(WideFloat.From(value, ref context));
        return (wantsSine ? sine.Round(ref context) : default, wantsCosine ? cosine.Round(ref context) : default);
    }

    private static (Float80 First, Float80 Pushed) Tangent(Float80 value, ref X87Context context)
    {
        if (TryTrigonometricSpecial(value, ref context, out Float80 special))
        {
            return (special, special);
        }
        Float80 one = Extended.FromInteger(1);
        if (Extended.IsZero(value))
        {
            return (value, one);
        }
        (WideFloat sine, WideFloat cosine) = Elementary.SineCosine(WideFloat.From(value, ref context));
        return ((sine / cosine).Round(ref context), one);
    }

    private static bool TryTrigonometricSpecial(Float80 value, ref X87Context context, out Float80 result)
    {
        if (Extended.TryNaN(value, ref context, out result))
        {
            return true;
        }
        if (Extended.IsInfinity(value))
        {
            result = Extended.Invalid(ref context);
            return true;
        }
        return false;
    }

    /// <summary>F2XM1. Beyond its range, -1 to 1, the manual leaves the result open: it is the operand, as on other processors.</summary>
    private static Float80 Exp2Minus1(Float80 value, ref X87Context context)
    {
        if (Extended.TryNaN(value, ref context, out Float80 result))
        {
            return result;
        }
        if (Extended.IsInfinity(value))
        {
            return Extended.Sign(value) == 0 ? value : Extended.FromInteger(-1);
        }
        if (Extended.IsZero(value))
        {
            return value;
        }
        WideFloat x = WideFloat.From(value, ref context);
        if (x.Exponent >= 0)
        {
            context.Raised |= X87Status.Precision;
            bool minusOne = x.Exponent == 0 && x.Significand << 1 == 0 && x.Sign != 0;
            return minusOne ? new Float80(0xBFFE, Extended.IntegerBit) : value;
        }
        return Elementary.Exp2Minus1(x).Round(ref context);
    }

    /// <summary>FPATAN: the angle of the point (x, y), from -pi to pi, for zeros and infinities too (Intel SDM volume 2, FPATAN).</summary>
    private static Float80 Arctangent(Float80 y, Float80 x, ref X87Context context)
    {
        uint sign = Extended.Sign(y);
        bool left = Extended.Sign(x) != 0;
        bool flat = Extended.IsZero(y) || (Extended.IsInfinity(x) && !Extended.IsInfinity(y));
        bool upright = !flat && (Extended.IsZero(x) || (Extended.IsInfinity(y) && !Extended.IsInfinity(x)));
        if (flat || upright)
        {
            NoteDenormals(y, x, ref context);
            if (flat && !left)
            {
                return new Float80((ushort)sign, 0);
            }
            return Elementary.Pi.Scaled(flat ? 0 : -1).WithSign(sign).Round(ref context);
        }
        WideFloat angle = Extended.IsInfinity(x)
            ? Elementary.Pi.Scaled(-2)
            : Elementary.Arctangent(WideFloat.From(y, ref context).WithSign(0), WideFloat.From(x, ref context).WithSign(0));
        return (left ? Elementary.Pi - angle : angle).WithSign(sign).Round(ref context);
    }

    /// <summary>FYL2X: y * log2(x).</summary>
    private static Float80 TimesLog2(Float80 y, Float80 x, ref X87Context context)
    {
        if (Extended.IsZero(x))
        {
            if (Extended.IsZero(y))
            {
                return Extended.Invalid(ref context);
            }
            context.Raised |= Extended.IsInfinity(y) ? 0 : X87Status.ZeroDivide;
            return Infinity(Extended.Sign(y) ^ 0x8000);
        }
        if (Extended.Sign(x) != 0)
        {
            return Extended.Invalid(ref context);
        }
        if (Extended.IsInfinity(x))
        {
            if (Extended.IsZero(y))
            {
                return Extended.Invalid(ref context);
            }
            NoteDenormals(y, x, ref context);
            return Infinity(Extended.Sign(y));
        }
        WideFloat logarithm = Elementary.Log2(WideFloat.From(x, ref context), out bool exact);
        return Times(y, logarithm, exact, ref context);
    }

    /// <summary>FYL2XP1: y * log2(x + 1).</summary>
    private static Float80 TimesLog2Plus1(Float80 y, Float80 x, ref X87Context context)
    {
        if (Extended.IsZero(x))
        {
            return Times(y, default(WideFloat).WithSign(Extended.Sign(x)), true, ref context);
        }
        bool negative = Extended.Sign(x) != 0;
        if (negative && Extended.Exponent(x) >= Extended.Bias)
        {
            return Extended.Invalid(ref context);
        }
        if (Extended.IsInfinity(x))
        {
            return Extended.IsZero(y) ? Extended.Invalid(ref context) : Infinity(Extended.Sign(y));
        }
        return Times(y, Elementary.Log2Plus1(WideFloat.From(x, ref context)), false, ref context);
    }

    /// <summary>A number times a logarithm.</summary>
    private static Float80 Times(Float80 y, WideFloat logarithm, bool exact, ref X87Context context)
    {
        uint sign = Extended.Sign(y) ^ logarithm.Sign;
        if (Extended.IsInfinity(y))
        {
            return logarithm.IsZero ? Extended.Invalid(ref context) : Infinity(sign);
        }
        if (Extended.IsZero(y) || logarithm.IsZero)
        {
            NoteDenormals(y, y, ref context);
            return new Float80((ushort)sign, 0);
        }
        return (WideFloat.From(y, ref context) * logarithm).Round(ref context, exact);
    }

    private static Float80 Infinity(uint sign) => new((ushort)(sign | Extended.MaxExponent), Extended.IntegerBit);

    private static void NoteDenormals(Float80 y, Float80 x, ref X87Context context)
    {
        if (Extended.IsDenormal(y) || Extended.IsDenormal(x))
        {
            context.Raised |= X87Status.Denormal;
        }
    }
}
