// The instructions that are translated in place, one method a family. Each first finds its operands, which may spoil the host's flags,
// then puts the flags right if it needs them, and then is, in nearly every case, one instruction of the host.

using Iced.Intel;
using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    /// <summary>General registers go by the names that the host shares with the Guest; AH to BH have no others.</summary>
    private bool legacyNames;

    /// <summary>Writes an instruction that has a form of its own; true when it has written where the block goes on.</summary>
    private bool WriteInline(in Instruction i)
    {
        if (InlineForms.CountHighBytes(i) == 0 || InlineForms.HasMemory(i))
        {
            return WriteForm(i);
        }
        WriteWithHighBytes(i);
        return false;
    }

    /// <summary>An instruction on registers of which one is AH, CH, DH or BH. EAX, if it takes part, is where it has these names meanwhile.</summary>
    private void WriteWithHighBytes(in Instruction i)
    {
        InlineEffects effect = Effects;
        NativeIf(effect.ReadsFlags || (effect.WritesFlags && !effect.WritesAllFlags && Needed));
        bool swap = false;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            if (i.GetOpKind(operand) == OpKind.Register)
            {
                HostRegister register = Map(i.GetOpRegister(operand));
                BeforeWrite(register);
                swap |= register == GuestEax;
            }
        }
        if (swap)
        {
            WriteSwapWithRax();
        }
        legacyNames = true;
        WriteForm(i);
        legacyNames = false;
        if (swap)
        {
            WriteSwapWithRax();
        }
    }

    private bool WriteForm(in Instruction i)
    {
        switch (Effects.Form)
        {
            case InlineForm.Nothing: return false;
            case InlineForm.Fence: WriteFence(i); return false;
            case InlineForm.Move: WriteMove(i); return false;
            case InlineForm.MoveExtended: WriteMoveExtended(i); return false;
            case InlineForm.LoadAddress: WriteLoadAddress(i); return false;
            case InlineForm.Exchange: WriteExchange(i); return false;
            case InlineForm.Arithmetic: WriteArithmetic(i); return false;
            case InlineForm.Test: WriteTest(i); return false;
            case InlineForm.Increment: WriteIncrement(i); return false;
            case InlineForm.Negate: WriteUnary(i, 3); return false;
            case InlineForm.Complement: WriteUnary(i, 2); return false;
            case InlineForm.Shift: WriteShift(i); return false;
            case InlineForm.ShiftDouble: WriteShiftDouble(i); return false;
            case InlineForm.Multiply: WriteMultiply(i); return false;
            case InlineForm.MultiplyWide: WriteMultiplyWide(i); return false;
            case InlineForm.Divide: WriteDivide(i); return false;
            case InlineForm.SignIntoEdx: WriteSignIntoEdx(); return false;
            case InlineForm.SignExtendAccumulator: WriteSignExtendAccumulator(i); return false;
            case InlineForm.SwapBytes: WriteSwapBytes(i); return false;
            case InlineForm.BitTest: WriteBitTest(i); return false;
            case InlineForm.BitScan: WriteBitScan(i); return false;
            case InlineForm.CompareExchange: WriteCompareExchange(i); return false;
            case InlineForm.CompareExchange8: WriteCompareExchange8(i); return false;
            case InlineForm.ExchangeAdd: WriteExchangeAdd(i); return false;
            case InlineForm.Carry: WriteCarry(i); return false;
            case InlineForm.FlagsInAh: WriteFlagsInAh(i); return false;
            case InlineForm.String: WriteString(i); return false;
            case InlineForm.RepeatedString: WriteRepeatedString(i); return false;
            case InlineForm.Direction: WriteDirection(i); return false;
            case InlineForm.LoadSegment: WriteLoadSegment(i); return false;
            case InlineForm.PushSegment: WritePushSegment(i); return false;
            case InlineForm.PushFlags: WritePushFlags(); return false;
            case InlineForm.PopFlags: WritePopFlags(); return false;
            case InlineForm.InterruptFlag: return WriteInterruptFlag(i);
            case InlineForm.SetCondition: WriteSetCondition(i); return false;
            case InlineForm.ConditionalMove: WriteConditionalMove(i); return false;
            case InlineForm.Push: WritePush(i); return false;
            case InlineForm.Pop: WritePop(i); return false;
            case InlineForm.Leave: WriteLeaveInstruction(); return false;
            case InlineForm.X87: WriteX87(i); return false;
            case InlineForm.X87Control: WriteX87Control(i); return false;
            case InlineForm.Simd: WriteSimd(i); return false;
            default:
                NoteX87(hot);
                ForgetX87();
                WriteBranch(i);
                return true;
        }
    }

    private static int Size(in Instruction i, int index = 0) => Processor.OperandSize(i, index);

    private bool Needed => neededAfter[current];

    /// <summary>The host's own: in a page that Guests share, somebody else looks.</summary>
    private void WriteFence(in Instruction i)
    {
        hot.Byte(0x0F);
        hot.Byte(0xAE);
        hot.Byte(i.Mnemonic switch { Mnemonic.Lfence => 0xE8, Mnemonic.Mfence => 0xF0, _ => 0xF8 });
    }

    private void WriteMove(in Instruction i)
    {
        int size = Size(i);
        if (i.Op0Kind == OpKind.Memory)
        {
            HostOperand to = Find(i, size, true);
            if (i.Op1Kind == OpKind.Register)
            {
                hot.Store(to, SourceRegister(i.Op1Register), size);
            }
            else
            {
                hot.Instruction(size, size == 1 ? 0xC6 : 0xC7, 0, to);
                hot.Immediate(size, (int)i.GetImmediate(1));
            }
            return;
        }
        HostRegister register = Map(i.Op0Register);
        if (!legacyNames && InlineForms.IsHighByte(i.Op0Register))
        {
            WriteMoveToHighByte(i, register);
            return;
        }
        if (i.Op1Kind is OpKind.Register or OpKind.Memory)
        {
            if (IsCopyOfStackPointer(i))
            {
                BeforeWrite(register);
                hot.LoadAddress(register, OnStack(0));
                return;
            }
            HostOperand from = i.Op1Kind == OpKind.Memory ? Find(i, size, false) : KeptSource(i.Op1Register);
            BeforeWrite(register);
            hot.Instruction(size, size == 1 ? 0x8A : 0x8B, (int)register, from);
            return;
        }
        BeforeWrite(register);
        int value = (int)i.GetImmediate(1);
        if (size == 4)
        {
            hot.MoveImmediate(register, (uint)value);
            return;
        }
        hot.Instruction(size, size == 1 ? 0xC6 : 0xC7, 0, register);
        hot.Immediate(size, value);
    }

    private void WriteMoveToHighByte(in Instruction i, HostRegister register)
    {
        if (i.Op1Kind is OpKind.Register or OpKind.Memory)
        {
            HostOperand from = Operand(i, 1, 1, false);
            hot.Instruction(4, 0x0FB6, (int)HostBase, from);
        }
        else
        {
            hot.MoveImmediate(HostBase, (byte)i.GetImmediate(1));
        }
        BeforeWrite(register);
        flags.BeforeClobber();
        hot.ArithmeticImmediate(Alu.And, 4, register, unchecked((int)0xFFFF_00FF));
        hot.ShiftLeft(HostBase, 8);
        hot.Arithmetic(Alu.Or, 4, register, HostBase);
    }

    private void WriteMoveExtended(in Instruction i)
    {
        int from = Size(i, 1);
        int opcode = (i.Mnemonic == Mnemonic.Movzx ? 0x0FB6 : 0x0FBE) + (from == 2 ? 1 : 0);
        HostOperand source = i.Op1Kind == OpKind.Memory ? Find(i, from, false) : KeptSource(i.Op1Register);
        HostRegister to = Map(i.Op0Register);
        BeforeWrite(to);
        hot.Instruction(4, opcode, (int)to, source);
    }

    private void WriteLoadAddress(in Instruction i)
    {
        if (WriteStep(i))
        {
            return;
        }
        HostRegister to = Map(i.Op0Register);
        BeforeWrite(to);
        if (i.MemoryBase == Register.None && i.MemoryIndex == Register.None)
        {
            hot.MoveImmediate(to, i.MemoryDisplacement32);
            return;
        }
        hot.LoadAddress(to, EffectiveAddress(i));
    }

    private void WriteExchange(in Instruction i)
    {
        int size = Size(i);
        int opcode = size == 1 ? 0x86 : 0x87;
        if (i.Op0Kind == OpKind.Register && i.Op1Kind == OpKind.Register)
        {
            BeforeWrite(Map(i.Op0Register));
            BeforeWrite(Map(i.Op1Register));
            hot.Instruction(size, opcode, (int)Map(i.Op1Register), Map(i.Op0Register));
            return;
        }
        // The host would lock its bus for this; only the Guest's own processor can look here, and it is busy.
        HostRegister register = Map(i.Op0Kind == OpKind.Register ? i.Op0Register : i.Op1Register);
        HostOperand memory = Find(i, size, true);
        BeforeWrite(register);
        hot.Instruction(size, size == 1 ? 0x8A : 0x8B, (int)Temporary, memory);
        hot.Store(memory, register, size);
        hot.Instruction(size, size == 1 ? 0x8A : 0x8B, (int)register, Temporary);
    }

    private void WriteArithmetic(in Instruction i)
    {
        if (WriteStep(i))
        {
            return;
        }
        int size = Size(i);
        Alu operation = i.Mnemonic switch
        {
            Mnemonic.Add => Alu.Add,
            Mnemonic.Or => Alu.Or,
            Mnemonic.Adc => Alu.AddCarry,
            Mnemonic.Sbb => Alu.SubtractBorrow,
            Mnemonic.And => Alu.And,
            Mnemonic.Sub => Alu.Subtract,
            Mnemonic.Xor => Alu.Xor,
            _ => Alu.Compare,
        };
        bool carries = operation is Alu.AddCarry or Alu.SubtractBorrow;
        bool stores = operation != Alu.Compare;
        if (i.Op0Kind == OpKind.Memory)
        {
            HostOperand to = Find(i, size, stores);
            HostRegister from = i.Op1Kind == OpKind.Register ? SourceRegister(i.Op1Register) : HostRegister.None;
            CarryIf(carries);
            if (from == HostRegister.None)
            {
                hot.ArithmeticImmediate(operation, size, to, (int)i.GetImmediate(1));
            }
            else
            {
                hot.ArithmeticStore(operation, size, to, from);
            }
            flags.Produced(Needed);
            return;
        }
        bool immediate = i.Op1Kind is not (OpKind.Register or OpKind.Memory);
        HostOperand right = i.Op1Kind == OpKind.Memory ? Find(i, size, false)
            : immediate ? HostRegister.None : SourceRegister(i.Op1Register);
        HostRegister left = SourceRegister(i.Op0Register);
        CarryIf(carries);
        if (stores)
        {
            BeforeWrite(left);
        }
        if (immediate)
        {
            hot.ArithmeticImmediate(operation, size, left, (int)i.GetImmediate(1));
        }
        else
        {
            hot.Arithmetic(operation, size, left, right);
        }
        flags.Produced(Needed, legacyNames ? default : ReplayOf(operation, size, left, right, immediate ? (int)i.GetImmediate(1) : null));
    }

    /// <summary>How to have the flags of an arithmetic instruction on registers once more.</summary>
    private static FlagSource ReplayOf(Alu operation, int size, HostRegister left, in HostOperand right, int? immediate)
    {
        bool whole = size == 4;
        bool register = immediate is null && right.Register != HostRegister.None;
        bool known = immediate is not null || register;
        bool temporary = left == Temporary || right.Register == Temporary;
        return operation switch
        {
            _ when temporary => default,
            Alu.And or Alu.Or or Alu.Xor when whole => new FlagSource(ReplayKind.Test, left, left),
            Alu.Subtract when whole && register && right.Register == left => new FlagSource(ReplayKind.Test, left, left),
            Alu.Add when whole && known && right.Register != left =>
                new FlagSource(ReplayKind.Add, left, register ? right.Register : HostRegister.None, immediate ?? 0),
            Alu.Subtract when whole && known =>
                new FlagSource(ReplayKind.Subtract, left, register ? right.Register : HostRegister.None, immediate ?? 0),
            Alu.Compare when size != 2 && known =>
                new FlagSource(ReplayKind.Compare, left, register ? right.Register : HostRegister.None, immediate ?? 0, size),
            _ => default,
        };
    }

    /// <summary>Flags into the host's register for an instruction that reads them, or that keeps some of them for who may ask.</summary>
    private void NativeIf(bool condition)
    {
        if (condition)
        {
            flags.EnsureNative();
        }
    }

    /// <summary>The carry flag into the host's register for an instruction that needs, or keeps, no other.</summary>
    private void CarryIf(bool condition)
    {
        if (condition)
        {
            flags.EnsureCarry();
        }
    }

    private void WriteTest(in Instruction i)
    {
        int size = Size(i);
        bool immediate = i.Op1Kind != OpKind.Register;
        HostOperand left = i.Op0Kind == OpKind.Memory ? Find(i, size, false) : SourceRegister(i.Op0Register);
        HostRegister right = immediate ? HostRegister.None : SourceRegister(i.Op1Register);
        if (immediate)
        {
            hot.TestImmediate(size, left, (int)i.GetImmediate(1));
        }
        else
        {
            hot.Test(size, left, right);
        }
        bool replay = !legacyNames && left.Register != HostRegister.None && left.Register != Temporary && right != Temporary && size != 2;
        flags.Produced(Needed, replay ? new FlagSource(ReplayKind.Test, left.Register, right, immediate ? (int)i.GetImmediate(1) : 0, size) : default);
    }

    private void WriteIncrement(in Instruction i)
    {
        int size = Size(i);
        bool increment = i.Mnemonic == Mnemonic.Inc;
        int extension = increment ? 0 : 1;
        int opcode = size == 1 ? 0xFE : 0xFF;
        if (i.Op0Kind == OpKind.Memory || size != 4)
        {
            HostOperand operand = Operand(i, 0, size, true);
            CarryIf(Needed);
            if (operand.Register != HostRegister.None)
            {
                BeforeWrite(operand.Register);
            }
            hot.Instruction(size, opcode, extension, operand);
            flags.Produced(Needed);
            return;
        }
        HostRegister register = Map(i.Op0Register);
        var how = new FlagSource(increment ? ReplayKind.Increment : ReplayKind.Decrement, register);
        (bool native, bool saved) = BeforePart(how);
        hot.Instruction(4, opcode, extension, register);
        flags.ProducedPart(Needed, how, native, saved);
    }

    /// <summary>Prepares an instruction on a register that leaves some flags alone: they must be somewhere, if anybody may ask.</summary>
    private (bool Native, bool Saved) BeforePart(FlagSource how)
    {
        bool saved = flags.HasOthersSaved(how.Kind);
        if (Needed && !saved)
        {
            flags.EnsureNative();
        }
        bool native = (flags.Places & FlagPlaces.Native) != 0;
        flags.BeforeWrite(how.Left, overwrites: true);
        return (native, saved);
    }

    private void WriteUnary(in Instruction i, int extension)
    {
        const int negate = 3;
        int size = Size(i);
        HostOperand operand = Operand(i, 0, size, true);
        if (operand.Register != HostRegister.None)
        {
            BeforeWrite(operand.Register);
        }
        hot.Instruction(size, size == 1 ? 0xF6 : 0xF7, extension, operand);
        if (extension == negate)
        {
            flags.Produced(Needed);
        }
    }

    private void WriteMultiply(in Instruction i)
    {
        int size = Size(i);
        HostOperand from = Operand(i, 1, size, false);
        HostRegister to = Map(i.Op0Register);
        NativeIf(Needed);
        BeforeWrite(to);
        if (i.OpCount == 3)
        {
            hot.Instruction(size, 0x69, (int)to, from);
            hot.Immediate(size, (int)i.GetImmediate(2));
        }
        else
        {
            hot.Instruction(size, 0x0FAF, (int)to, from);
        }
        flags.Produced(Needed);
    }

    private void WriteMultiplyWide(in Instruction i)
    {
        HostOperand factor = Operand(i, 0, 4, false);
        NativeIf(Needed);
        BeforeWrite(GuestEax);
        BeforeWrite(HostRegister.Rdx);
        hot.Move(HostRegister.Rax, GuestEax);
        hot.Instruction(4, 0xF7, i.Mnemonic == Mnemonic.Mul ? 4 : 5, factor);
        hot.Move(GuestEax, HostRegister.Rax);
        flags.Produced(Needed);
    }

    /// <summary>DIV and IDIV. The host must never see a division that faults, so what might goes to the reference handler.</summary>
    private void WriteDivide(in Instruction i)
    {
        bool signed = i.Mnemonic == Mnemonic.Idiv;
        HostOperand operand = Operand(i, 0, 4, false);
        flags.BeforeClobber();
        hot.Load(HostBase, operand);
        if (signed)
        {
            // Divisors 0 and -1, and dividends of more than 32 bits.
            hot.LoadAddress(LinearAddress, HostOperand.At(HostBase, 1));
            hot.ArithmeticImmediate(Alu.Compare, 4, LinearAddress, 1);
            WriteCallIf(HostCondition.BelowOrEqual);
            hot.Move(LinearAddress, GuestEax);
            hot.Instruction(4, 0xC1, 7, LinearAddress);
            hot.Byte(31);
            hot.Arithmetic(Alu.Compare, 4, LinearAddress, HostRegister.Rdx);
            WriteCallIf(HostCondition.NotEqual);
        }
        else
        {
            hot.Arithmetic(Alu.Compare, 4, HostRegister.Rdx, HostBase);
            WriteCallIf(HostCondition.AboveOrEqual);
        }
        NativeIf(Needed);
        BeforeWrite(GuestEax);
        BeforeWrite(HostRegister.Rdx);
        hot.Move(HostRegister.Rax, GuestEax);
        hot.Instruction(4, 0xF7, signed ? 7 : 6, HostBase);
        hot.Move(GuestEax, HostRegister.Rax);
        flags.Produced(Needed);
    }

    private void WriteCallIf(int condition)
    {
        // SAFETY: the address is only subtracted.
        unsafe
        {
            hot.JumpIf(condition, cold.Cursor);
            WriteExit(cold, NewRecord(CodeExit.Reference), flags.Places);
        }
    }

    private void WriteSignIntoEdx()
    {
        BeforeWrite(HostRegister.Rdx);
        WriteSwapWithRax();
        hot.Byte(0x99);
        WriteSwapWithRax();
    }

    /// <summary>XCHG RAX, R8: changes no flags.</summary>
    private void WriteSwapWithRax() => hot.Instruction(8, 0x87, (int)HostRegister.Rax, GuestEax);

    private void WriteSignExtendAccumulator(in Instruction i)
    {
        BeforeWrite(GuestEax);
        bool wide = i.Mnemonic == Mnemonic.Cwde;
        hot.Instruction(wide ? 4 : 2, wide ? 0x0FBF : 0x0FBE, (int)GuestEax, GuestEax);
    }

    private void WriteSwapBytes(in Instruction i)
    {
        HostRegister register = Map(i.Op0Register);
        BeforeWrite(register);
        if ((int)register >= 8)
        {
            hot.Byte(0x41);
        }
        hot.Byte(0x0F);
        hot.Byte(0xC8 | ((int)register & 7));
    }

    private void WriteCompareExchange(in Instruction i)
    {
        int size = Size(i);
        HostOperand to = Find(i, size, true);
        BeforeWrite(GuestEax);
        hot.Move(HostRegister.Rax, GuestEax);
        hot.Instruction(size, size == 1 ? 0x0FB0 : 0x0FB1, (int)Map(i.Op1Register), to);
        hot.Move(GuestEax, HostRegister.Rax);
        flags.Produced(Needed);
    }

    private void WriteCompareExchange8(in Instruction i)
    {
        HostOperand to = Find(i, 8, true);
        NativeIf(Needed);
        BeforeWrite(GuestEax);
        BeforeWrite(HostRegister.Rdx);
        hot.Move(HostRegister.Rax, GuestEax);
        hot.Instruction(4, 0x0FC7, 1, to);
        hot.Move(GuestEax, HostRegister.Rax);
        flags.Produced(Needed);
    }

    private void WriteExchangeAdd(in Instruction i)
    {
        int size = Size(i);
        HostOperand to = Operand(i, 0, size, true);
        HostRegister from = Map(i.Op1Register);
        BeforeWrite(from);
        if (to.Register != HostRegister.None)
        {
            BeforeWrite(to.Register);
        }
        hot.Instruction(size, size == 1 ? 0x0FC0 : 0x0FC1, (int)from, to);
        flags.Produced(Needed);
    }

    private void WriteCarry(in Instruction i)
    {
        NativeIf(Effects.ReadsFlags || Needed);
        hot.Byte(i.Mnemonic switch { Mnemonic.Clc => 0xF8, Mnemonic.Stc => 0xF9, _ => 0xF5 });
        flags.Produced(Needed);
    }

    private void WriteFlagsInAh(in Instruction i)
    {
        bool store = i.Mnemonic == Mnemonic.Sahf;
        NativeIf(!store || Needed);
        if (!store)
        {
            BeforeWrite(GuestEax);
        }
        WriteSwapWithRax();
        hot.Byte(store ? 0x9E : 0x9F);
        WriteSwapWithRax();
        if (store)
        {
            flags.Produced(Needed);
        }
    }

    private void WriteSetCondition(in Instruction i)
    {
        HostOperand to = Operand(i, 0, 1, true);
        flags.EnsureNative();
        if (to.Register != HostRegister.None)
        {
            BeforeWrite(to.Register);
        }
        hot.Instruction(1, 0x0F90 | (i.Code - Code.Seto_rm8), 0, to);
    }

    private void WriteConditionalMove(in Instruction i)
    {
        HostOperand from = Operand(i, 1, 4, false);
        HostRegister to = Map(i.Op0Register);
        flags.EnsureNative();
        BeforeWrite(to);
        hot.Instruction(4, 0x0F40 | BlockDecoder.ConditionNumber(i.ConditionCode), (int)to, from);
    }
}
