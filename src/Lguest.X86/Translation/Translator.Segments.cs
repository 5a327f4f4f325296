// Loading ES, DS, FS or GS. A kernel does it several times on each way in and out, nearly always with a selector that it has loaded a moment
// ago, from a descriptor that has not changed: then the result is what it was. Everything that decides is compared: selector, privilege
// level, the descriptor's eight bytes as they are in the GDT now, the GDT's limit; and that the segment still suits the block's mode.

using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private byte* findDescriptor;

    private void WriteLoadSegment(in Instruction i)
    {
        if (i.Mnemonic == Mnemonic.Pop)
        {
            HostOperand from = FindStack(GuestEsp, 0, false);
            hot.Instruction(4, 0x0FB7, (int)Temporary, from);
        }
        else if (i.Op1Kind == OpKind.Memory)
        {
            HostOperand from = Find(i, 2, false);
            hot.Instruction(4, 0x0FB7, (int)Temporary, from);
        }
        else
        {
            hot.Instruction(4, 0x0FB7, (int)Temporary, Map(i.Op1Register));
        }
        WriteLoadSegment((SegmentName)(i.Op0Register - Register.ES), i.Mnemonic == Mnemonic.Pop, i.NextIP32);
        if (i.Mnemonic == Mnemonic.Pop)
        {
            MoveStackPointer(4);
        }
    }

    private void WriteLoadSegment(SegmentName name, bool popped, uint nextEip)
    {
        // SAFETY: the addresses are only subtracted; the entry found lies in the context.
        unsafe
        {
            const HostRegister entry = HostRegister.R10;
            // The x87 wants the selector that its last operand was reached by, not the new one.
            NoteX87(hot);
            ForgetX87();
            flags.BeforeClobber();
            hot.ArithmeticImmediate(Alu.Compare, 4, HostOperand.At(Context, ContextLayout.LastX87Segment), (int)name);
            WriteCallIf(HostCondition.Equal);
            hot.Call(findDescriptor);
            WriteCallIf(HostCondition.NotEqual);
            bool other = name is SegmentName.FS or SegmentName.GS;
            uint modeBit = name == SegmentName.FS ? BlockMode.FsUnlimited : BlockMode.GsUnlimited;
            bool expected = !other || (block->Mode & modeBit) != 0;
            int property = other ? LoadedDescriptor.IsUnlimitedOffset : LoadedDescriptor.IsFlatOffset;
            hot.ArithmeticImmediate(Alu.Compare, 1, HostOperand.At(entry, property), expected ? 1 : 0);
            if (other)
            {
                hot.JumpIf(HostCondition.NotEqual, cold.Cursor);
                WriteLoadOfOtherMode(name, modeBit, popped, nextEip);
            }
            else
            {
                WriteCallIf(HostCondition.NotEqual);
            }
            WriteSegment(hot, name);
        }
    }

    /// <summary>Copies the descriptor that R10 names, and the selector in R15, into a segment register.</summary>
    private static void WriteSegment(Emitter emitter, SegmentName name)
    {
        const HostRegister entry = HostRegister.R10;
        (int segmentBase, int attributes, int selector) = ContextLayout.Segment((int)name);
        emitter.Load(HostBase, HostOperand.At(entry, LoadedDescriptor.BaseOffset), 8);
        emitter.Store(HostOperand.At(Context, segmentBase), HostBase, 8);
        if (name is SegmentName.FS or SegmentName.GS)
        {
            int mirror = name == SegmentName.FS ? GeneralRegisters.FsBaseIndex : GeneralRegisters.GsBaseIndex;
            emitter.Store(HostOperand.At(Context, ContextLayout.General(mirror)), HostBase);
        }
        emitter.Load(HostBase, HostOperand.At(entry, LoadedDescriptor.AttributesOffset));
        emitter.Store(HostOperand.At(Context, attributes), HostBase);
        emitter.Store(HostOperand.At(Context, selector), Temporary, 2);
    }

    /// <summary>Loads FS or GS with what this block was not written for, and goes on in a block of the other mode.</summary>
    private void WriteLoadOfOtherMode(SegmentName name, uint modeBit, bool popped, uint nextEip)
    {
        // SAFETY: the address is only subtracted.
        unsafe
        {
            WriteSegment(cold, name);
            cold.ArithmeticImmediate(Alu.Xor, 4, HostOperand.At(Context, ContextLayout.BlockMode), (int)modeBit);
            if ((flags.Places & (FlagPlaces.Saved | FlagPlaces.Dead)) == 0)
            {
                flags.Recover(cold);
                cold.SaveFlags();
            }
            if (popped)
            {
                cold.LoadAddress(GuestEsp, HostOperand.At(GuestEsp, 4));
            }
            cold.LoadAddress(Counter, HostOperand.At(Counter, current + 1 - blockStart - block->Count), 8);
            cold.MoveImmediate(LinearAddress, nextEip);
            WriteForgetReturns(cold);
            cold.Jump(indirectBranch);
        }
    }

    private void WritePushSegment(in Instruction i)
    {
        HostOperand to = FindStack(GuestEsp, -4, true);
        hot.Instruction(4, 0x0FB7, (int)Temporary, HostOperand.At(Context, ContextLayout.Segment(i.Op0Register - Register.ES).Selector));
        WritePushed(to, Temporary);
    }

    /// <summary>For the selector in R15: the slot that holds what it stands for now in R10, and "equal"; or "not equal".</summary>
    private void WriteFindDescriptor()
    {
        // SAFETY: the code reads the context, an entry of the soft-TLB and, where that allows it, eight bytes of the GDT.
        unsafe
        {
            findDescriptor = hot.Cursor;
            hot.LoadAddress(LinearAddress, HostOperand.At(HostRegister.None, Temporary, LoadedDescriptor.SizeShift - 3));
            hot.ArithmeticImmediate(Alu.And, 4, LinearAddress, (LoadedDescriptor.Slots - 1) << LoadedDescriptor.SizeShift);
            hot.LoadAddress(LinearAddress, HostOperand.At(Context, LinearAddress, 0, ContextLayout.Descriptors), 8);
            hot.Load(HostBase, HostOperand.At(Context, ContextLayout.PrivilegeLevel));
            hot.ShiftLeft(HostBase, 16);
            hot.Arithmetic(Alu.Or, 4, HostBase, Temporary);
            hot.Arithmetic(Alu.Compare, 4, HostBase, HostOperand.At(LinearAddress, 0));
            byte* otherKey = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            hot.Load(HostBase, HostOperand.At(Context, ContextLayout.GdtLimit));
            hot.Arithmetic(Alu.Compare, 4, HostBase, HostOperand.At(LinearAddress, LoadedDescriptor.TableLimitOffset));
            byte* otherLimit = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            Push(Temporary);
            hot.Move(HostBase, Temporary);
            hot.ArithmeticImmediate(Alu.And, 4, HostBase, 0xFFF8);
            hot.Arithmetic(Alu.Add, 4, HostBase, HostOperand.At(Context, ContextLayout.GdtBase));
            hot.Move(Temporary, HostBase);
            hot.ShiftRight(Temporary, 8);
            hot.ArithmeticImmediate(Alu.And, 4, Temporary, (SoftTlb.SystemEntries - 1) << 4);
            hot.Arithmetic(Alu.Add, 8, Temporary, HostOperand.At(Context, ContextLayout.SupervisorTlb));
            // An entry that holds nothing has an odd tag, which differs from addresses in page 0 by as little as a right one would.
            hot.TestImmediate(1, HostOperand.At(Temporary, SoftTlb.SystemOffset), 1);
            byte* emptyEntry = hot.JumpIf(HostCondition.NotEqual, hot.Cursor);
            hot.Arithmetic(Alu.Xor, 4, HostBase, HostOperand.At(Temporary, SoftTlb.SystemOffset));
            hot.ArithmeticImmediate(Alu.Compare, 4, HostBase, PageSize - sizeof(ulong));
            byte* unknownPage = hot.JumpIf(HostCondition.Above, hot.Cursor);
            hot.Arithmetic(Alu.Xor, 4, HostBase, HostOperand.At(Temporary, SoftTlb.SystemOffset));
            hot.Arithmetic(Alu.Add, 8, HostBase, HostOperand.At(Temporary, SoftTlb.SystemOffset + TlbEntry.AddendOffset));
            hot.Load(HostBase, HostOperand.At(HostBase, 0), 8);
            hot.Arithmetic(Alu.Compare, 8, HostBase, HostOperand.At(LinearAddress, LoadedDescriptor.RawOffset));
            Emitter.Patch(emptyEntry, hot.Cursor);
            Emitter.Patch(unknownPage, hot.Cursor);
            Pop(Temporary);
            Emitter.Patch(otherKey, hot.Cursor);
            Emitter.Patch(otherLimit, hot.Cursor);
            hot.Byte(0xC3);
        }
    }
}
