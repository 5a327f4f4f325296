// SYSENTER and SYSEXIT. They ask no table: three registers say where the kernel is, and the segments are flat by definition. In a block,
// which is flat already, that leaves a dozen words to write, and a look at what only the reference handlers do.

using Lguest.X86.Instructions;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private void WriteSystemEnter()
    {
        WriteCallIfCrossingIsRare();
        int cleared = unchecked((int)~(Eflags.Interrupt | Eflags.Virtual8086));
        hot.ArithmeticImmediate(Alu.And, 4, HostOperand.At(Context, ContextLayout.SystemFlags), cleared);
        WriteCrossing(0);
        hot.Load(GuestEsp, HostOperand.At(Context, ContextLayout.SysenterEsp));
        hot.Load(LinearAddress, HostOperand.At(Context, ContextLayout.SysenterEip));
        WriteIndirect();
    }

    private void WriteSystemExit()
    {
        WriteCallIfCrossingIsRare();
        WriteCallOutsideRing0();
        // In ring 3, this flag may make every access ask for its alignment.
        hot.TestImmediate(4, HostOperand.At(Context, ContextLayout.SystemFlags), (int)Eflags.AlignmentCheck);
        WriteCallIf(HostCondition.NotEqual);
        WriteCrossing(3);
        hot.Move(GuestEsp, HostRegister.Rcx);
        hot.Move(LinearAddress, HostRegister.Rdx);
        WriteIndirect();
    }

    /// <summary>Without a kernel to enter, or when the x87 still has to note the selectors that are about to go.</summary>
    private void WriteCallIfCrossingIsRare()
    {
        flags.EnsureSaved();
        flags.BeforeClobber();
        hot.TestImmediate(4, HostOperand.At(Context, ContextLayout.SysenterCs), 0xFFFC);
        WriteCallIf(HostCondition.Equal);
        hot.ArithmeticImmediate(Alu.Compare, 4, HostOperand.At(Context, ContextLayout.LastX87Eip), unchecked((int)EngineContext.NoX87));
        WriteCallIf(HostCondition.NotEqual);
    }

    private void WriteCrossing(int ring)
    {
        hot.Load(HostBase, HostOperand.At(Context, ContextLayout.SysenterCs));
        hot.ArithmeticImmediate(Alu.And, 4, HostBase, 0xFFFC);
        // The selectors of ring 3 stand behind those of ring 0.
        WriteFlatSegment(SegmentName.CS, ring, ring == 0 ? 0 : 16 + ring);
        WriteFlatSegment(SegmentName.SS, ring, 8);
        hot.Instruction(4, 0xC7, 0, HostOperand.At(Context, ContextLayout.PrivilegeLevel));
        hot.DoubleWord(ring);
        hot.Load(Tlb, HostOperand.At(Context, ContextLayout.SupervisorTlb), 8);
        if (ring == 3)
        {
            hot.LoadAddress(Tlb, HostOperand.At(Tlb, AddressSpace.UserOffset), 8);
        }
        WriteForgetReturns(hot);
    }

    /// <summary>Loads CS or SS with the selector in R11 plus a distance. Base and limit are those of a flat block already.</summary>
    private void WriteFlatSegment(SegmentName name, int ring, int distance)
    {
        (_, int attributes, int selector) = ContextLayout.Segment((int)name);
        hot.LoadAddress(HostBase, HostOperand.At(HostBase, distance));
        hot.Store(HostOperand.At(Context, selector), HostBase, 2);
        hot.Instruction(4, 0xC7, 0, HostOperand.At(Context, attributes));
        hot.DoubleWord((int)SystemInstructions.FlatAttributes(name == SegmentName.CS, ring));
    }
}
