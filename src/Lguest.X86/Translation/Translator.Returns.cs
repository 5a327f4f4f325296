// Where a RET leads is written on the Guest's stack, and nobody knows it before it is read. But the host's processor is very good at
// guessing where its own RET leads, because it remembers its CALLs. So a CALL of the Guest, besides pushing the Guest's return address,
// is a CALL of the host, and a RET of the Guest, once the address is read, is a RET of the host. What stands behind the host's CALL
// compares: if the Guest's address is the expected one, the block there is just a jump away; if not, it is an indirect branch like any
// other. The host's stack below the frame of Enter is thus a *return stack*.
//
// It is never trusted beyond one stay in translated code: whenever C# is entered, which alone can change mappings and code, all of it is
// forgotten; and what changes the ring or the mode in place forgets it, too. When more RETs come than CALLs, its lowest place leads to the
// ordinary way; when more CALLs come, it is forgotten, too. Functions that call the next one twice, each of them, make a tree of calls in
// which nobody ever goes back by a jump, so behind a CALL attention is asked for as at any indirect branch.

using Iced.Intel;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    /// <summary>Bytes of the host's stack that the return stack may take.</summary>
    private const int ReturnStackBytes = 8192;

    /// <summary>Begins the return stack at the host's stack pointer.</summary>
    private void WriteBottomOfReturnStack(byte* returnStackIsEmpty)
    {
        // SAFETY: the address is only kept. .NET threads have hundreds of times as much stack.
        unsafe
        {
            _ = hot.MoveImmediate64(Temporary, (nint)returnStackIsEmpty + arena.WriteToRun);
            Push(Temporary);
            hot.Store(HostOperand.At(Context, ContextLayout.ReturnStack), HostRegister.Rsp, 8);
            hot.LoadAddress(Temporary, HostOperand.At(HostRegister.Rsp, -ReturnStackBytes), 8);
            hot.Store(HostOperand.At(Context, ContextLayout.ReturnLimit), Temporary, 8);
        }
    }

    /// <summary>Where a RET arrives for which there was no CALL: the lowest place is there again, and the branch an ordinary one.</summary>
    private byte* WriteReturnStackIsEmpty()
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            byte* start = hot.Cursor;
            _ = hot.MoveImmediate64(Temporary, (nint)start + arena.WriteToRun);
            Push(Temporary);
            hot.Jump(indirectBranch);
            return start;
        }
    }

    /// <summary>Forgets the return stack.</summary>
    private static void WriteForgetReturns(Emitter emitter) =>
        emitter.Load(HostRegister.Rsp, HostOperand.At(Context, ContextLayout.ReturnStack), 8);

    /// <summary>Makes sure that there is room for one more return; spoils the host's flags.</summary>
    private void WriteRoomForReturn()
    {
        // SAFETY: the addresses are only subtracted.
        unsafe
        {
            flags.BeforeClobber();
            hot.Arithmetic(Alu.Compare, 8, HostRegister.Rsp, HostOperand.At(Context, ContextLayout.ReturnLimit));
            hot.JumpIf(HostCondition.Below, cold.Cursor);
            WriteForgetReturns(cold);
            cold.Jump(hot.Cursor);
        }
    }

    private void WriteCallNear(in Instruction i)
    {
        WriteReturnAddress(i);
        WriteRoomForReturn();
        WriteEdge(hot, i.NearBranch32, flags.Places, call: true);
        WriteReturned(i.NextIP32);
    }

    private void WriteCallIndirect(in Instruction i)
    {
        // SAFETY: the address is only subtracted.
        unsafe
        {
            WriteTarget(i);
            hot.Store(HostOperand.At(Context, ContextLayout.Spilled), LinearAddress);
            WriteReturnAddress(i);
            WriteRoomForReturn();
            hot.Load(LinearAddress, HostOperand.At(Context, ContextLayout.Spilled));
            flags.EnsureSaved();
            hot.Call(indirectBranch);
            WriteReturned(i.NextIP32);
        }
    }

    /// <summary>Behind a call of the host: somebody returns to the EIP in R10, the flags being saved.</summary>
    private void WriteReturned(uint expected)
    {
        // SAFETY: the address is only subtracted.
        unsafe
        {
            hot.ArithmeticImmediate(Alu.Compare, 4, LinearAddress, (int)expected);
            hot.JumpIf(HostCondition.NotEqual, indirectBranch);
            // The branch asks again, and leaves.
            hot.Arithmetic(Alu.Compare, 8, Counter, HostOperand.At(Context, ContextLayout.AttentionAt));
            hot.JumpIf(HostCondition.AboveOrEqual, indirectBranch);
            flags.Begin(FlagPlaces.Saved);
            WriteEdge(expected);
        }
    }

    private void WriteReturn(in Instruction i)
    {
        HostOperand from = FindStack(GuestEsp, 0, false);
        int released = i.OpCount == 1 ? i.Immediate16 : 0;
        MoveStackPointer(4 + released);
        SettleStack();
        hot.Load(LinearAddress, from);
        flags.EnsureSaved();
        hot.Byte(0xC3);
    }
}
