// The stack pointer. Every PUSH moves it, and the next PUSH waits for that: on paper four of them take four turns of the host's clock one after
// the other, whatever else it could do meanwhile. Silicon that executes x86 has a part of its own that adds such steps up beforehand, and so
// has the translator: it knows all steps when it writes the code. R9 stays behind, every address is written with the distance added, and
// R9 catches up in one step where somebody else wants to see it: at a branch, at an instruction that uses ESP as a number, and in the cold
// code of an exit. When C# sends the Guest back into the middle of a superblock, it takes the distance off again.
//
// And most of what a program touches is on its stack, all in one page for a while. So that page has an entry of its own in the soft-TLB, and what
// is found by ESP asks there first: is the distance from the page's start less than a page? One comparison answers for the page and its end.

using Iced.Intel;
using Lguest.X86.Memory;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    /// <summary>R9 is never further behind than this before an instruction, and one step further behind it.</summary>
    private const int FarthestBehind = 4096;

    /// <summary>ESP is what R9 holds plus this.</summary>
    private int stackBehind;

    /// <summary>ESP plus a displacement.</summary>
    private HostOperand OnStack(int displacement) => HostOperand.At(GuestEsp, displacement + stackBehind);

    private void MoveStackPointer(int bytes) => stackBehind += bytes;

    private void SetStackPointer(in HostOperand address)
    {
        BeforeWrite(GuestEsp);
        hot.LoadAddress(GuestEsp, address);
        stackBehind = 0;
    }

    /// <summary>R9 catches up; changes no flags.</summary>
    private void SettleStack()
    {
        if (stackBehind != 0)
        {
            flags.BeforeWrite(GuestEsp);
            WriteSettled(hot);
            stackBehind = 0;
        }
    }

    private void WriteSettled(Emitter emitter)
    {
        if (stackBehind != 0)
        {
            emitter.LoadAddress(GuestEsp, OnStack(0));
        }
    }

    /// <summary>Lets R9 catch up before an instruction that does not know that it is behind.</summary>
    private void SettleStackFor(in Instruction i)
    {
        if (Math.Abs(stackBehind) > FarthestBehind || !KnowsStackBehind(i))
        {
            SettleStack();
        }
    }

    private bool KnowsStackBehind(in Instruction i)
    {
        switch (Effects.Form)
        {
            case InlineForm.Called or InlineForm.LoadSegment or InlineForm.PushSegment or InlineForm.PushFlags or InlineForm.PopFlags
                or InlineForm.InterruptFlag or InlineForm.SystemEnter or InlineForm.SystemExit
                or InlineForm.Jump or InlineForm.JumpIf or InlineForm.JumpIndirect:
                return false;
        }
        return IsStep(i, out _) || IsCopyOfStackPointer(i) || !HasStackPointer(i);
    }

    /// <summary>ESP or SP is an operand.</summary>
    private static bool HasStackPointer(in Instruction i)
    {
        bool has = false;
        for (int operand = 0; operand < i.OpCount; operand++)
        {
            has |= i.GetOpKind(operand) == OpKind.Register && i.GetOpRegister(operand) is Register.ESP or Register.SP;
        }
        return has;
    }

    /// <summary>MOV of ESP into another register.</summary>
    private bool IsCopyOfStackPointer(in Instruction i) =>
        Effects.Form == InlineForm.Move && i.Op1Kind == OpKind.Register && i.Op1Register == Register.ESP
        && i.Op0Kind == OpKind.Register && i.Op0Register != Register.ESP;

    /// <summary>ADD or SUB of a number to ESP, or LEA to the same end.</summary>
    private bool IsStep(in Instruction i, out int bytes)
    {
        bytes = 0;
        if (i.Op0Kind != OpKind.Register || i.Op0Register != Register.ESP)
        {
            return false;
        }
        if (Effects.Form == InlineForm.LoadAddress)
        {
            bytes = (int)i.MemoryDisplacement32;
            return i.MemoryBase == Register.ESP && i.MemoryIndex == Register.None && Math.Abs((long)bytes) <= FarthestBehind;
        }
        if (Effects.Form != InlineForm.Arithmetic || i.Mnemonic is not (Mnemonic.Add or Mnemonic.Sub) || i.Op1Kind is OpKind.Register or OpKind.Memory)
        {
            return false;
        }
        int immediate = (int)i.GetImmediate(1);
        bytes = i.Mnemonic == Mnemonic.Add ? immediate : -immediate;
        return Math.Abs((long)immediate) <= FarthestBehind;
    }

    /// <summary>Writes a step of the stack pointer; true when the instruction was one.</summary>
    private bool WriteStep(in Instruction i)
    {
        if (!IsStep(i, out int bytes))
        {
            return false;
        }
        MoveStackPointer(bytes);
        if (Effects.Form == InlineForm.Arithmetic)
        {
            bool add = i.Mnemonic == Mnemonic.Add;
            flags.ProducedLater(Needed, new FlagSource(
                add ? ReplayKind.Add : ReplayKind.Subtract, GuestEsp, HostRegister.None, add ? bytes : -bytes, Distance: stackBehind));
        }
        return true;
    }

    private static bool IsOnStack(in HostOperand address) => address.Base == GuestEsp && address.Index == HostRegister.None;

    /// <summary>Asks for bytes on the stack's page; then R11 is where they are. What is not there is looked for in cold code.</summary>
    /// <returns>Number of the record of a miss.</returns>
    private int WriteStackProbe(in HostOperand address, int size, bool write, CodeExit miss)
    {
        // SAFETY: the addresses are only kept and subtracted. The place of a page is added to what leaves room for the bytes before its end.
        unsafe
        {
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            hot.LoadAddress(HostBase, address);
            hot.Arithmetic(Alu.Xor, 8, HostBase, StackPage);
            hot.ArithmeticImmediate(Alu.Compare, 8, HostBase, PageSize - size);
            hot.JumpIf(HostCondition.Above, cold.Cursor);
            hot.Arithmetic(Alu.Add, 8, HostBase, StackHostPage);
            cold.LoadAddress(LinearAddress, address);
            cold.LoadAddress(Temporary, HostOperand.At(LinearAddress, size - 1));
            cold.Call(write ? findWritableStack : findReadableStack);
            cold.JumpIf(HostCondition.Equal, hot.Cursor);
            // Who comes from there has found R10 and R11 anew.
            hot.Used = uint.MaxValue;
            return WriteMiss(retry, size, write, miss);
        }
    }

    private static HostOperand StackPage => HostOperand.At(Tlb, SoftTlb.StackOffset);

    private static HostOperand StackHostPage => HostOperand.At(Tlb, SoftTlb.StackOffset + StackEntry.HostPageOffset);

    /// <summary>
    /// For the address in R10, and that of the last byte in R15: where it is, in R11, and "equal"; or "not equal". If the page may be written, it
    /// becomes the stack's.
    /// </summary>
    private byte* WriteFindStack(bool write)
    {
        // SAFETY: the addresses are only kept and subtracted. The code reads an entry of the soft-TLB, whose index it has cut to size.
        unsafe
        {
            byte* start = hot.Cursor;
            WriteQuestion(write);
            byte* toFound = hot.JumpIf(HostCondition.Equal, hot.Cursor);
            hot.Call(write ? findWritableVictim : findReadableVictim);
            byte* toMiss = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            hot.Load(Temporary, HostOperand.At(Tlb, HostBase, 0, TagOffset(write)));
            Emitter.Patch(toFound, hot.Cursor);
            hot.Arithmetic(Alu.Compare, 4, Temporary, HostOperand.At(Tlb, HostBase, 0, TlbEntry.WriteTagOffset));
            hot.Load(HostBase, HostOperand.At(Tlb, HostBase, 0, TlbEntry.AddendOffset), 8);
            byte* toEnd = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            hot.Store(StackPage, Temporary, 8);
            hot.Arithmetic(Alu.Add, 8, Temporary, HostBase);
            hot.Store(StackHostPage, Temporary, 8);
            Emitter.Patch(toEnd, hot.Cursor);
            hot.Arithmetic(Alu.Add, 8, HostBase, LinearAddress);
            hot.Arithmetic(Alu.Compare, 4, Temporary, Temporary);
            Emitter.Patch(toMiss, hot.Cursor);
            hot.Byte(0xC3);
            return start;
        }
    }
}
