// The instruction forms that have fast operations, family by family.

using Iced.Intel;

namespace Lguest.X86.Execution;

internal sealed partial class BlockDecoder
{
    private const int Size8 = 1;
    private const int Size16 = 2;
    private const int Size32 = 4;

    /// <summary>Adds fast operations for an instruction, if all of it has them.</summary>
    private bool TryFast(in Instruction i, ref bool ends)
    {
        if (i.HasLockPrefix && i.Op0Kind != OpKind.Memory)
        {
            return false;
        }
        switch (i.Mnemonic)
        {
            case Mnemonic.Nop or Mnemonic.Pause or Mnemonic.Endbr32:
                Emit(OpCode.Nop);
                return true;
            case Mnemonic.Mov:
                return TryMove(i);
            case Mnemonic.Movzx:
                return TryExtend(i, OpCode.ZeroExtend8, OpCode.LoadZeroExtend8);
            case Mnemonic.Movsx:
                return TryExtend(i, OpCode.SignExtend8, OpCode.LoadSignExtend8);
            case Mnemonic.Lea:
                return i.Op0Register.IsGPR32() && TryLea(i);
            case Mnemonic.Xchg when i.Op0Kind == OpKind.Register && i.Op1Kind == OpKind.Register && i.Op0Register.IsGPR32():
                Emit(OpCode.Exchange32, Place(i.Op0Register), Place(i.Op1Register));
                return true;
            case Mnemonic.Cdq:
                Emit(OpCode.SignIntoEdx);
                return true;
            case Mnemonic.Cwde:
                Emit(OpCode.SignExtendAx);
                return true;
            case Mnemonic.Bswap when i.Op0Register.IsGPR32():
                Emit(OpCode.SwapBytes, Place(i.Op0Register));
                return true;
            case Mnemonic.Push:
                return TryPush(i);
            case Mnemonic.Pop when i.Op0Kind == OpKind.Register && i.Op0Register.IsGPR32():
                Emit(OpCode.Pop, Place(i.Op0Register));
                return true;
            case Mnemonic.Leave when i.Code == Code.Leaved:
                Emit(OpCode.Leave);
                return true;
            case Mnemonic.Add:
                return TryArithmetic(i, OpCode.Add32, OpCode.Add8);
            case Mnemonic.Or:
                return TryArithmetic(i, OpCode.Or32, OpCode.Or8);
            case Mnemonic.Adc:
                return TryArithmetic(i, OpCode.AddCarry32, OpCode.AddCarry8);
            case Mnemonic.Sbb:
                return TryArithmetic(i, OpCode.SubtractBorrow32, OpCode.SubtractBorrow8);
            case Mnemonic.And:
                return TryArithmetic(i, OpCode.And32, OpCode.And8);
            case Mnemonic.Sub:
                return TryArithmetic(i, OpCode.Subtract32, OpCode.Subtract8);
            case Mnemonic.Xor:
                return TryArithmetic(i, OpCode.Xor32, OpCode.Xor8);
            case Mnemonic.Cmp:
                return TryArithmetic(i, OpCode.Compare32, OpCode.Compare8, stores: false);
            case Mnemonic.Test:
                return TryTest(i);
            case Mnemonic.Inc:
                return TryUnary(i, OpCode.Increment32);
            case Mnemonic.Dec:
                return TryUnary(i, OpCode.Decrement32);
            case Mnemonic.Neg:
                return TryUnary(i, OpCode.Negate32);
            case Mnemonic.Not:
                return TryUnary(i, OpCode.Not32);
            case Mnemonic.Shl or Mnemonic.Sal:
                return TryShift(i, OpCode.ShiftLeft32, OpCode.ShiftLeftByCl32);
            case Mnemonic.Shr:
                return TryShift(i, OpCode.ShiftRight32, OpCode.ShiftRightByCl32);
            case Mnemonic.Sar:
                return TryShift(i, OpCode.ShiftArithmeticRight32, OpCode.ShiftArithmeticRightByCl32);
            case Mnemonic.Rol:
                return i.Op0Kind == OpKind.Register && TryShift(i, OpCode.RotateLeft32, null);
            case Mnemonic.Ror:
                return i.Op0Kind == OpKind.Register && TryShift(i, OpCode.RotateRight32, null);
            case Mnemonic.Shrd when i.Code == Code.Shrd_rm32_r32_imm8 && i.Op0Kind == OpKind.Register && (i.Immediate8 & 31) != 0:
                Emit(OpCode.DoubleShiftRight32, Place(i.Op0Register), Place(i.Op1Register)).Immediate = i.Immediate8 & 31u;
                return true;
            case Mnemonic.Shld when i.Code == Code.Shld_rm32_r32_imm8 && i.Op0Kind == OpKind.Register && (i.Immediate8 & 31) != 0:
                Emit(OpCode.DoubleShiftLeft32, Place(i.Op0Register), Place(i.Op1Register)).Immediate = i.Immediate8 & 31u;
                return true;
            case Mnemonic.Imul:
                return TryMultiply(i);
            case Mnemonic.Mul when i.Code == Code.Mul_rm32:
                return TryWideMultiply(i, OpCode.MultiplyWide32);
            case Mnemonic.Bt:
                return TryBitTest(i);
        }
        if (i.Mnemonic is >= Mnemonic.Cmova and <= Mnemonic.Cmovs && i.Op0Register.IsGPR32())
        {
            return TryConditionalMove(i);
        }
        if (i.Code is >= Code.Seto_rm8 and <= Code.Setg_rm8 && i.Op0Kind == OpKind.Register)
        {
            Emit(OpCode.SetCondition, Place(i.Op0Register), i.Code - Code.Seto_rm8);
            return true;
        }
        return TryBranch(i, ref ends);
    }

    private bool TryMove(in Instruction i)
    {
        int size = OperandSize(i, 0);
        OpKind from = i.Op1Kind;
        if (i.Op0Kind == OpKind.Register)
        {
            if (i.Op0Register.IsSegmentRegister() || !i.Op0Register.IsGPR())
            {
                return false;
            }
            int to = Place(i.Op0Register);
            if (from == OpKind.Memory)
            {
                return EmitMemory(size switch { Size8 => OpCode.Load8, Size16 => OpCode.Load16, _ => OpCode.Load32 }, i, to);
            }
            if (from == OpKind.Register)
            {
                if (!i.Op1Register.IsGPR())
                {
                    return false;
                }
                Emit(size switch { Size8 => OpCode.Move8, Size16 => OpCode.Move16, _ => OpCode.Move32 }, to, Place(i.Op1Register));
                return true;
            }
            if (size == Size16)
            {
                return false;
            }
            Emit(size == Size8 ? OpCode.MoveImmediate8 : OpCode.MoveImmediate32, to).Immediate = (uint)i.GetImmediate(1);
            return true;
        }
        if (from == OpKind.Register)
        {
            return i.Op1Register.IsGPR()
                && EmitMemory(size switch { Size8 => OpCode.Store8, Size16 => OpCode.Store16, _ => OpCode.Store32 }, i, 0, Place(i.Op1Register));
        }
        bool fast = EmitMemory(size switch { Size8 => OpCode.StoreImmediate8, Size16 => OpCode.StoreImmediate16, _ => OpCode.StoreImmediate32 }, i);
        ops[OpCount - 1].Immediate = (uint)i.GetImmediate(1);
        return fast;
    }

    private static int OperandSize(in Instruction i, int index) => Processor.OperandSize(i, index);

    private bool TryExtend(in Instruction i, OpCode register8, OpCode load8)
    {
        if (!i.Op0Register.IsGPR32())
        {
            return false;
        }
        int offset = OperandSize(i, 1) == Size8 ? 0 : 1;
        int to = Place(i.Op0Register);
        if (i.Op1Kind == OpKind.Register)
        {
            Emit((OpCode)((int)register8 + offset), to, Place(i.Op1Register));
            return true;
        }
        return EmitMemory((OpCode)((int)load8 + offset), i, to);
    }

    private bool TryLea(in Instruction i)
    {
        ref Op op = ref Emit(OpCode.LoadEffectiveAddress, Place(i.Op0Register));
        return i.MemorySegment is Register.DS or Register.SS or Register.ES && TryAddress(i, ref op);
    }

    private bool TryPush(in Instruction i)
    {
        if (i.StackPointerIncrement != -Size32)
        {
            return false;
        }
        switch (i.Op0Kind)
        {
            case OpKind.Register when i.Op0Register.IsGPR32():
                Emit(OpCode.Push, 0, Place(i.Op0Register));
                return true;
            case OpKind.Register:
                return false;
            case OpKind.Memory:
                // Two accesses can fault; a fault of the second must not have changed anything, and the temporary is nobody's state.
                bool fast = EmitMemory(OpCode.LoadTemporary32, i);
                Emit(OpCode.Push, 0, Temporary);
                return fast;
            default:
                Emit(OpCode.PushImmediate).Immediate = (uint)i.GetImmediate(0);
                return true;
        }
    }

    private bool TryArithmetic(in Instruction i, OpCode code32, OpCode code8, bool stores = true)
    {
        int size = OperandSize(i, 0);
        if (size == Size16 || !TryPlace(i, 0, stores, out int to))
        {
            return false;
        }
        OpCode code = size == Size32 ? code32 : code8;
        if (i.Op1Kind is not (OpKind.Register or OpKind.Memory))
        {
            Emit(code + (OpCode.AddImmediate32 - OpCode.Add32), to).Immediate = (uint)i.GetImmediate(1);
        }
        else if (TryPlace(i, 1, false, out int from))
        {
            Emit(code, to, from);
        }
        else
        {
            return false;
        }
        StoreIfMemory(i, stores);
        return true;
    }

    private bool TryTest(in Instruction i)
    {
        int size = OperandSize(i, 0);
        if (size == Size16 || !TryPlace(i, 0, false, out int to))
        {
            return false;
        }
        if (i.Op1Kind == OpKind.Register)
        {
            Emit(size == Size32 ? OpCode.Test32 : OpCode.Test8, to, Place(i.Op1Register));
        }
        else
        {
            Emit(size == Size32 ? OpCode.TestImmediate32 : OpCode.TestImmediate8, to).Immediate = (uint)i.GetImmediate(1);
        }
        return true;
    }

    private bool TryUnary(in Instruction i, OpCode code)
    {
        if (OperandSize(i, 0) != Size32 || !TryPlace(i, 0, true, out int to))
        {
            return false;
        }
        Emit(code, to);
        StoreIfMemory(i, true);
        return true;
    }

    private bool TryShift(in Instruction i, OpCode byImmediate, OpCode? byCl)
    {
        bool immediate = i.Op1Kind != OpKind.Register;
        uint count = immediate ? (uint)i.GetImmediate(1) & 31 : 0;
        if (OperandSize(i, 0) != Size32 || (immediate ? count == 0 : byCl is null) || !TryPlace(i, 0, true, out int to))
        {
            return false;
        }
        Emit(immediate ? byImmediate : byCl!.Value, to).Immediate = count;
        StoreIfMemory(i, true);
        return true;
    }

    private bool TryMultiply(in Instruction i)
    {
        if (i.OpCount == 1)
        {
            return i.Code == Code.Imul_rm32 && TryWideMultiply(i, OpCode.MultiplyWideSigned32);
        }
        if (!i.Op0Register.IsGPR32() || !TryPlace(i, 1, false, out int from))
        {
            return false;
        }
        if (i.OpCount == 3)
        {
            Emit(OpCode.MultiplyImmediate32, Place(i.Op0Register), from).Immediate = (uint)i.GetImmediate(2);
        }
        else
        {
            Emit(OpCode.Multiply32, Place(i.Op0Register), from);
        }
        return true;
    }

    private bool TryWideMultiply(in Instruction i, OpCode code)
    {
        bool fast = TryPlace(i, 0, false, out int from);
        Emit(code, 0, from);
        return fast;
    }

    private bool TryBitTest(in Instruction i)
    {
        bool immediate = i.Op1Kind != OpKind.Register;
        if (OperandSize(i, 0) != Size32 || (i.Op0Kind == OpKind.Memory && !immediate) || !TryPlace(i, 0, false, out int from))
        {
            // With a register, the bit number also selects the word in memory.
            return false;
        }
        if (immediate)
        {
            Emit(OpCode.BitTestImmediate32, from).Immediate = i.Immediate8 & 31u;
        }
        else
        {
            Emit(OpCode.BitTest32, from, Place(i.Op1Register));
        }
        return true;
    }

    private bool TryConditionalMove(in Instruction i)
    {
        bool fast = TryPlace(i, 1, false, out int from);
        // The operation has no address, so the scale has room for the number of the condition.
        Emit(OpCode.ConditionalMove, Place(i.Op0Register), from).Scale = (byte)ConditionNumber(i.ConditionCode);
        return fast;
    }

    private bool TryIndirect(in Instruction i, OpCode code)
    {
        bool fast = TryPlace(i, 0, false, out int from);
        Emit(code, 0, from).Displacement = i.NextIP32;
        return fast;
    }

    /// <summary>Where an 8- or 32-bit operand can be computed with: its register, or the temporary one behind a load that this adds.</summary>
    /// <param name="i">The instruction.</param>
    /// <param name="index">Number of the operand.</param>
    /// <param name="update">The operand will be stored, too (<see cref="StoreIfMemory"/>).</param>
    /// <param name="place">Index of the word, or of the byte of an 8-bit operand.</param>
    private bool TryPlace(in Instruction i, int index, bool update, out int place)
    {
        if (i.GetOpKind(index) == OpKind.Register)
        {
            place = Place(i.GetOpRegister(index));
            return true;
        }
        bool wide = OperandSize(i, index) == Size32;
        place = wide ? Temporary : TemporaryByte;
        OpCode load = wide
            ? (update ? OpCode.LoadForUpdate32 : OpCode.LoadTemporary32)
            : (update ? OpCode.LoadForUpdate8 : OpCode.LoadTemporary8);
        return EmitMemory(load, i);
    }

    private void StoreIfMemory(in Instruction i, bool stores)
    {
        if (stores && i.Op0Kind == OpKind.Memory)
        {
            Emit(OperandSize(i, 0) == Size32 ? OpCode.StoreUpdate32 : OpCode.StoreUpdate8);
        }
    }

    /// <summary>Number of a condition in the instruction encoding.</summary>
    internal static int ConditionNumber(ConditionCode condition) => condition switch
    {
        ConditionCode.o => 0,
        ConditionCode.no => 1,
        ConditionCode.b => 2,
        ConditionCode.ae => 3,
        ConditionCode.e => 4,
        ConditionCode.ne => 5,
        ConditionCode.be => 6,
        ConditionCode.a => 7,
        ConditionCode.s => 8,
        ConditionCode.ns => 9,
        ConditionCode.p => 10,
        ConditionCode.np => 11,
        ConditionCode.l => 12,
        ConditionCode.ge => 13,
        ConditionCode.le => 14,
        _ => 15,
    };

    private bool TryBranch(in Instruction i, ref bool ends)
    {
        ends = true;
        switch (i.Code)
        {
            case Code.Jmp_rel8_32 or Code.Jmp_rel32_32:
                TakenEip = i.NearBranch32;
                Emit(OpCode.Jump);
                return true;
            case Code.Call_rel32_32:
                TakenEip = i.NearBranch32;
                Emit(OpCode.Call).Displacement = i.NextIP32;
                return true;
            case Code.Jmp_rm32:
                return TryIndirect(i, OpCode.JumpIndirect);
            case Code.Call_rm32:
                return TryIndirect(i, OpCode.CallIndirect);
            case Code.Retnd:
                Emit(OpCode.Return);
                return true;
            case Code.Retnd_imm16:
                Emit(OpCode.ReturnRelease).Immediate = i.Immediate16;
                return true;
        }
        if (i.IsJccShortOrNear && i.NearBranchTarget <= uint.MaxValue && i.Op0Kind == OpKind.NearBranch32)
        {
            TakenEip = i.NearBranch32;
            int condition = ConditionNumber(i.ConditionCode);
            if (!TryFuse(condition))
            {
                Emit((OpCode)((int)OpCode.JumpOverflow + condition));
            }
            return true;
        }
        ends = false;
        return false;
    }

    /// <summary>Turns a comparison that ends the block so far into one operation with the conditional jump behind it.</summary>
    private bool TryFuse(int condition)
    {
        if (OpCount == 0)
        {
            return false;
        }
        ref Op last = ref ops[OpCount - 1];
        bool test = last.Code is OpCode.Test32 or OpCode.TestImmediate32;
        bool immediate = last.Code is OpCode.CompareImmediate32 or OpCode.TestImmediate32;
        if (!test && last.Code is not (OpCode.Compare32 or OpCode.CompareImmediate32))
        {
            return false;
        }
        // B and AE never and always hold after TEST, O and NO too; compilers do not write them, nor P after a comparison of integers.
        OpCode? fused = (condition, test) switch
        {
            (4, false) => OpCode.CompareJumpEqual,
            (5, false) => OpCode.CompareJumpNotEqual,
            (2, false) => OpCode.CompareJumpBelow,
            (3, false) => OpCode.CompareJumpAboveOrEqual,
            (6, false) => OpCode.CompareJumpBelowOrEqual,
            (7, false) => OpCode.CompareJumpAbove,
            (12, false) => OpCode.CompareJumpLess,
            (13, false) => OpCode.CompareJumpGreaterOrEqual,
            (14, false) => OpCode.CompareJumpLessOrEqual,
            (15, false) => OpCode.CompareJumpGreater,
            (4, true) => OpCode.TestJumpEqual,
            (5, true) => OpCode.TestJumpNotEqual,
            (8, true) => OpCode.TestJumpSign,
            (9, true) => OpCode.TestJumpNotSign,
            (14, true) => OpCode.TestJumpLessOrEqual,
            (15, true) => OpCode.TestJumpGreater,
            _ => null,
        };
        if (fused is not { } code)
        {
            return false;
        }
        last.Code = (immediate, test) switch
        {
            (false, _) => code,
            (true, false) => (OpCode)((int)code + (OpCode.CompareImmediateJumpEqual - OpCode.CompareJumpEqual)),
            (true, true) => (OpCode)((int)code + (OpCode.TestImmediateJumpEqual - OpCode.TestJumpEqual)),
        };
        last.Instruction = (byte)Count;
        return true;
    }
}
