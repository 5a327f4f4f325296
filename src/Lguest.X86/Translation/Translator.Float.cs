// x87, MMX and SSE run on the host's own units, in the same registers, once the Guest's values are there. They are brought in when the
// first such instruction finds that they are not (EngineContext.FloatLive), and home again before C# looks at them. While they are in,
// every exception is masked, so nothing can trap; a Guest that unmasks one is left to the reference handlers, and so is one whose CR0
// forbids the unit.
//
// Two things of the x87 are not the host's: the pointers to the last instruction and its operand would be host addresses. They are noted
// in the context instead: the operand's when there is one, the instruction's only where somebody could look.

using Iced.Intel;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private FloatUnits unitsLive;
    private uint lastX87Eip;
    private Register lastX87Segment;
    private bool x87IsNoted;

    private void BeginFloat()
    {
        unitsLive = FloatUnits.None;
        ForgetX87();
    }

    private void ForgetX87()
    {
        x87IsNoted = true;
        lastX87Segment = Register.None;
    }

    /// <summary>Makes sure that the host's units hold the Guest's values.</summary>
    private void EnsureFloat(FloatUnits wanted)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            if (unitsLive >= wanted)
            {
                return;
            }
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            hot.ArithmeticImmediate(Alu.Compare, 1, HostOperand.At(Context, ContextLayout.FloatLive), (int)wanted);
            hot.JumpIf(HostCondition.Less, cold.Cursor);
            int record = NewRecord(CodeExit.Float);
            records[record].Retry = (nint)retry + arena.WriteToRun;
            records[record].Units = wanted;
            WriteExit(cold, record, flags.Places);
            unitsLive = wanted;
            heldRuns.Clear();
        }
    }

    /// <summary>Writes down which x87 instruction was the last, as far as that is not written down yet.</summary>
    private void NoteX87(Emitter emitter)
    {
        if (x87IsNoted)
        {
            return;
        }
        emitter.Instruction(4, 0xC7, 0, HostOperand.At(Context, ContextLayout.LastX87Eip));
        emitter.DoubleWord((int)lastX87Eip);
        if (lastX87Segment != Register.None)
        {
            emitter.Instruction(4, 0xC7, 0, HostOperand.At(Context, ContextLayout.LastX87Segment));
            emitter.DoubleWord(lastX87Segment - Register.ES);
        }
    }

    private void WriteX87(in Instruction i)
    {
        EnsureFloat(FloatUnits.X87);
        OpCodeInfo code = i.Code.ToOpCode();
        if (InlineForms.HasMemory(i))
        {
            HostOperand memory = FindAlone(i, i.MemorySize.GetSize(), i.Mnemonic is Mnemonic.Fst or Mnemonic.Fstp or Mnemonic.Fist or Mnemonic.Fistp);
            hot.Store(HostOperand.At(Context, ContextLayout.LastX87Operand), LinearAddress);
            hot.Instruction(4, (int)code.OpCode, code.GroupIndex, memory);
            lastX87Segment = i.MemorySegment;
        }
        else
        {
            bool flagsMatter = Effects.ReadsFlags || (Effects.WritesFlags && !Effects.WritesAllFlags && Needed);
            NativeIf(flagsMatter);
            if (i.Mnemonic is Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip)
            {
                WriteClearC1();
            }
            hot.Byte((int)code.OpCode >> 8);
            hot.Byte((int)code.OpCode | StackRegisterOf(i, code));
            if (Effects.WritesFlags)
            {
                flags.Produced(Needed);
            }
        }
        lastX87Eip = i.IP32;
        x87IsNoted = false;
    }

    /// <summary>FINCSTP and FDECSTP: what they have in common is that they clear C1. FCOMI does so too, but not on every host.</summary>
    private void WriteClearC1()
    {
        hot.Word(unchecked((short)0xF7D9));
        hot.Word(unchecked((short)0xF6D9));
    }

    private static int StackRegisterOf(in Instruction i, OpCodeInfo code)
    {
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            if (code.GetOpKind(operand) == OpCodeOperandKind.sti_opcode)
            {
                return i.GetOpRegister(operand) - Register.ST0;
            }
        }
        return 0;
    }

    private void WriteX87Control(in Instruction i)
    {
        const int allMasked = 0x3F;
        EnsureFloat(FloatUnits.X87);
        switch (i.Mnemonic)
        {
            case Mnemonic.Wait:
                // With all exceptions masked none can be pending.
                return;
            case Mnemonic.Fldcw:
                HostOperand word = Find(i, 2, false);
                flags.BeforeClobber();
                hot.Instruction(4, 0x0FB7, (int)Temporary, word);
                hot.Instruction(4, 0xF7, 2, Temporary);
                hot.TestImmediate(4, Temporary, allMasked);
                WriteCallIf(HostCondition.NotEqual);
                hot.Instruction(4, 0xD9, 5, word);
                return;
            case Mnemonic.Fnstcw:
                hot.Instruction(4, 0xD9, 7, Find(i, 2, true));
                return;
            default:
                if (i.Op0Kind == OpKind.Memory)
                {
                    hot.Instruction(4, 0xDD, 7, Find(i, 2, true));
                    return;
                }
                // FNSTSW AX would write where the saved flags are.
                BeforeWrite(GuestEax);
                hot.Instruction(4, 0xDD, 7, HostOperand.At(Context, ContextLayout.Spilled));
                hot.Instruction(2, 0x8B, (int)GuestEax, HostOperand.At(Context, ContextLayout.Spilled));
                return;
        }
    }

    private void WriteSimd(in Instruction i)
    {
        EnsureFloat(InlineFloat.UsesSse(i) ? FloatUnits.X87AndSse : FloatUnits.X87);
        OpCodeInfo code = i.Code.ToOpCode();
        HostOperand rm = HostRegister.None;
        int reg = 0;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            if (i.GetOpKind(operand) == OpKind.Memory)
            {
                rm = FindVector(i, operand == 0);
            }
            else if (i.GetOpKind(operand) == OpKind.Register)
            {
                int number = VectorRegister(i.GetOpRegister(operand));
                if (code.GetOpKind(operand) is OpCodeOperandKind.xmm_reg or OpCodeOperandKind.mm_reg or OpCodeOperandKind.r32_reg)
                {
                    reg = number;
                }
                else
                {
                    rm = (HostRegister)number;
                }
            }
        }
        if (code.GroupIndex >= 0)
        {
            reg = code.GroupIndex;
        }
        if (i.Op0Kind == OpKind.Register && i.Op0Register.IsGPR32())
        {
            BeforeWrite(Map(i.Op0Register));
        }
        int prefix = code.MandatoryPrefix switch
        {
            MandatoryPrefix.P66 => 0x66,
            MandatoryPrefix.PF2 => 0xF2,
            MandatoryPrefix.PF3 => 0xF3,
            _ => 0,
        };
        hot.Instruction(4, 0x0F00 | (int)code.OpCode, reg, rm, prefix);
        if (i.OpCount > 0 && i.GetOpKind(i.OpCount - 1) == OpKind.Immediate8)
        {
            hot.Byte(i.Immediate8);
        }
        if (Effects.WritesFlags)
        {
            flags.Produced(Needed);
        }
    }

    private int VectorRegister(Register register) => register switch
    {
        >= Register.XMM0 and <= Register.XMM7 => register - Register.XMM0,
        >= Register.MM0 and <= Register.MM7 => register - Register.MM0,
        _ => (int)Map(register),
    };

    /// <summary>A memory operand of SSE: one of 16 bytes must be aligned, or the reference handler faults.</summary>
    private HostOperand FindVector(in Instruction i, bool write)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            const int whole = 16;
            int size = i.MemorySize.GetSize();
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            WriteLinearAddress(i);
            if (size == whole && !InlineFloat.IsUnaligned(i))
            {
                hot.TestImmediate(1, LinearAddress, whole - 1);
                WriteCallIf(HostCondition.NotEqual);
            }
            return FindLinear(retry, size, write);
        }
    }
}
