// The table of what is translated and what is called. An instruction whose form is listed here becomes host code in place; every other
// one becomes an exit to its reference handler. What decides is how often programs execute a form: the list covers more than 99 of 100
// executed instructions of a booting kernel, and the reference handlers stay the only implementation of all the rest.

using Iced.Intel;
using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

/// <summary>How an instruction is translated.</summary>
internal enum InlineForm : byte
{
    /// <summary>Not in place: an exit to the reference handler.</summary>
    Called,
    Nothing, Fence, Move, MoveExtended, LoadAddress, Exchange,
    Arithmetic, Test, Increment, Negate, Complement, Shift, ShiftDouble, Multiply, MultiplyWide, Divide,
    SignIntoEdx, SignExtendAccumulator, SwapBytes, BitTest, BitScan, CompareExchange, CompareExchange8, ExchangeAdd, Carry, FlagsInAh, String, RepeatedString, Direction, PushSegment, LoadSegment,
    SetCondition, ConditionalMove, Push, Pop, Leave, PushFlags, PopFlags, InterruptFlag,
    X87, X87Control, Simd,
    Jump, JumpIf, Call, Return, JumpIndirect, CallIndirect, SystemEnter, SystemExit,
}

/// <summary>What translating needs to know about an instruction before its code is written.</summary>
/// <param name="Form">How it is translated.</param>
/// <param name="ReadsFlags">It needs status flags of before, be it to keep them.</param>
/// <param name="WritesFlags">It changes status flags.</param>
/// <param name="WritesAllFlags">It gives all six status flags new values.</param>
/// <param name="Observable">It can end in a fault or an exit, which shows the flags of before.</param>
internal readonly record struct InlineEffects(InlineForm Form, bool ReadsFlags, bool WritesFlags, bool WritesAllFlags, bool Observable);

/// <summary>Decides how instructions are translated.</summary>
internal static class InlineForms
{
    private const RflagsBits Status = RflagsBits.OF | RflagsBits.SF | RflagsBits.ZF | RflagsBits.AF | RflagsBits.CF | RflagsBits.PF;

    /// <summary>Form and effects of an instruction in a flat block.</summary>
    public static InlineEffects Describe(in Instruction i, uint mode)
    {
        InlineForm form = Find(i);
        if (form != InlineForm.Called && !OperandsAreInline(i, form, mode))
        {
            form = InlineForm.Called;
        }
        if (form == InlineForm.Called)
        {
            return new InlineEffects(form, true, true, false, true);
        }
        // RCL and RCR by a multiple of what they rotate through change nothing, but the host's own needs the flags in place for that.
        bool writes = form == InlineForm.Shift || (i.RflagsModified & Status) != 0;
        bool all = form is InlineForm.PopFlags or InlineForm.Arithmetic or InlineForm.Test or InlineForm.Negate or InlineForm.BitScan
                or InlineForm.CompareExchange or InlineForm.ExchangeAdd
            || (form == InlineForm.Shift && !IsRotate(i) && i.Op1Kind != OpKind.Register)
            || (form == InlineForm.ShiftDouble && i.Op2Kind != OpKind.Register)
            || (form is InlineForm.X87 or InlineForm.Simd or InlineForm.String && (i.RflagsModified & Status) == Status);
        bool memory = form is InlineForm.Push or InlineForm.Pop or InlineForm.Leave or InlineForm.Call or InlineForm.CallIndirect
                or InlineForm.Return or InlineForm.Divide
                or InlineForm.X87 or InlineForm.X87Control or InlineForm.Simd or InlineForm.String
                or InlineForm.RepeatedString or InlineForm.Direction or InlineForm.PushSegment or InlineForm.LoadSegment
                or InlineForm.PushFlags or InlineForm.PopFlags or InlineForm.InterruptFlag or InlineForm.SystemEnter or InlineForm.SystemExit
            || (form is not (InlineForm.LoadAddress or InlineForm.Nothing) && HasMemory(i));
        return new InlineEffects(form, (i.RflagsRead & Status) != 0, writes, writes && all, memory);
    }

    /// <summary>Whether an instruction has an explicit memory operand.</summary>
    public static bool HasMemory(in Instruction i) => i.Op0Kind == OpKind.Memory || i.Op1Kind == OpKind.Memory || i.Op2Kind == OpKind.Memory;

    /// <summary>ROL, ROR, RCL, RCR.</summary>
    public static bool IsRotate(in Instruction i) => i.Mnemonic is Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr;

    /// <summary>AH, CH, DH or BH.</summary>
    public static bool IsHighByte(Register register) => register is >= Register.AH and <= Register.BH;

    private static InlineForm Find(in Instruction i)
    {
        switch (i.Mnemonic)
        {
            case Mnemonic.Nop or Mnemonic.Pause or Mnemonic.Endbr32:
                return InlineForm.Nothing;
            case Mnemonic.Lfence or Mnemonic.Mfence or Mnemonic.Sfence:
                return InlineForm.Fence;
            case Mnemonic.Mov:
                return IsSegmentLoad(i) ? InlineForm.LoadSegment : InlineForm.Move;
            case Mnemonic.Pop when i.StackPointerIncrement == 4 && IsSegmentLoad(i):
                return InlineForm.LoadSegment;
            case Mnemonic.Movzx or Mnemonic.Movsx:
                return i.Op0Register.IsGPR32() ? InlineForm.MoveExtended : InlineForm.Called;
            case Mnemonic.Lea:
                return i.Op0Register.IsGPR32() ? InlineForm.LoadAddress : InlineForm.Called;
            case Mnemonic.Xchg:
                return InlineForm.Exchange;
            case Mnemonic.Add or Mnemonic.Or or Mnemonic.Adc or Mnemonic.Sbb or Mnemonic.And or Mnemonic.Sub or Mnemonic.Xor or Mnemonic.Cmp:
                return InlineForm.Arithmetic;
            case Mnemonic.Test:
                return InlineForm.Test;
            case Mnemonic.Inc or Mnemonic.Dec:
                return InlineForm.Increment;
            case Mnemonic.Neg:
                return InlineForm.Negate;
            case Mnemonic.Not:
                return InlineForm.Complement;
            case Mnemonic.Shl or Mnemonic.Sal or Mnemonic.Shr or Mnemonic.Sar or Mnemonic.Rol or Mnemonic.Ror or Mnemonic.Rcl or Mnemonic.Rcr:
                return i.Op1Kind == OpKind.Register || (i.GetImmediate(1) & 31) != 0 ? InlineForm.Shift : InlineForm.Called;
            case Mnemonic.Shld or Mnemonic.Shrd:
                return Processor.OperandSize(i, 0) == 4 && (i.Op2Kind == OpKind.Register || (i.Immediate8 & 31) != 0)
                    ? InlineForm.ShiftDouble : InlineForm.Called;
            case Mnemonic.Imul when i.OpCount > 1:
                return InlineForm.Multiply;
            case Mnemonic.Mul or Mnemonic.Imul:
                return Processor.OperandSize(i, 0) == 4 ? InlineForm.MultiplyWide : InlineForm.Called;
            case Mnemonic.Div or Mnemonic.Idiv:
                return Processor.OperandSize(i, 0) == 4 ? InlineForm.Divide : InlineForm.Called;
            case Mnemonic.Cdq:
                return InlineForm.SignIntoEdx;
            case Mnemonic.Cwde or Mnemonic.Cbw:
                return InlineForm.SignExtendAccumulator;
            case Mnemonic.Bswap:
                return i.Op0Register.IsGPR32() ? InlineForm.SwapBytes : InlineForm.Called;
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc:
                return Processor.OperandSize(i, 0) == 4 ? InlineForm.BitTest : InlineForm.Called;
            case Mnemonic.Bsf or Mnemonic.Bsr or Mnemonic.Tzcnt or Mnemonic.Lzcnt:
                return i.Op0Register.IsGPR32() ? InlineForm.BitScan : InlineForm.Called;
            case Mnemonic.Cmpxchg:
                return i.Op0Kind == OpKind.Memory ? InlineForm.CompareExchange : InlineForm.Called;
            case Mnemonic.Xadd:
                return InlineForm.ExchangeAdd;
            case Mnemonic.Clc or Mnemonic.Stc or Mnemonic.Cmc:
                return InlineForm.Carry;
            case Mnemonic.Lahf or Mnemonic.Sahf:
                return InlineForm.FlagsInAh;
            case Mnemonic.Cmpxchg8b:
                return InlineForm.CompareExchange8;
            case Mnemonic.Sysenter:
                return InlineForm.SystemEnter;
            case Mnemonic.Sysexit when i.Code == Code.Sysexitd:
                return InlineForm.SystemExit;
            case Mnemonic.Movsb or Mnemonic.Movsw or Mnemonic.Stosb or Mnemonic.Stosw or Mnemonic.Stosd:
            case Mnemonic.Movsd when i.Code == Code.Movsd_m32_m32:
                return !IsPlainString(i) ? InlineForm.Called : IsRepeated(i) ? InlineForm.RepeatedString : InlineForm.String;
            case Mnemonic.Lodsb or Mnemonic.Lodsw or Mnemonic.Lodsd or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Cmpsb or Mnemonic.Cmpsw:
            case Mnemonic.Cmpsd when i.Code == Code.Cmpsd_m32_m32:
                return !IsPlainString(i) || IsRepeated(i) ? InlineForm.Called : InlineForm.String;
            case Mnemonic.Cld or Mnemonic.Std:
                return InlineForm.Direction;
            case Mnemonic.Cli or Mnemonic.Sti:
                return InlineForm.InterruptFlag;
            case Mnemonic.Pushfd:
                return InlineForm.PushFlags;
            case Mnemonic.Popfd:
                return InlineForm.PopFlags;
            case Mnemonic.Push when i.StackPointerIncrement == -4 && i.Op0Kind == OpKind.Register && i.Op0Register.IsSegmentRegister():
                return InlineForm.PushSegment;
            case Mnemonic.Push:
                return i.StackPointerIncrement == -4 && !i.Op0Register.IsSegmentRegister() ? InlineForm.Push : InlineForm.Called;
            case Mnemonic.Pop:
                return i.Op0Kind == OpKind.Register && i.Op0Register.IsGPR32() ? InlineForm.Pop : InlineForm.Called;
            case Mnemonic.Leave:
                return i.Code == Code.Leaved ? InlineForm.Leave : InlineForm.Called;
        }
        switch (i.Code)
        {
            case Code.Jmp_rel8_32 or Code.Jmp_rel32_32:
                return InlineForm.Jump;
            case Code.Call_rel32_32:
                return InlineForm.Call;
            case Code.Jmp_rm32:
                return InlineForm.JumpIndirect;
            case Code.Call_rm32:
                return InlineForm.CallIndirect;
            case Code.Retnd or Code.Retnd_imm16:
                return InlineForm.Return;
        }
        if (i.IsJccShortOrNear && i.Op0Kind == OpKind.NearBranch32)
        {
            return InlineForm.JumpIf;
        }
        if (i.Mnemonic is >= Mnemonic.Cmova and <= Mnemonic.Cmovs && i.Op0Register.IsGPR32())
        {
            return InlineForm.ConditionalMove;
        }
        return i.Code is >= Code.Seto_rm8 and <= Code.Setg_rm8 ? InlineForm.SetCondition : InlineFloat.Find(i);
    }

    private static bool IsSegmentLoad(in Instruction i) =>
        i.Op0Kind == OpKind.Register && i.Op0Register is Register.ES or Register.DS or Register.FS or Register.GS;

    private static bool IsRepeated(in Instruction i) => i.HasRepPrefix || i.HasRepnePrefix;

    /// <summary>Neither with 16-bit addresses nor from a segment with a base of its own.</summary>
    private static bool IsPlainString(in Instruction i)
    {
        bool plain = true;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            OpKind kind = i.GetOpKind(operand);
            plain &= kind is OpKind.Register or OpKind.MemorySegESI or OpKind.MemoryESEDI
                && (kind != OpKind.MemorySegESI || i.MemorySegment is Register.DS or Register.SS or Register.ES);
        }
        return plain;
    }

    /// <summary>How many operands are AH, CH, DH or BH.</summary>
    public static int CountHighBytes(in Instruction i)
    {
        int count = 0;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            count += i.GetOpKind(operand) == OpKind.Register && IsHighByte(i.GetOpRegister(operand)) ? 1 : 0;
        }
        return count;
    }

    private static bool OperandsAreInline(in Instruction i, InlineForm form, uint mode)
    {
        if (i.HasLockPrefix && i.Op0Kind != OpKind.Memory)
        {
            return false;
        }
        bool memory = false;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            OpKind kind = i.GetOpKind(operand);
            memory |= kind == OpKind.Memory;
            if (kind == OpKind.Register)
            {
                Register register = i.GetOpRegister(operand);
                if (!register.IsGPR() && form is not (InlineForm.X87 or InlineForm.X87Control or InlineForm.Simd or InlineForm.PushSegment
                    or InlineForm.LoadSegment))
                {
                    return false;
                }
            }
        }
        // A high byte has no name beside the host's new registers, which all memory operands are found with.
        bool highBytesAllowed = !memory
            ? i.Op0Register != Register.ESP
            : form is InlineForm.Move or InlineForm.Test || (form == InlineForm.Arithmetic && i.Mnemonic == Mnemonic.Cmp);
        return (highBytesAllowed || CountHighBytes(i) == 0) && (!memory || AddressIsInline(i, form, mode));
    }

    private static bool AddressIsInline(in Instruction i, InlineForm form, uint mode)
    {
        if (!BlockDecoder.HasAddress32(i))
        {
            return false;
        }
        return form is InlineForm.LoadAddress or InlineForm.Nothing || i.MemorySegment switch
        {
            Register.DS or Register.SS or Register.ES => true,
            Register.FS => (mode & BlockMode.FsUnlimited) != 0,
            Register.GS => (mode & BlockMode.GsUnlimited) != 0,
            _ => false,
        };
    }
}
