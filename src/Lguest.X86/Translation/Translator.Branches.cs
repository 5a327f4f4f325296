// The stack, the calls of reference handlers, and the branches. A direct branch is a jump of the host that is linked to its target's code once that exists; an indirect
// one looks its target up in the jump cache, which all share.

using System.Diagnostics;
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
        MoveStackPointer(-4);
    }

    private void WritePushed(in HostOperand to, HostRegister value)
    {
        hot.Store(to, value);
        MoveStackPointer(-4);
    }

    private void WritePop(in Instruction i)
    {
        HostRegister to = Map(i.Op0Register);
        HostOperand from = FindStack(GuestEsp, 0, false);
        BeforeWrite(to);
        if (to != GuestEsp)
        {
            MoveStackPointer(4);
        }
        hot.Load(to, from);
    }

    private void WriteLeaveInstruction()
    {
        HostOperand from = FindStack(HostRegister.Rbp, 0, false);
        SetStackPointer(HostOperand.At(HostRegister.Rbp, 4));
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
        switch (Effects.Form)
        {
            case InlineForm.Jump:
                WriteWay(i.NearBranch32);
                break;
            case InlineForm.JumpIf:
                WriteJumpIf(i);
                break;
            case InlineForm.Call:
                WriteCallNear(i);
                break;
            case InlineForm.Return:
                WriteReturn(i);
                break;
            case InlineForm.JumpIndirect:
                WriteTarget(i);
                WriteIndirect();
                break;
            case InlineForm.SystemEnter:
                WriteSystemEnter();
                break;
            case InlineForm.SystemExit:
                WriteSystemExit();
                break;
            default:
                WriteCallIndirect(i);
                break;
        }
    }

    private void WriteJumpIf(in Instruction i)
    {
        // SAFETY: the address is only compared.
        unsafe
        {
            flags.EnsureNative();
            int condition = BlockDecoder.ConditionNumber(i.ConditionCode);
            bool turned = following != null && following->Eip == i.NearBranch32;
            WriteSideExit(turned ? condition ^ 1 : condition, turned ? block->EndEip : i.NearBranch32);
            WriteWay(turned ? i.NearBranch32 : block->EndEip);
        }
    }

    private void WriteSideExit(int condition, uint target)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            Debug.Assert(stackBehind == 0, "Nobody there knows.");
            byte* taken = hot.JumpIf(condition, cold.Cursor);
            if (((target ^ block->Eip) & 0xFFFF_F000) != 0)
            {
                WriteEdge(cold, target, flags.Places);
            }
            else
            {
                WriteLink(taken, target, false);
            }
        }
    }

    /// <summary>Goes on at a known address, which is where the superblock goes on if it does.</summary>
    private void WriteWay(uint target)
    {
        // SAFETY: the address is only compared.
        unsafe
        {
            if (following == null)
            {
                WriteEdge(target);
            }
        }
    }

    private void WriteReturnAddress(in Instruction i)
    {
        HostOperand to = FindStack(GuestEsp, -4, true);
        hot.Instruction(4, 0xC7, 0, to);
        hot.DoubleWord((int)i.NextIP32);
        MoveStackPointer(-4);
        SettleStack();
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
            Debug.Assert(stackBehind == 0, "Nobody there knows.");
            flags.EnsureSaved();
            hot.Jump(indirectBranch);
        }
    }
}
