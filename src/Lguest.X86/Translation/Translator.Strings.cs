// String instructions. One turn of any is a load, a store or a comparison; a repeated MOVS or STOS that stays inside its pages is the
// host's own. Whatever crosses a page or goes downwards is the reference handler's, which works page by page.

using Iced.Intel;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private const int PageSize = 4096;

    private void WriteDirection(in Instruction i)
    {
        flags.BeforeClobber();
        bool set = i.Mnemonic == Mnemonic.Std;
        int direction = (int)State.Eflags.Direction;
        hot.ArithmeticImmediate(set ? Alu.Or : Alu.And, 4, HostOperand.At(Context, ContextLayout.SystemFlags), set ? direction : ~direction);
    }

    private void WriteCallIfDownwards()
    {
        flags.BeforeClobber();
        hot.TestImmediate(4, HostOperand.At(Context, ContextLayout.SystemFlags), (int)State.Eflags.Direction);
        WriteCallIf(HostCondition.NotEqual);
    }

    /// <summary>One turn of a string instruction. Upwards only: a set direction flag calls the reference handler.</summary>
    private void WriteString(in Instruction i)
    {
        int size = i.MemorySize.GetSize();
        bool compares = Effects.WritesFlags;
        bool loads = Uses(i, OpKind.MemorySegESI);
        bool finds = Uses(i, OpKind.MemoryESEDI);
        WriteCallIfDownwards();
        HostRegister value = GuestEax;
        if (loads)
        {
            HostOperand from = FindAt(HostRegister.Rsi, size, false);
            value = finds ? Temporary : GuestEax;
            if (!finds)
            {
                BeforeWrite(GuestEax);
            }
            hot.Instruction(size, size == 1 ? 0x8A : 0x8B, (int)value, from);
        }
        if (finds)
        {
            if (loads)
            {
                hot.Store(HostOperand.At(Context, ContextLayout.Spilled), value);
            }
            HostOperand at = FindAt(HostRegister.Rdi, size, !compares);
            if (loads)
            {
                hot.Load(value, HostOperand.At(Context, ContextLayout.Spilled));
            }
            if (compares)
            {
                hot.Arithmetic(Alu.Compare, size, value, at);
                flags.Produced(Needed);
            }
            else
            {
                hot.Store(at, value, size);
            }
            BeforeWrite(HostRegister.Rdi);
            hot.LoadAddress(HostRegister.Rdi, HostOperand.At(HostRegister.Rdi, size));
        }
        if (loads)
        {
            BeforeWrite(HostRegister.Rsi);
            hot.LoadAddress(HostRegister.Rsi, HostOperand.At(HostRegister.Rsi, size));
        }
    }

    private static bool Uses(in Instruction i, OpKind kind) => i.Op0Kind == kind || i.Op1Kind == kind;

    /// <summary>REP MOVS and REP STOS of at most a page.</summary>
    private void WriteRepeatedString(in Instruction i)
    {
        // SAFETY: the addresses are only subtracted. The host's instruction stays inside pages that the soft-TLB has just allowed.
        unsafe
        {
            int size = i.MemorySize.GetSize();
            bool loads = Uses(i, OpKind.MemorySegESI);
            // The ways out below show the flags, even where nothing behind the instruction needs them.
            flags.BeforeWrite(HostRegister.Rcx);
            flags.BeforeWrite(HostRegister.Rsi);
            flags.BeforeWrite(HostRegister.Rdi);
            WriteCallIfDownwards();
            hot.Test(4, HostRegister.Rcx, HostRegister.Rcx);
            byte* toEnd = hot.JumpIf(HostCondition.Equal, hot.Cursor);
            hot.ArithmeticImmediate(Alu.Compare, 4, HostRegister.Rcx, PageSize / size);
            WriteCallIf(HostCondition.Above);
            if (loads)
            {
                FindRun(HostRegister.Rsi, size, false);
                hot.Store(HostOperand.At(Context, ContextLayout.Spilled), HostBase, 8);
            }
            FindRun(HostRegister.Rdi, size, true);
            if (loads)
            {
                hot.Load(LinearAddress, HostOperand.At(Context, ContextLayout.Spilled), 8);
                hot.Instruction(8, 0x87, (int)LinearAddress, HostRegister.Rsi);
            }
            hot.Instruction(8, 0x87, (int)HostBase, HostRegister.Rdi);
            hot.Move(Temporary, HostRegister.Rcx);
            WriteSwapWithRax();
            hot.Byte(0xF3);
            if (size == 2)
            {
                hot.Byte(0x66);
            }
            hot.Byte((loads ? 0xA4 : 0xAA) | (size == 1 ? 0 : 1));
            WriteSwapWithRax();
            int scale = size switch { 1 => 0, 2 => 1, _ => 2 };
            hot.LoadAddress(HostRegister.Rdi, HostOperand.At(HostBase, Temporary, scale));
            if (loads)
            {
                hot.LoadAddress(HostRegister.Rsi, HostOperand.At(LinearAddress, Temporary, scale));
            }
            Emitter.Patch(toEnd, hot.Cursor);
        }
    }

    /// <summary>The host address of ECX elements at a register into R11, if they lie in one page.</summary>
    private void FindRun(HostRegister register, int size, bool write)
    {
        FindAt(register, size, write);
        hot.Move(Temporary, LinearAddress);
        hot.ArithmeticImmediate(Alu.And, 4, Temporary, PageSize - 1);
        hot.LoadAddress(Temporary, HostOperand.At(Temporary, HostRegister.Rcx, size switch { 1 => 0, 2 => 1, _ => 2 }));
        hot.ArithmeticImmediate(Alu.Compare, 4, Temporary, PageSize);
        WriteCallIf(HostCondition.Above);
        hot.Arithmetic(Alu.Add, 8, HostBase, LinearAddress);
    }
}
