// Shifts, rotates and single bits. They are the instructions that give only some of the flags new values, or none when a count is zero:
// whoever may ask for the others needs them in the host's register before.

using Iced.Intel;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private void WriteShift(in Instruction i)
    {
        int size = Size(i);
        int extension = i.Mnemonic switch
        {
            Mnemonic.Rol => 0,
            Mnemonic.Ror => 1,
            Mnemonic.Rcl => 2,
            Mnemonic.Rcr => 3,
            Mnemonic.Shr => 5,
            Mnemonic.Sar => 7,
            _ => 4,
        };
        if (extension <= RotateRight && size == 4 && i.Op0Kind == OpKind.Register && i.Op1Kind != OpKind.Register)
        {
            WriteRotate(i, extension);
            return;
        }
        HostOperand operand = Operand(i, 0, size, true);
        NativeIf(Effects.ReadsFlags || (Needed && !Effects.WritesAllFlags));
        if (operand.Register != HostRegister.None)
        {
            BeforeWrite(operand.Register);
        }
        int narrow = size == 1 ? 0 : 1;
        if (i.Op1Kind == OpKind.Register)
        {
            hot.Instruction(size, 0xD2 | narrow, extension, operand);
        }
        else
        {
            hot.Instruction(size, 0xC0 | narrow, extension, operand);
            hot.Byte((int)i.GetImmediate(1) & 31);
        }
        flags.Produced(Needed);
    }

    private const int RotateRight = 1;

    private void WriteRotate(in Instruction i, int extension)
    {
        int count = (int)i.GetImmediate(1) & 31;
        HostRegister register = Map(i.Op0Register);
        var how = new FlagSource(extension == RotateRight ? ReplayKind.RotateRight : ReplayKind.RotateLeft, register, Immediate: count);
        (bool native, bool saved) = BeforePart(how);
        hot.Shift(extension, register, count);
        flags.ProducedPart(Needed, how, native, saved);
    }

    private void WriteShiftDouble(in Instruction i)
    {
        HostOperand operand = Operand(i, 0, 4, true);
        NativeIf(Needed && !Effects.WritesAllFlags);
        if (operand.Register != HostRegister.None)
        {
            BeforeWrite(operand.Register);
        }
        int opcode = i.Mnemonic == Mnemonic.Shld ? 0x0FA4 : 0x0FAC;
        if (i.Op2Kind == OpKind.Register)
        {
            hot.Instruction(4, opcode + 1, (int)Map(i.Op1Register), operand);
        }
        else
        {
            hot.Instruction(4, opcode, (int)Map(i.Op1Register), operand);
            hot.Byte(i.Immediate8);
        }
        flags.Produced(Needed);
    }

    private void WriteBitTest(in Instruction i)
    {
        int family = i.Mnemonic switch { Mnemonic.Bt => 0, Mnemonic.Bts => 1, Mnemonic.Btr => 2, _ => 3 };
        bool writes = family != 0;
        bool immediate = i.Op1Kind != OpKind.Register;
        if (i.Op0Kind == OpKind.Memory && !immediate)
        {
            WriteBitTestInString(i, family);
            return;
        }
        HostOperand operand = Operand(i, 0, 4, writes);
        NativeIf(Needed);
        if (writes && operand.Register != HostRegister.None)
        {
            BeforeWrite(operand.Register);
        }
        if (immediate)
        {
            hot.Instruction(4, 0x0FBA, 4 + family, operand);
            hot.Byte(i.Immediate8 & 31);
        }
        else
        {
            hot.Instruction(4, 0x0FA3 + (family << 3), (int)Map(i.Op1Register), operand);
        }
        flags.Produced(Needed);
    }

    /// <summary>With a register and memory, the bit number also selects the word.</summary>
    private void WriteBitTestInString(in Instruction i, int family)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            HostRegister bit = Map(i.Op1Register);
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            WriteLinearAddress(i);
            hot.Move(Temporary, bit);
            hot.Instruction(4, 0xC1, 7, Temporary);
            hot.Byte(5);
            hot.LoadAddress(LinearAddress, HostOperand.At(LinearAddress, Temporary, 2));
            HostOperand word = FindLinear(retry, 4, family != 0);
            NativeIf(Needed);
            hot.Load(Temporary, word);
            hot.Instruction(4, 0x0FA3 + (family << 3), (int)bit, Temporary);
            if (family != 0)
            {
                hot.Store(word, Temporary);
            }
            flags.Produced(Needed);
        }
    }

    private void WriteBitScan(in Instruction i)
    {
        HostOperand from = Operand(i, 1, 4, false);
        HostRegister to = Map(i.Op0Register);
        BeforeWrite(to);
        bool forward = i.Mnemonic is Mnemonic.Bsf or Mnemonic.Tzcnt;
        hot.Instruction(4, forward ? 0x0FBC : 0x0FBD, (int)to, from);
        flags.Produced(Needed);
    }
}
