// The flags that are not an instruction's result. A kernel of a PC forbids and allows interrupts all day - PUSHFD, CLI, a few instructions,
// POPFD - so that is done in place, in ring 0 and as long as nothing else changes: neither the trap flag nor a privilege. Allowing
// interrupts is only a bit when none is waiting (EngineContext.InterruptMayWait); one that comes a moment later calls for attention as
// always. Everything else is the reference handlers'.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private const int OverflowBit = 11;

    private void WriteCallOutsideRing0()
    {
        flags.BeforeClobber();
        hot.ArithmeticImmediate(Alu.Compare, 4, HostOperand.At(Context, ContextLayout.PrivilegeLevel), 0);
        WriteCallIf(HostCondition.NotEqual);
    }

    private void WriteCallIfInterruptMayWait()
    {
        hot.ArithmeticImmediate(Alu.Compare, 4, HostOperand.At(Context, ContextLayout.InterruptMayWait), 0);
        WriteCallIf(HostCondition.NotEqual);
    }

    /// <summary>CLI and STI; true when it has also written where the block goes on.</summary>
    private bool WriteInterruptFlag(in Instruction i)
    {
        bool set = i.Mnemonic == Mnemonic.Sti;
        bool last = current - blockStart == block->Count - 1;
        if (set && last)
        {
            // The next instruction would be another block's, and who looks for that might let an interrupt in before it.
            WriteCall(i, last);
            return true;
        }
        WriteCallOutsideRing0();
        if (set)
        {
            WriteCallIfInterruptMayWait();
        }
        int flag = (int)Eflags.Interrupt;
        hot.ArithmeticImmediate(set ? Alu.Or : Alu.And, 4, HostOperand.At(Context, ContextLayout.SystemFlags), set ? flag : ~flag);
        return false;
    }

    private void WritePushFlags()
    {
        HostOperand to = FindStack(GuestEsp, -4, true);
        flags.EnsureSaved();
        flags.BeforeClobber();
        // RAX has the low byte in AH and the overflow flag in AL.
        hot.Move(Temporary, HostRegister.Rax);
        hot.ArithmeticImmediate(Alu.And, 4, Temporary, 1);
        hot.ShiftLeft(Temporary, OverflowBit + 8);
        hot.Arithmetic(Alu.Or, 2, Temporary, HostRegister.Rax);
        hot.ShiftRight(Temporary, 8);
        hot.Arithmetic(Alu.Or, 4, Temporary, HostOperand.At(Context, ContextLayout.SystemFlags));
        hot.ArithmeticImmediate(Alu.And, 4, Temporary, unchecked((int)~(Eflags.Virtual8086 | Eflags.Resume)));
        WritePushed(to, Temporary);
    }

    private void WritePopFlags()
    {
        // SAFETY: the addresses are only subtracted.
        unsafe
        {
            HostOperand from = FindStack(GuestEsp, 0, false);
            flags.EnsureSaved();
            hot.Load(Temporary, from);
            WriteCallOutsideRing0();
            hot.Move(HostBase, Temporary);
            hot.Arithmetic(Alu.Xor, 4, HostBase, HostOperand.At(Context, ContextLayout.SystemFlags));
            hot.TestImmediate(4, HostBase, unchecked((int)~(Eflags.Status | Eflags.Interrupt)));
            WriteCallIf(HostCondition.NotEqual);
            hot.TestImmediate(4, Temporary, (int)Eflags.Interrupt);
            byte* forbids = hot.JumpIf(HostCondition.Equal, hot.Cursor);
            WriteCallIfInterruptMayWait();
            Emitter.Patch(forbids, hot.Cursor);
            hot.ArithmeticImmediate(Alu.And, 4, HostBase, (int)Eflags.Interrupt);
            hot.ArithmeticStore(Alu.Xor, 4, HostOperand.At(Context, ContextLayout.SystemFlags), HostBase);
            hot.Move(HostRegister.Rax, Temporary);
            hot.ShiftLeft(HostRegister.Rax, 8);
            hot.ShiftRight(Temporary, OverflowBit);
            hot.ArithmeticImmediate(Alu.And, 4, Temporary, 1);
            hot.Arithmetic(Alu.Or, 4, HostRegister.Rax, Temporary);
            flags.Begin(FlagPlaces.Saved);
            MoveStackPointer(4);
        }
    }
}
