// The x87 unit: eight 80-bit registers used as a stack, a control word in and a status word out. This file is what its instructions
// have in common: the checks before, the books after, and operands in memory. The arithmetic itself is in FloatingPoint/.
//
// An exception of the x87 unit is reported late: the instruction that causes it only sets ES, and the next waiting instruction
// raises #MF before doing anything else. There is no wire to an interrupt controller: CR0.NE is taken as one.
//
// The instruction and data pointers are those of the last instruction that was not a control one, with their selectors, as in a
// Pentium III. The opcode is kept as processors since the Pentium 4 do: only that of an instruction with an unmasked exception
// (Intel SDM volume 1, 8.1.9).

using System.Runtime.CompilerServices;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    public static void Register(InstructionTable table)
    {
        RegisterControl(table);
        RegisterEnvironment(table);
    }

    /// <summary>What every waiting instruction does first: #NM when the unit is not available, #MF when an exception is pending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref CpuState Begin(Processor cpu)
    {
        ref CpuState state = ref cpu.State;
        if (((state.Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) | ((uint)state.Fpu.StatusWord & X87Status.ErrorSummary)) != 0)
        {
            CheckAvailable(cpu);
            CheckPending(cpu);
        }
        return ref state;
    }

    private static void CheckAvailable(Processor cpu)
    {
        if ((cpu.State.Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) != 0)
        {
            throw cpu.Fault(Vector.DeviceNotAvailable);
        }
    }

    private static void CheckPending(Processor cpu)
    {
        if ((cpu.State.Fpu.StatusWord & X87Status.ErrorSummary) != 0)
        {
            throw cpu.Fault(Vector.X87FloatingPoint);
        }
    }
}
