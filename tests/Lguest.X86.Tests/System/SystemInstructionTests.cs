// The instructions of an operating system: control registers, tables, model-specific registers, ports, CPUID.

using System.Text;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class SystemInstructionTests
{
    [Fact]
    public void DescriptorTableRegistersAreStoredAndLoaded()
    {
        using var m = new SystemMachine();
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.sgdt(__fword_ptr[SystemMachine.Data]);
            a.sidt(__fword_ptr[SystemMachine.Data + 8]);
            a.mov(__word_ptr[SystemMachine.Data + 16], 0x123);
            a.mov(__dword_ptr[SystemMachine.Data + 18], unchecked((int)0x89AB_CDEF));
            a.lidt(__fword_ptr[SystemMachine.Data + 16]);
            a.hlt();
        }));
        Assert.Equal((0xFFF, SystemMachine.Gdt), (m.Memory.Read<ushort>(SystemMachine.Data), m.Memory.Read<uint>(SystemMachine.Data + 2)));
        Assert.Equal((0x7FF, SystemMachine.Idt), (m.Memory.Read<ushort>(SystemMachine.Data + 8), m.Memory.Read<uint>(SystemMachine.Data + 10)));
        Assert.Equal((0x123u, 0x89AB_CDEFu), (m.State.Idtr.Limit, m.State.Idtr.Base));
    }

    [Fact]
    public void LtrMarksTheTaskBusyAndRefusesABusyOne()
    {
        using var m = new SystemMachine();
        m.SetDescriptor(SystemMachine.Free, 0x9000, 0x67, 0x89, 0);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, (int)SystemMachine.Free);
            a.ltr(ax);
            a.str(ecx);
            a.hlt();
        }));
        Assert.Equal(0x8B, m.AccessByte(SystemMachine.Free));
        Assert.Equal((uint)SystemMachine.Free, m[Register32.Ecx]);
        Assert.Equal((0x9000u, 0x67u), (m.State.TaskRegister.Base, m.State.TaskRegister.Limit));
        Assert.Equal(Vector.GeneralProtection, m.RunAt(SystemMachine.Code));
        m.AssertFault(Vector.GeneralProtection, SystemMachine.Free, SystemMachine.Code + 5);
    }

    [Theory]
    [InlineData(false, 0, Vector.GeneralProtection, 0u)]
    [InlineData(false, SystemMachine.Data0, Vector.GeneralProtection, SystemMachine.Data0)]
    [InlineData(false, 0x4C, Vector.GeneralProtection, 0x4Cu)]
    [InlineData(false, 0x50, Vector.SegmentNotPresent, 0x50u)]
    [InlineData(true, SystemMachine.Task, Vector.GeneralProtection, SystemMachine.Task)]
    [InlineData(true, 0x44, Vector.GeneralProtection, 0x44u)]
    [InlineData(true, 0x58, Vector.SegmentNotPresent, 0x58u)]
    public void LtrAndLldtRefuseWrongDescriptors(bool local, int selector, byte vector, uint errorCode)
    {
        using var m = new SystemMachine();
        m.SetDescriptor(0x48, 0, 0x67, 0x89, 0);
        m.SetDescriptor(0x50, 0, 0x67, 0x09, 0);
        m.SetDescriptor(0x58, 0, 0x67, 0x02, 0);
        Assert.Equal(vector, m.Run(a =>
        {
            a.mov(eax, selector);
            if (local)
            {
                a.lldt(ax);
            }
            else
            {
                a.ltr(ax);
            }
        }));
        m.AssertFault(vector, errorCode, SystemMachine.Code + 5);
    }

    [Fact]
    public void ANullLdtIsAllowedAndEmpty()
    {
        using var m = new SystemMachine();
        m.State.Ldtr = m.DescriptorOf(SystemMachine.Local).ToSegment(SystemMachine.Local);
        m.SetDescriptor(0x0C, 0, 0xFFFFF, 0x93, 0xC);
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            a.mov(ebx, 0x0C);
            a.mov(ds, ebx);
            a.xor(eax, eax);
            a.lldt(ax);
            a.mov(es, ebx);
        }));
        m.AssertFault(Vector.GeneralProtection, 0x0C, SystemMachine.Code + 5 + 2 + 2 + 4);
    }

    [Fact]
    public void ControlRegistersKeepWhatExists()
    {
        using var m = new SystemMachine();
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, cr0);
            a.or(eax, (int)(Cr0.MonitorCoprocessor | Cr0.AlignmentMask | Cr0.WriteProtect | 0x0800_0000));
            a.and(eax, unchecked((int)~Cr0.ExtensionType));
            a.mov(cr0, eax);
            a.mov(ebx, cr0);
            a.mov(eax, 0x1234_5678);
            a.mov(cr2, eax);
            a.mov(ecx, cr2);
            a.mov(eax, (int)(Cr4.OsFxsr | Cr4.PageGlobalEnable));
            a.mov(cr4, eax);
            a.mov(edx, cr4);
            a.smsw(si);
            a.clts();
            a.hlt();
        }));
        Assert.Equal(
            Cr0.ProtectionEnable | Cr0.MonitorCoprocessor | Cr0.ExtensionType | Cr0.NumericError | Cr0.WriteProtect | Cr0.AlignmentMask,
            m[Register32.Ebx]);
        Assert.Equal((0x1234_5678u, Cr4.OsFxsr | Cr4.PageGlobalEnable), (m[Register32.Ecx], m[Register32.Edx]));
        Assert.Equal(0x33u, m[Register32.Esi]);
    }

    [Theory]
    [InlineData("paging without protection")]
    [InlineData("not write-through without cache disable")]
    [InlineData("cr4 reserved")]
    [InlineData("unknown msr")]
    [InlineData("unknown msr write")]
    public void ImpossibleControlValuesAreRefused(string what)
    {
        using var m = new SystemMachine();
        m[Register32.Ecx] = 0x1234_5678;
        Assert.Equal(Vector.GeneralProtection, m.Run(a =>
        {
            switch (what)
            {
                case "paging without protection":
                    a.mov(eax, unchecked((int)Cr0.Paging));
                    a.mov(cr0, eax);
                    break;
                case "not write-through without cache disable":
                    a.mov(eax, 0x2000_0031);
                    a.mov(cr0, eax);
                    break;
                case "cr4 reserved":
                    a.mov(eax, 0x2000);
                    a.mov(cr4, eax);
                    break;
                case "unknown msr":
                    a.mov(eax, 0);
                    a.rdmsr();
                    break;
                default:
                    a.mov(eax, 0);
                    a.wrmsr();
                    break;
            }
        }));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 5);
        Assert.Equal((Cr0.ProtectionEnable | Cr0.ExtensionType | Cr0.NumericError, 0u), (m.State.Cr0, m.State.Cr4));
    }

    [Theory]
    [InlineData(Cr0.TaskSwitched, 0u, "fld1", Vector.DeviceNotAvailable)]
    [InlineData(Cr0.Emulation, 0u, "fld1", Vector.DeviceNotAvailable)]
    [InlineData(Cr0.TaskSwitched, 0u, "wait", SystemMachine.Done)]
    [InlineData(Cr0.MonitorCoprocessor, 0u, "wait", SystemMachine.Done)]
    [InlineData(Cr0.TaskSwitched | Cr0.MonitorCoprocessor, 0u, "wait", Vector.DeviceNotAvailable)]
    [InlineData(Cr0.TaskSwitched, 0u, "emms", Vector.DeviceNotAvailable)]
    [InlineData(Cr0.Emulation, 0u, "emms", Vector.InvalidOpcode)]
    [InlineData(0u, 0u, "xorps", Vector.InvalidOpcode)]
    [InlineData(0u, Cr4.OsFxsr, "xorps", SystemMachine.Done)]
    [InlineData(Cr0.Emulation, Cr4.OsFxsr, "xorps", Vector.InvalidOpcode)]
    [InlineData(Cr0.TaskSwitched, Cr4.OsFxsr, "xorps", Vector.DeviceNotAvailable)]
    [InlineData(Cr0.TaskSwitched, 0u, "fxsave", Vector.DeviceNotAvailable)]
    [InlineData(Cr0.Emulation, 0u, "fxsave", Vector.DeviceNotAvailable)]
    [InlineData(0u, 0u, "ldmxcsr", Vector.InvalidOpcode)]
    public void TheFloatingPointUnitsObeyControlBits(uint cr0Bits, uint cr4Bits, string name, byte end)
    {
        using var m = new SystemMachine();
        m.State.Cr0 |= cr0Bits;
        m.State.Cr4 |= cr4Bits;
        m.Memory.Write(SystemMachine.Data, 0x1F80u);
        Assert.Equal(end, m.Run(a =>
        {
            switch (name)
            {
                case "fld1": a.fld1(); break;
                case "wait": a.wait(); break;
                case "emms": a.emms(); break;
                case "xorps": a.xorps(xmm0, xmm0); break;
                case "fxsave": a.fxsave(__[SystemMachine.Data]); break;
                default: a.ldmxcsr(__dword_ptr[SystemMachine.Data]); break;
            }
            a.hlt();
        }));
    }

    [Theory]
    [InlineData(0, true, SystemMachine.Done)]
    [InlineData(1, true, Vector.GeneralProtection)]
    [InlineData(3, true, Vector.GeneralProtection)]
    [InlineData(3, false, SystemMachine.Done)]
    public void TheTimeStampCounterCanBeReserved(int ring, bool reserved, byte end)
    {
        using var m = new SystemMachine();
        m.State.Cr4 = reserved ? Cr4.TimeStampDisable : 0;
        m.Enter(ring);
        Assert.Equal(end, m.Run(a =>
        {
            a.rdtsc();
            a.@int(SystemMachine.Done);
        }));
        if (end == SystemMachine.Done)
        {
            Assert.Equal((0x2345_6789u, 1u), (m[Register32.Eax], m[Register32.Edx]));
        }
    }

    [Fact]
    public void ModelSpecificRegistersKeepTheirValues()
    {
        using var m = new SystemMachine();
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            for (uint number = 0x174; number <= 0x176; number++)
            {
                a.mov(ecx, number);
                a.mov(eax, number * 3);
                a.wrmsr();
            }
            a.mov(ecx, 0x10);
            a.mov(eax, 5);
            a.mov(edx, 6);
            a.wrmsr();
            a.mov(ecx, 0x175);
            a.rdmsr();
            a.mov(ebx, eax);
            a.rdtsc();
            a.hlt();
        }));
        Assert.Equal((0x174u * 3, 0x175u * 3, 0x176u * 3), (m.State.SysenterCs, m.State.SysenterEsp, m.State.SysenterEip));
        Assert.Equal((0x175u * 3, 5u, 6u), (m[Register32.Ebx], m[Register32.Eax], m[Register32.Edx]));
    }

    [Fact]
    public void SysenterEntersRingZeroAndSysexitLeavesIt()
    {
        using var m = new SystemMachine();
        // SYSEXIT takes the four descriptors in a row: code 0, data 0, code 3, data 3.
        m.State.SysenterCs = SystemMachine.Free;
        m.State.SysenterEsp = SystemMachine.Stack0;
        m.State.SysenterEip = SystemMachine.Code + 0x100;
        m.Assemble(SystemMachine.Code + 0x100, a =>
        {
            a.mov(ebx, cs);
            a.mov(esi, ss);
            a.pushfd();
            a.pop(edi);
            a.mov(ecx, SystemMachine.Stack - 0x40);
            a.mov(edx, SystemMachine.Code + 0x200);
            a.sysexit();
        });
        m.Assemble(SystemMachine.Code + 0x200, a =>
        {
            a.mov(eax, cs);
            a.mov(ecx, ss);
            a.@int(SystemMachine.Done);
        });
        m.Enter(3);
        m.State.Eflags = Eflags.Interrupt | Eflags.AlwaysOne;
        Assert.Equal(SystemMachine.Done, m.Run(a => a.sysenter()));
        Assert.Equal((uint)SystemMachine.Free, m[Register32.Ebx]);
        Assert.Equal(SystemMachine.Free + 8u, m[Register32.Esi]);
        Assert.Equal(Eflags.AlwaysOne, m[Register32.Edi]);
        Assert.Equal((SystemMachine.Free + 16u) | 3, m[Register32.Eax]);
        Assert.Equal((SystemMachine.Free + 24u) | 3, m[Register32.Ecx]);
        Assert.Equal(SystemMachine.Stack - 0x40, m.Frame(3));
    }

    [Theory]
    [InlineData(0, 0u, 0x60, 4, SystemMachine.Done)]
    [InlineData(3, 3u, 0x60, 4, SystemMachine.Done)]
    [InlineData(3, 2u, 0x60, 1, Vector.GeneralProtection)]
    [InlineData(3, 0u, 0x40, 1, SystemMachine.Done)]
    [InlineData(3, 0u, 0x43, 1, SystemMachine.Done)]
    [InlineData(3, 0u, 0x44, 1, Vector.GeneralProtection)]
    [InlineData(3, 0u, 0x42, 2, SystemMachine.Done)]
    [InlineData(3, 0u, 0x43, 2, Vector.GeneralProtection)]
    [InlineData(3, 0u, 0x40, 4, SystemMachine.Done)]
    [InlineData(3, 0u, 0x41, 4, Vector.GeneralProtection)]
    [InlineData(3, 0u, 0x77, 1, SystemMachine.Done)]
    [InlineData(3, 0u, 0x78, 1, Vector.GeneralProtection)]
    [InlineData(1, 0u, 0x400, 1, Vector.GeneralProtection)]
    public void PortsNeedIoPrivilegeOrTheBitmap(int ring, uint ioPrivilege, int port, int size, byte end)
    {
        using var m = new SystemMachine();
        m.State.TaskRegister.Limit = 0x68 + 15;
        m.Memory.Write(SystemMachine.Tss + 0x66, (ushort)0x68);
        for (uint i = 0; i < 16; i++)
        {
            m.Memory.Write(SystemMachine.Tss + 0x68 + i, (byte)(i switch { 8 => 0xF0, 14 => 0, _ => 0xFF }));
        }
        m.Enter(ring);
        m.State.Eflags = ioPrivilege << 12;
        Assert.Equal(end, m.Run(a =>
        {
            a.mov(edx, port);
            switch (size)
            {
                case 1: a.@in(al, dx); break;
                case 2: a.@in(ax, dx); break;
                default: a.@in(eax, dx); break;
            }
            a.@int(SystemMachine.Done);
        }));
        if (end == SystemMachine.Done)
        {
            Assert.Equal(size switch { 1 => 0xFFu, 2 => 0xFFFFu, _ => 0xFFFF_FFFF }, m[Register32.Eax]);
        }
        else
        {
            m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code + 5);
        }
    }

    [Fact]
    public void StringPortsMoveTheirPointers()
    {
        using var m = new SystemMachine();
        m.Memory.Write(SystemMachine.Data + 12, 0x1234_5678u);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(edi, SystemMachine.Data);
            a.mov(ecx, 3);
            a.rep.insd();
            a.mov(ecx, 4);
            a.mov(esi, SystemMachine.Data);
            a.rep.outsw();
            a.hlt();
        }));
        Assert.Equal((0u, SystemMachine.Data + 12, SystemMachine.Data + 8), (m[Register32.Ecx], m[Register32.Edi], m[Register32.Esi]));
        Assert.Equal((0xFFFF_FFFFu, 0x1234_5678u), (m.Memory.Read<uint>(SystemMachine.Data + 8), m.Memory.Read<uint>(SystemMachine.Data + 12)));
    }

    private static (uint Eax, uint Ebx, uint Ecx, uint Edx) Identify(uint leaf, bool hostRing = true)
    {
        using var m = new SystemMachine(hostRing: hostRing);
        m.Enter(3);
        m.Run(a =>
        {
            a.mov(eax, leaf);
            a.cpuid();
            a.@int(SystemMachine.Done);
        });
        return (m[Register32.Eax], m[Register32.Ebx], m[Register32.Ecx], m[Register32.Edx]);
    }

    private static string Text(params uint[] words) => Encoding.ASCII.GetString([.. words.SelectMany(BitConverter.GetBytes)]);

    [Fact]
    public void CpuidNamesWhatThereIs()
    {
        (uint highest, uint b, uint c, uint d) = Identify(0);
        Assert.Equal((1u, "GenuineIntel"), (highest, Text(b, d, c)));
        (_, _, c, d) = Identify(1);
        Assert.Equal(0x8000_0000u, c);
        // FPU DE PSE TSC MSR CX8 SEP PGE CMOV CLFSH MMX FXSR SSE SSE2, and neither PAE, APIC, MTRR nor VME.
        Assert.Equal(0x0788_A93Du, d);
        Assert.Equal(Identify(1), Identify(2));
        Assert.Equal(Identify(1), Identify(0x1234_5678));
        (highest, b, c, d) = Identify(0x4000_0000);
        Assert.Equal((0x4000_0000u, "lguest.NET  "), (highest, Text(b, c, d)));
        Assert.Equal((0x8000_0004u, 0u, 0u, 0u), Identify(0x8000_0000));
        Assert.Equal((0u, 0u, 0u, 0u), Identify(0x8000_0001));
        var brand = new StringBuilder();
        for (uint leaf = 0x8000_0002; leaf <= 0x8000_0004; leaf++)
        {
            (uint w, uint x, uint y, uint z) = Identify(leaf);
            brand.Append(Text(w, x, y, z));
        }
        Assert.Equal("lguest for .NET virtual processor", brand.ToString().TrimEnd());
        Assert.Equal(Identify(1), Identify(0x8000_0005));
    }

    [Fact]
    public void CpuidTellsAKernelInRing0OfMore()
    {
        Assert.Equal(Identify(0) with { Eax = 0x16 }, Identify(0, hostRing: false));
        (uint signature, _, uint c, uint d) = Identify(1, hostRing: false);
        // An Atom, since kernels know that those do not speculate; and PAE.
        Assert.Equal((0x0001_06CAu, 0x8000_0000u, 0x0788_A97Du), (signature, c, d));
        Assert.Equal((0x8000_0008u, 0u, 0u, 0u), Identify(0x8000_0000, hostRing: false));
        Assert.Equal((0u, 0u, 0u, 1u << 20), Identify(0x8000_0001, hostRing: false));
        Assert.Equal((0u, 0u, 0u, 1u << 8), Identify(0x8000_0007, hostRing: false));
        Assert.Equal((0x2020u, 0u, 0u, 0u), Identify(0x8000_0008, hostRing: false));
        Assert.Equal(Identify(0x16, hostRing: false), Identify(0x8000_0009, hostRing: false));
        // The time-stamp counter: it can be asked whether somebody has moved it, and counts nanoseconds.
        Assert.Equal((0u, 2u, 0u, 0u), Identify(7, hostRing: false));
        Assert.Equal((1u, 1u, 1_000_000_000u, 0u), Identify(0x15, hostRing: false));
        Assert.Equal((1000u, 1000u, 100u, 0u), Identify(0x16, hostRing: false));
    }

    [Theory]
    [InlineData(0x17u, 0u, 0u)]
    [InlineData(0x8Bu, 0u, 0u)]
    [InlineData(0x3Bu, 0u, 0u)]
    [InlineData(0x1A0u, 0x1801u, 0u)]
    [InlineData(0xC000_0080u, 0u, 0u)]
    public void RegistersThatKernelsReadWithoutAskingAreThere(uint number, uint low, uint high)
    {
        using var m = new SystemMachine();
        m[Register32.Ecx] = number;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.rdmsr();
            a.hlt();
        }));
        Assert.Equal((low, high), (m[Register32.Eax], m[Register32.Edx]));
    }

    [Theory]
    [InlineData(0x8Bu, 0xFFFF_FFFFu, 0xFFFF_FFFFu, 0u)]
    [InlineData(0x3Bu, 0xFFFF_FFFFu, 0u, 0xFFFF_FFFFu)]
    [InlineData(0x1A0u, 0x40_0000u, 4u, 0x40_1800u)]
    [InlineData(0xC000_0080u, 0x800u, 0u, 0x800u)]
    public void WhatIsWrittenToThemIsKeptAsFarAsItExists(uint number, uint low, uint high, uint kept)
    {
        using var m = new SystemMachine();
        m[Register32.Ecx] = number;
        m[Register32.Eax] = low;
        m[Register32.Edx] = high;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.wrmsr();
            a.rdmsr();
            a.hlt();
        }));
        Assert.Equal((kept, 0u), (m[Register32.Eax], m[Register32.Edx]));
    }

    [Theory]
    [InlineData(0x801u, 0u)]
    [InlineData(0x900u, 0u)]
    [InlineData(0x800u, 1u)]
    public void EferRefusesWhatBelongsToLongMode(uint low, uint high)
    {
        using var m = new SystemMachine();
        m[Register32.Ecx] = 0xC000_0080;
        m[Register32.Eax] = low;
        m[Register32.Edx] = high;
        Assert.Equal(Vector.GeneralProtection, m.Run(a => a.wrmsr()));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code);
        Assert.Equal(0u, m.State.Efer);
    }

    [Fact]
    public void AnInstructionOfMoreThanFifteenBytesFaults()
    {
        using var m = new SystemMachine();
        byte[] code = new byte[16];
        code.AsSpan().Fill(0x66);
        code[15] = 0x90;
        m.Memory.Write(SystemMachine.Code, code);
        Assert.Equal(Vector.GeneralProtection, m.RunAt(SystemMachine.Code));
        m.AssertFault(Vector.GeneralProtection, 0, SystemMachine.Code);
    }
}
