// The stack, the calls of reference handlers, and the branches. A direct branch is a jump of the host that is linked to its target's code once that exists; an indirect
// one looks its target up in the jump cache, which all share.

using Iced.Intel;
using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private void WritePush(in Instruction i)
    {
        if (i.Op0Kind == OpKind.Memory)
        {
            hot.Load(Temporary, Find(i, 4, false));
            hot.Store(HostOperand.At(Context, ContextLayout.Spilled), Temporary);
            HostOperand spilledTo = FindStack(GuestEsp, -4, true);
            hot.Load(Temporary, HostOperand.At(Context, ContextLayout.Spilled));
            WritePushed(spilledTo, Temporary);
            return;
        }
        HostOperand to = FindStack(GuestEsp, -4, true);
        if (i.Op0Kind == OpKind.Register)
        {
            WritePushed(to, Map(i.Op0Register));
            return;
        }
        hot.Instruction(4, 0xC7, 0, to);
        hot.DoubleWord((int)i.GetImmediate(0));
        MoveStackPointer(HostOperand.At(GuestEsp, -4));
    }

    private void WritePushed(in HostOperand to, HostRegister value)
    {
        hot.Store(to, value);
        MoveStackPointer(HostOperand.At(GuestEsp, -4));
    }

    private void MoveStackPointer(in HostOperand address)
    {
        BeforeWrite(GuestEsp);
        hot.LoadAddress(GuestEsp, address);
    }

    private void WritePop(in Instruction i)
    {
        HostRegister to = Map(i.Op0Register);
        HostOperand from = FindStack(GuestEsp, 0, false);
        BeforeWrite(to);
        if (to != GuestEsp)
        {
            MoveStackPointer(HostOperand.At(GuestEsp, 4));
        }
        hot.Load(to, from);
    }

    private void WriteLeaveInstruction()
    {
        HostOperand from = FindStack(HostRegister.Rbp, 0, false);
        MoveStackPointer(HostOperand.At(HostRegister.Rbp, 4));
        BeforeWrite(HostRegister.Rbp);
        hot.Load(HostRegister.Rbp, from);
    }

    /// <summary>Leaves for the reference handler of the instruction.</summary>
    private void WriteCall(in Instruction i, bool last)
    {
        CodeExit kind = i.Code switch
        {
            Code.Int_imm8 => CodeExit.Interrupt,
            Code.Iretd => CodeExit.InterruptReturn,
            _ => CodeExit.Reference,
        };
        if (touchesFloat)
        {
            unitsLive = FloatUnits.None;
        }
        WriteExit(hot, NewRecord(kind), flags.Places);
        ForgetX87();
        if (!last)
        {
            flags.Begin(FlagPlaces.Native | FlagPlaces.Saved);
        }
    }

    private void WriteBranch(in Instruction i)
    {
        switch (effects[current].Form)
        {
            case InlineForm.Jump:
                WriteEdge(i.NearBranch32);
                break;
            case InlineForm.JumpIf:
                WriteJumpIf(i);
                break;
            case InlineForm.Call:
                WriteReturnAddress(i);
                WriteEdge(i.NearBranch32);
                break;
            case InlineForm.Return:
                WriteReturn(i);
                break;
            case InlineForm.JumpIndirect:
                WriteTarget(i);
                WriteIndirect();
                break;
            default:
                WriteTarget(i);
                hot.Store(HostOperand.At(Context, ContextLayout.Spilled), LinearAddress);
                WriteReturnAddress(i);
                hot.Load(LinearAddress, HostOperand.At(Context, ContextLayout.Spilled));
                WriteIndirect();
                break;
        }
    }

    private void WriteJumpIf(in Instruction i)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            flags.EnsureNative();
            int condition = BlockDecoder.ConditionNumber(i.ConditionCode);
            byte* taken = hot.JumpIf(condition, cold.Cursor);
            if (((i.NearBranch32 ^ block->Eip) & 0xFFFF_F000) != 0)
            {
                WriteEdge(cold, i.NearBranch32, flags.Places);
            }
            else
            {
                WriteLink(taken, i.NearBranch32, false);
            }
            WriteEdge(block->EndEip);
        }
    }

    private void WriteReturnAddress(in Instruction i)
    {
        HostOperand to = FindStack(GuestEsp, -4, true);
        hot.Instruction(4, 0xC7, 0, to);
        hot.DoubleWord((int)i.NextIP32);
        MoveStackPointer(HostOperand.At(GuestEsp, -4));
    }

    private void WriteReturn(in Instruction i)
    {
        HostOperand from = FindStack(GuestEsp, 0, false);
        int released = i.OpCount == 1 ? i.Immediate16 : 0;
        MoveStackPointer(HostOperand.At(GuestEsp, 4 + released));
        hot.Load(LinearAddress, from);
        WriteIndirect();
    }

    /// <summary>The target of an indirect branch into R10.</summary>
    private void WriteTarget(in Instruction i)
    {
        HostOperand from = Operand(i, 0, 4, false);
        hot.Load(LinearAddress, from);
    }

    private void WriteIndirect()
    {
        // SAFETY: the address is only subtracted.
        unsafe
        {
            flags.EnsureSaved();
            hot.Jump(indirectBranch);
        }
    }
}
