// The floating-point half of the table of inline forms. x87, MMX and SSE instructions are the host's own: the same bytes do the same to
// the same registers, exceptions being masked. So there is no family to write, only a list of what keeps out: instructions that change
// the control state or save it, and those whose last bits differ between processors and must not differ between our engines.

using Iced.Intel;

namespace Lguest.X86.Translation;

/// <summary>Which floating-point instructions the host's own units execute.</summary>
internal static class InlineFloat
{
    /// <summary>The form of an x87, MMX or SSE instruction.</summary>
    public static InlineForm Find(in Instruction i) => IsX87(i) ? InlineForm.X87 : IsX87Control(i) ? InlineForm.X87Control : IsSimd(i) ? InlineForm.Simd : InlineForm.Called;

    /// <summary>Whether a memory operand of 16 bytes may lie anywhere.</summary>
    public static bool IsUnaligned(in Instruction i) => i.Mnemonic is Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu;

    /// <summary>Whether an MMX or SSE instruction needs what SSE needs: it names an XMM register or came with SSE.</summary>
    public static bool UsesSse(in Instruction i) => !(i.CpuidFeatures.Length == 1 && i.CpuidFeatures[0] == CpuidFeature.MMX);

    /// <summary>Whether an instruction works on the floating-point state at all.</summary>
    public static bool Touches(in Instruction i)
    {
        foreach (CpuidFeature feature in i.CpuidFeatures)
        {
            if (feature is not (CpuidFeature.INTEL8086 or CpuidFeature.INTEL186 or CpuidFeature.INTEL286 or CpuidFeature.INTEL386
                or CpuidFeature.INTEL486 or CpuidFeature.CMOV or CpuidFeature.CX8 or CpuidFeature.TSC or CpuidFeature.CPUID))
            {
                return true;
            }
        }
        return false;
    }

    private static bool IsX87Control(in Instruction i) => i.Mnemonic is Mnemonic.Fldcw or Mnemonic.Fnstcw or Mnemonic.Fnstsw or Mnemonic.Wait;

    private static bool IsX87(in Instruction i)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Fld or Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fild or Mnemonic.Fist or Mnemonic.Fistp or Mnemonic.Fxch:
            case Mnemonic.Fadd or Mnemonic.Faddp or Mnemonic.Fiadd or Mnemonic.Fmul or Mnemonic.Fmulp or Mnemonic.Fimul:
            case Mnemonic.Fsub or Mnemonic.Fsubp or Mnemonic.Fisub or Mnemonic.Fsubr or Mnemonic.Fsubrp or Mnemonic.Fisubr:
            case Mnemonic.Fdiv or Mnemonic.Fdivp or Mnemonic.Fidiv or Mnemonic.Fdivr or Mnemonic.Fdivrp or Mnemonic.Fidivr:
            case Mnemonic.Fsqrt or Mnemonic.Frndint or Mnemonic.Fabs or Mnemonic.Fchs or Mnemonic.Fprem or Mnemonic.Fprem1:
            case Mnemonic.Fcom or Mnemonic.Fcomp or Mnemonic.Fcompp or Mnemonic.Fucom or Mnemonic.Fucomp or Mnemonic.Fucompp:
            case Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip or Mnemonic.Ftst or Mnemonic.Fxam:
            case Mnemonic.Ficom or Mnemonic.Ficomp:
            case Mnemonic.Fldz or Mnemonic.Fld1 or Mnemonic.Fldpi or Mnemonic.Fldl2t or Mnemonic.Fldl2e or Mnemonic.Fldlg2 or Mnemonic.Fldln2:
            case Mnemonic.Fcmovb or Mnemonic.Fcmovnb or Mnemonic.Fcmove or Mnemonic.Fcmovne:
            case Mnemonic.Fcmovbe or Mnemonic.Fcmovnbe or Mnemonic.Fcmovu or Mnemonic.Fcmovnu:
                // The data pointer is an offset; it is at hand only where it is the linear address, too.
                return !InlineForms.HasMemory(i) || i.MemorySegment is not (Register.FS or Register.GS);
            default:
                return false;
        }
    }

    private static bool IsSimd(in Instruction i)
    {
        bool vector = false;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            OpKind kind = i.GetOpKind(operand);
            if (kind == OpKind.Register)
            {
                Register register = i.GetOpRegister(operand);
                vector |= register is (>= Register.XMM0 and <= Register.XMM7) or (>= Register.MM0 and <= Register.MM7);
            }
            else if (kind is not (OpKind.Memory or OpKind.Immediate8))
            {
                return false;
            }
        }
        // Whether this conversion from memory turns the x87 to MMX is a matter on which processors differ.
        if (i.Mnemonic is Mnemonic.Cvtpi2ps or Mnemonic.Cvtpi2pd && InlineForms.HasMemory(i))
        {
            return false;
        }
        return vector && i.Mnemonic is not (Mnemonic.Rcpps or Mnemonic.Rcpss or Mnemonic.Rsqrtps or Mnemonic.Rsqrtss);
    }
}
