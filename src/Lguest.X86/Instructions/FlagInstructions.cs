// Instructions whose business is EFLAGS itself. What POPF may change depends on the privilege level, and silently: an operating system
// in an outer ring never learns that its interrupt flag did not change, which is why paravirtual kernels exist.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class FlagInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Clc, static (Processor cpu, in Instruction _) => cpu.State.Flags.Carry = false);
        table.Add(Mnemonic.Stc, static (Processor cpu, in Instruction _) => cpu.State.Flags.Carry = true);
        table.Add(Mnemonic.Cmc, static (Processor cpu, in Instruction _) => cpu.State.Flags.Carry = !cpu.State.Flags.Carry);
        table.Add(Mnemonic.Cld, static (Processor cpu, in Instruction _) => cpu.State.SystemFlags &= ~Eflags.Direction);
        table.Add(Mnemonic.Std, static (Processor cpu, in Instruction _) => cpu.State.SystemFlags |= Eflags.Direction);
        table.Add(Mnemonic.Cli, ClearInterrupt);
        table.Add(Mnemonic.Sti, SetInterrupt);
        table.Add(Mnemonic.Lahf, LoadIntoAh);
        table.Add(Mnemonic.Sahf, StoreFromAh);
        table.Add(Mnemonic.Salc, SetAlFromCarry);
        table.Add(Mnemonic.Pushf, static (Processor cpu, in Instruction _) => Push(cpu, 2));
        table.Add(Mnemonic.Pushfd, static (Processor cpu, in Instruction _) => Push(cpu, 4));
        table.Add(Mnemonic.Popf, static (Processor cpu, in Instruction _) => Pop(cpu, 2));
        table.Add(Mnemonic.Popfd, static (Processor cpu, in Instruction _) => Pop(cpu, 4));
    }

    private static int IoPrivilegeLevel(Processor cpu) => (int)(cpu.State.SystemFlags >> 12) & 3;

    private static void RequireIoPrivilege(Processor cpu)
    {
        if (cpu.State.PrivilegeLevel > IoPrivilegeLevel(cpu))
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
    }

    private static void ClearInterrupt(Processor cpu, in Instruction instruction)
    {
        RequireIoPrivilege(cpu);
        cpu.State.SystemFlags &= ~Eflags.Interrupt;
    }

    private static void SetInterrupt(Processor cpu, in Instruction instruction)
    {
        RequireIoPrivilege(cpu);
        if ((cpu.State.SystemFlags & Eflags.Interrupt) == 0)
        {
            cpu.State.SystemFlags |= Eflags.Interrupt;
            cpu.StateChanged();
            cpu.InterruptShadow = true;
        }
    }

    private static void LoadIntoAh(Processor cpu, in Instruction instruction) =>
        cpu.WriteRegister(Iced.Intel.Register.AH, cpu.State.Flags.Value | Eflags.AlwaysOne);

    private static void StoreFromAh(Processor cpu, in Instruction instruction)
    {
        uint overflow = cpu.State.Flags.Overflow ? Eflags.Overflow : 0;
        cpu.State.Flags.Value = (cpu.State.General[(int)Register32.Eax] >> 8 & Eflags.Status & 0xFF) | overflow;
    }

    private static void SetAlFromCarry(Processor cpu, in Instruction instruction) =>
        cpu.WriteRegister(Iced.Intel.Register.AL, 0 - cpu.State.Flags.CarryValue);

    // In virtual-8086 mode the privilege level is 3, so the rule for IOPL also tells whether PUSHF and POPF belong to the monitor.
    private static void RequireNotTrappedByMonitor(Processor cpu)
    {
        if ((cpu.State.SystemFlags & Eflags.Virtual8086) != 0)
        {
            RequireIoPrivilege(cpu);
        }
    }

    private static void Push(Processor cpu, int size)
    {
        RequireNotTrappedByMonitor(cpu);
        cpu.Push(cpu.State.Eflags & ~(Eflags.Virtual8086 | Eflags.Resume), size);
    }

    private static void Pop(Processor cpu, int size)
    {
        RequireNotTrappedByMonitor(cpu);
        uint changeable = Eflags.Status | Eflags.Trap | Eflags.Direction | Eflags.NestedTask;
        if (size == 4)
        {
            changeable |= Eflags.AlignmentCheck | Eflags.Identification | Eflags.Resume;
        }
        if (cpu.State.PrivilegeLevel <= IoPrivilegeLevel(cpu))
        {
            changeable |= Eflags.Interrupt;
        }
        if (cpu.State.PrivilegeLevel == 0)
        {
            changeable |= Eflags.IoPrivilege;
        }
        uint before = cpu.State.Eflags;
        uint after = (before & ~changeable) | (cpu.Pop(size) & changeable & ~Eflags.Resume);
        cpu.State.Eflags = after;
        if (((before ^ after) & (Eflags.Trap | Eflags.AlignmentCheck | Eflags.Interrupt)) != 0)
        {
            cpu.StateChanged();
        }
    }
}
