// Instructions that only an operating system uses: control and debug registers, descriptor tables, the TLB, model-specific registers,
// CPUID and the time-stamp counter. In ring 1 nearly all of them fault, which is how a Host sees a Guest that was not ported.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class SystemInstructions
{
    private const uint WritableCr0 = 0xE005_003F;

    public static void Register(InstructionTable table)
    {
        table.Add(Code.Mov_r32_cr, ReadControl);
        table.Add(Code.Mov_cr_r32, WriteControl);
        table.Add(Code.Mov_r32_dr, ReadDebug);
        table.Add(Code.Mov_dr_r32, WriteDebug);
        table.Add(Mnemonic.Clts, ClearTaskSwitched);
        table.Add(Mnemonic.Lmsw, LoadMachineStatus);
        table.Add(Mnemonic.Smsw, StoreMachineStatus);
        table.Add(Mnemonic.Lgdt, LoadTable);
        table.Add(Mnemonic.Lidt, LoadTable);
        table.Add(Mnemonic.Sgdt, StoreTable);
        table.Add(Mnemonic.Sidt, StoreTable);
        table.Add(Mnemonic.Lldt, LoadLocalTable);
        table.Add(Mnemonic.Ltr, LoadTask);
        table.Add(Mnemonic.Sldt, static (Processor cpu, in Instruction i) => StoreSelector(cpu, i, cpu.State.Ldtr.Selector));
        table.Add(Mnemonic.Str, static (Processor cpu, in Instruction i) => StoreSelector(cpu, i, cpu.State.TaskRegister.Selector));
        table.Add(Mnemonic.Invlpg, InvalidatePage);
        table.Add(Mnemonic.Invd, static (Processor cpu, in Instruction _) => cpu.RequireRing0());
        table.Add(Mnemonic.Wbinvd, static (Processor cpu, in Instruction _) => cpu.RequireRing0());
        table.Add(Mnemonic.Hlt, Halt);
        table.Add(Mnemonic.Rdtsc, ReadTimeStamp);
        table.Add(Mnemonic.Cpuid, static (Processor cpu, in Instruction _) => Cpuid.Execute(ref cpu.State, cpu.OwnsRing0));
        table.Add(Mnemonic.Sysenter, SystemEnter);
        table.Add(Mnemonic.Sysexit, SystemExit);
        table.Add(Mnemonic.Ud2, static (Processor cpu, in Instruction _) => throw cpu.Fault(Vector.InvalidOpcode));
    }

    private static void ReadControl(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        uint value = instruction.Op1Register switch
        {
            Iced.Intel.Register.CR0 => cpu.State.Cr0,
            Iced.Intel.Register.CR2 => cpu.State.Cr2,
            Iced.Intel.Register.CR3 => cpu.State.Cr3,
            Iced.Intel.Register.CR4 => cpu.State.Cr4,
            _ => throw cpu.Fault(Vector.InvalidOpcode),
        };
        cpu.WriteRegister(instruction.Op0Register, value);
    }

    private static void WriteControl(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        uint value = cpu.ReadRegister(instruction.Op1Register);
        switch (instruction.Op0Register)
        {
            case Iced.Intel.Register.CR0:
                bool paging = (value & Cr0.Paging) != 0;
                if ((paging && (value & Cr0.ProtectionEnable) == 0) || (value & (Cr0.NotWriteThrough | Cr0.CacheDisable)) == Cr0.NotWriteThrough)
                {
                    throw cpu.Fault(Vector.GeneralProtection);
                }
                cpu.SetCr0((value & WritableCr0) | Cr0.ExtensionType);
                break;
            case Iced.Intel.Register.CR2:
                cpu.State.Cr2 = value;
                break;
            case Iced.Intel.Register.CR3:
                cpu.SetCr3(value);
                break;
            case Iced.Intel.Register.CR4:
                uint implemented = Cr4.TimeStampDisable | Cr4.DebuggingExtensions | Cr4.PageSizeExtensions | Cr4.PageGlobalEnable
                    | Cr4.OsFxsr | Cr4.OsXmmExceptions | (cpu.OwnsRing0 ? Cr4.PhysicalAddressExtension : 0);
                if ((value & ~implemented) != 0)
                {
                    throw cpu.Fault(Vector.GeneralProtection);
                }
                cpu.SetCr4(value);
                break;
            default:
                throw cpu.Fault(Vector.InvalidOpcode);
        }
    }

    private static int DebugNumber(Processor cpu, Register register)
    {
        cpu.RequireRing0();
        int number = register - Iced.Intel.Register.DR0;
        if (number is 4 or 5)
        {
            if ((cpu.State.Cr4 & Cr4.DebuggingExtensions) != 0)
            {
                throw cpu.Fault(Vector.InvalidOpcode);
            }
            number += 2;
        }
        if ((cpu.State.Debug[7] & DebugBits.GeneralDetect) != 0)
        {
            cpu.State.Debug[7] &= ~DebugBits.GeneralDetect;
            cpu.State.Debug[6] |= DebugBits.AccessDetected;
            throw cpu.Fault(Vector.Debug);
        }
        return number;
    }

    private static void ReadDebug(Processor cpu, in Instruction instruction) =>
        cpu.WriteRegister(instruction.Op0Register, cpu.State.Debug[DebugNumber(cpu, instruction.Op1Register)]);

    private static void WriteDebug(Processor cpu, in Instruction instruction)
    {
        int number = DebugNumber(cpu, instruction.Op0Register);
        uint value = cpu.ReadRegister(instruction.Op1Register);
        cpu.SetDebugRegister(number, number switch
        {
            6 => (value & 0xE00F) | 0xFFFF_0FF0,
            7 => (value & 0xFFFF_23FF) | 0x400,
            _ => value,
        });
    }

    private static void ClearTaskSwitched(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        cpu.SetCr0(cpu.State.Cr0 & ~Cr0.TaskSwitched);
    }

    private static void LoadMachineStatus(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        uint value = instruction.Op0Kind == OpKind.Register ? cpu.ReadRegister(instruction.Op0Register) : cpu.ReadMemory<ushort>(instruction);
        uint kept = cpu.State.Cr0 & ~(Cr0.MonitorCoprocessor | Cr0.Emulation | Cr0.TaskSwitched);
        cpu.SetCr0(kept | (value & (Cr0.ProtectionEnable | Cr0.MonitorCoprocessor | Cr0.Emulation | Cr0.TaskSwitched)));
    }

    private static void StoreMachineStatus(Processor cpu, in Instruction instruction)
    {
        if (instruction.Op0Kind == OpKind.Register)
        {
            cpu.WriteRegister(instruction.Op0Register, cpu.State.Cr0);
        }
        else
        {
            cpu.WriteMemory(instruction, (ushort)cpu.State.Cr0);
        }
    }

    private static void LoadTable(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        uint linear = cpu.MemoryLinear(instruction, 6, false);
        uint limit = cpu.ReadLinear<ushort>(linear);
        uint address = cpu.ReadLinear<uint>(linear + 2);
        if (instruction.Code is Code.Lgdt_m1632_16 or Code.Lidt_m1632_16)
        {
            address &= 0x00FF_FFFF;
        }
        var table = new DescriptorTable { Base = address, Limit = limit };
        if (instruction.Mnemonic == Mnemonic.Lgdt)
        {
            cpu.State.Gdtr = table;
        }
        else
        {
            cpu.State.Idtr = table;
        }
    }

    private static void StoreTable(Processor cpu, in Instruction instruction)
    {
        DescriptorTable table = instruction.Mnemonic == Mnemonic.Sgdt ? cpu.State.Gdtr : cpu.State.Idtr;
        uint linear = cpu.MemoryLinear(instruction, 6, true);
        cpu.ProbeWrite(linear, 6);
        cpu.WriteLinear(linear, (ushort)table.Limit);
        cpu.WriteLinear(linear + 2, table.Base);
    }

    private static ushort ReadSelector(Processor cpu, in Instruction instruction) => instruction.Op0Kind == OpKind.Register
        ? (ushort)cpu.ReadRegister(instruction.Op0Register)
        : cpu.ReadMemory<ushort>(instruction);

    private static void StoreSelector(Processor cpu, in Instruction instruction, ushort selector)
    {
        cpu.RequireDescriptors();
        if (instruction.Op0Kind == OpKind.Register)
        {
            cpu.WriteRegister(instruction.Op0Register, selector);
        }
        else
        {
            cpu.WriteMemory(instruction, selector);
        }
    }

    private static void LoadLocalTable(Processor cpu, in Instruction instruction)
    {
        cpu.RequireDescriptors();
        cpu.RequireRing0();
        ushort selector = ReadSelector(cpu, instruction);
        if ((selector & 0xFFFC) == 0)
        {
            cpu.State.Ldtr = new Segment { Selector = selector };
            return;
        }
        const int localTable = 2;
        Processor.Descriptor descriptor = ReadSystemDescriptor(cpu, selector);
        if (descriptor.IsCodeOrData || descriptor.SystemType != localTable)
        {
            throw cpu.Fault(Vector.GeneralProtection, selector & 0xFFFCu);
        }
        if (!descriptor.Present)
        {
            throw cpu.Fault(Vector.SegmentNotPresent, selector & 0xFFFCu);
        }
        cpu.State.Ldtr = descriptor.ToSegment(selector);
    }

    private static void LoadTask(Processor cpu, in Instruction instruction)
    {
        cpu.RequireDescriptors();
        cpu.RequireRing0();
        ushort selector = ReadSelector(cpu, instruction);
        if ((selector & 0xFFFC) == 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        const int available16 = 1;
        const int available32 = 9;
        const uint busy = 0x200;
        Processor.Descriptor descriptor = ReadSystemDescriptor(cpu, selector);
        if (descriptor.IsCodeOrData || descriptor.SystemType is not (available16 or available32))
        {
            throw cpu.Fault(Vector.GeneralProtection, selector & 0xFFFCu);
        }
        if (!descriptor.Present)
        {
            throw cpu.Fault(Vector.SegmentNotPresent, selector & 0xFFFCu);
        }
        cpu.WriteSystem(cpu.State.Gdtr.Base + (selector & 0xFFF8u) + 4, descriptor.High | busy);
        cpu.State.TaskRegister = descriptor.ToSegment(selector);
    }

    private static Processor.Descriptor ReadSystemDescriptor(Processor cpu, ushort selector) =>
        (selector & 4) == 0 ? cpu.ReadDescriptor(selector) : throw cpu.Fault(Vector.GeneralProtection, selector & 0xFFFCu);

    private static void InvalidatePage(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        uint offset = cpu.MemoryOffset(instruction);
        cpu.CurrentAddressSpace.FlushPage(cpu.State.Segments[(int)Processor.MemorySegment(instruction)].Base + offset);
    }

    private static void Halt(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        cpu.Halt();
    }

    private static void ReadTimeStamp(Processor cpu, in Instruction instruction)
    {
        if ((cpu.State.Cr4 & Cr4.TimeStampDisable) != 0)
        {
            cpu.RequireRing0();
        }
        SetEdxEax(cpu, cpu.TimeStampCounter);
    }

    internal static void SetEdxEax(Processor cpu, ulong value)
    {
        cpu.State.General[(int)Register32.Eax] = (uint)value;
        cpu.State.General[(int)Register32.Edx] = (uint)(value >> 32);
    }

    private static void SystemEnter(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref cpu.State;
        if (cpu.InRealMode || (state.SysenterCs & 0xFFFC) == 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        state.SystemFlags &= ~(Eflags.Interrupt | Eflags.Virtual8086);
        LoadFlat(cpu, SegmentName.CS, (ushort)(state.SysenterCs & 0xFFFC), code: true, ring: 0);
        LoadFlat(cpu, SegmentName.SS, (ushort)((state.SysenterCs & 0xFFFC) + 8), code: false, ring: 0);
        state.General[(int)Register32.Esp] = state.SysenterEsp;
        cpu.SetPrivilegeLevel(0);
        cpu.NextEip = state.SysenterEip;
    }

    private static void SystemExit(Processor cpu, in Instruction instruction)
    {
        cpu.RequireRing0();
        ref CpuState state = ref cpu.State;
        if (cpu.InRealMode || (state.SysenterCs & 0xFFFC) == 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        LoadFlat(cpu, SegmentName.CS, (ushort)(((state.SysenterCs & 0xFFFC) + 16) | 3), code: true, ring: 3);
        LoadFlat(cpu, SegmentName.SS, (ushort)(((state.SysenterCs & 0xFFFC) + 24) | 3), code: false, ring: 3);
        state.General[(int)Register32.Esp] = state.General[(int)Register32.Ecx];
        cpu.NextEip = state.General[(int)Register32.Edx];
        cpu.SetPrivilegeLevel(3);
    }

    /// <summary>What SYSENTER and SYSEXIT make of CS and SS, whatever the GDT says (Intel SDM volume 2).</summary>
    internal static uint FlatAttributes(bool code, int ring) => (code ? 0x00C0_9B00u : 0x00C0_9300u) | ((uint)ring << 13);

    private static void LoadFlat(Processor cpu, SegmentName name, ushort selector, bool code, int ring) => cpu.SetSegment(name, new Segment
    {
        Selector = selector,
        Limit = 0xFFFF_FFFF,
        Attributes = FlatAttributes(code, ring),
    });
}
