// Single-stepping, breakpoints and watchpoints (Intel SDM volume 3, chapter 17).

using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class DebugTests
{
    private const uint SingleStep = 0x4000;
    private const uint Handler = SystemMachine.Code + 0x800;
    private const uint Log = 0x30_0000;

    /// <summary>A machine whose #DB handler in ring 1 writes EIP and DR6 of each exception to a log and goes on.</summary>
    private static SystemMachine Logging(int ring)
    {
        var m = new SystemMachine();
        m.SetGate(Vector.Debug, SystemMachine.Code0, Handler);
        m.Assemble(Handler, a =>
        {
            a.push(eax);
            a.push(ebx);
            a.mov(ebx, __dword_ptr[Log]);
            a.mov(eax, __dword_ptr[esp + 8]);
            a.mov(__dword_ptr[ebx + Log + 4], eax);
            a.mov(eax, dr6);
            a.mov(__dword_ptr[ebx + Log + 8], eax);
            a.mov(eax, 0);
            a.mov(dr6, eax);
            a.add(__dword_ptr[Log], 8);
            a.or(__dword_ptr[esp + 16], (int)Eflags.Resume);
            a.pop(ebx);
            a.pop(eax);
            a.iretd();
        });
        m.Enter(ring);
        return m;
    }

    private static (uint Eip, uint Reason)[] Logged(SystemMachine m)
    {
        var entries = new (uint, uint)[m.Memory.Read<uint>(Log) / 8];
        for (uint i = 0; i < entries.Length; i++)
        {
            entries[i] = (m.Memory.Read<uint>(Log + 4 + (i * 8)), m.Memory.Read<uint>(Log + 8 + (i * 8)) & 0xE00F);
        }
        return entries;
    }

    [Fact]
    public void SteppingStopsBehindEachInstruction()
    {
        using SystemMachine m = Logging(3);
        uint at = SystemMachine.Code;
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.pushfd();
            a.or(__dword_ptr[esp], (int)Eflags.Trap);
            a.popfd();
            a.nop();
            a.inc(ecx);
            a.push(2);
            a.popfd();
            a.nop();
            a.@int(SystemMachine.Done);
        }));
        at += 1 + 7 + 1;
        Assert.Equal(
            [(at + 1, SingleStep), (at + 2, SingleStep), (at + 4, SingleStep), (at + 5, SingleStep)],
            Logged(m));
    }

    [Fact]
    public void IretCanBeginAStep()
    {
        using SystemMachine m = Logging(0);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.push((int)(Eflags.Trap | Eflags.AlwaysOne));
            a.push((int)SystemMachine.Code0);
            a.push((int)(SystemMachine.Code + 0x100));
            m.Assemble(SystemMachine.Code + 0x100, b =>
            {
                b.nop();
                b.push(2);
                b.popfd();
                b.hlt();
            });
            a.iretd();
        }));
        const uint at = SystemMachine.Code + 0x100;
        Assert.Equal([(at + 1, SingleStep), (at + 3, SingleStep), (at + 4, SingleStep)], Logged(m));
    }

    [Fact]
    public void ASoftwareInterruptIsNotStepped()
    {
        using SystemMachine m = Logging(3);
        m.SetGate(0x80, SystemMachine.Code0, SystemMachine.Code + 0x400, 0xF, 3);
        m.Assemble(SystemMachine.Code + 0x400, a =>
        {
            a.nop();
            a.iretd();
        });
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.push((int)(Eflags.Trap | Eflags.AlwaysOne));
            a.popfd();
            a.@int(0x80);
            a.nop();
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal([(SystemMachine.Code + 5 + 1 + 2 + 1, SingleStep)], Logged(m));
    }

    [Fact]
    public void AStepOverAMoveToSsIncludesTheNextInstruction()
    {
        using SystemMachine m = Logging(3);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, ss);
            a.push((int)(Eflags.Trap | Eflags.AlwaysOne));
            a.popfd();
            a.mov(ss, eax);
            a.nop();
            a.nop();
            a.@int(SystemMachine.Done);
        }));
        const uint at = SystemMachine.Code + 2 + 5 + 1 + 2;
        Assert.Equal([(at + 1, SingleStep), (at + 2, SingleStep)], Logged(m));
    }

    [Fact]
    public void ARepeatedInstructionIsSteppedElementByElement()
    {
        using SystemMachine m = Logging(3);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(ecx, 3);
            a.mov(edi, SystemMachine.Data);
            a.push((int)(Eflags.Trap | Eflags.AlwaysOne));
            a.popfd();
            a.rep.stosd();
            a.push(2);
            a.popfd();
            a.@int(SystemMachine.Done);
        }));
        const uint at = SystemMachine.Code + 5 + 5 + 5 + 1;
        Assert.Equal(
            [(at, SingleStep), (at, SingleStep), (at + 2, SingleStep), (at + 4, SingleStep), (at + 5, SingleStep)],
            Logged(m));
    }

    [Fact]
    public void AFaultingInstructionIsNotStepped()
    {
        using SystemMachine m = Logging(3);
        Assert.Equal(Vector.InvalidOpcode, m.Run(a =>
        {
            a.push((int)(Eflags.Trap | Eflags.AlwaysOne));
            a.popfd();
            a.ud2();
        }));
        Assert.Empty(Logged(m));
        Assert.Equal(Eflags.Trap | Eflags.AlwaysOne | Eflags.Resume, m.Frame(2));
    }

    private static void Arm(SystemMachine m, int number, uint address, uint kind, uint length)
    {
        m.Processor.SetDebugRegister(number, address);
        uint control = m.State.Debug[7] | (2u << (number * 2)) | (kind << (16 + (number * 4))) | (length << (18 + (number * 4)));
        m.Processor.SetDebugRegister(7, control);
    }

    [Fact]
    public void ABreakpointStopsBeforeItsInstructionOnce()
    {
        using SystemMachine m = Logging(3);
        const uint at = SystemMachine.Code + 1;
        Arm(m, 2, at, 0, 0);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.nop();
            a.inc(ecx);
            a.cmp(ecx, 3);
            a.jne(at);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal([(at, 4u), (at, 4u), (at, 4u)], Logged(m));
        Assert.Equal(3u, m[Register32.Ecx]);
    }

    [Fact]
    public void ABreakpointLeavesResumeToItsHandlerAndFaultsDoNot()
    {
        using var m = new SystemMachine();
        Arm(m, 0, SystemMachine.Code, 0, 0);
        Assert.Equal(Vector.Debug, m.Run(a => a.nop()));
        Assert.Equal(0u, m.Frame(2) & Eflags.Resume);
        m.Enter(0);
        Arm(m, 0, SystemMachine.Data, 0, 0);
        Assert.Equal(Vector.InvalidOpcode, m.Run(a => a.ud2()));
        Assert.Equal(Eflags.Resume, m.Frame(2) & Eflags.Resume);
    }

    [Fact]
    public void ABreakpointOnARepeatedInstructionStopsOnce()
    {
        using SystemMachine m = Logging(3);
        const uint at = SystemMachine.Code + 15;
        Arm(m, 1, at, 0, 0);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(edi, SystemMachine.Data);
            a.mov(ecx, 10_000);
            a.mov(eax, 1);
            a.rep.stosb();
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal([(at, 2u)], Logged(m));
        Assert.Equal(0u, m[Register32.Ecx]);
    }

    [Theory]
    [InlineData(1u, 3u, SystemMachine.Data + 4, false, true)]
    [InlineData(1u, 3u, SystemMachine.Data + 4, true, false)]
    [InlineData(3u, 3u, SystemMachine.Data + 4, true, true)]
    [InlineData(3u, 0u, SystemMachine.Data + 7, true, true)]
    [InlineData(3u, 0u, SystemMachine.Data + 8, true, false)]
    [InlineData(1u, 1u, SystemMachine.Data + 2, false, false)]
    public void AWatchpointStopsBehindTheAccess(uint kind, uint length, uint address, bool read, bool hit)
    {
        using SystemMachine m = Logging(3);
        // The page is known to the TLB before the watchpoint is armed.
        m.Run(a =>
        {
            a.mov(__dword_ptr[SystemMachine.Data + 4], ecx);
            a.@int(SystemMachine.Done);
        });
        m.Enter(3);
        Arm(m, 3, address, kind, length);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.nop();
            if (read)
            {
                a.mov(ecx, __dword_ptr[SystemMachine.Data + 4]);
            }
            else
            {
                a.mov(__dword_ptr[SystemMachine.Data + 4], ecx);
            }
            a.nop();
            a.@int(SystemMachine.Done);
        }));
        (uint, uint)[] expected = hit ? [(SystemMachine.Code + 7, 8u)] : [];
        Assert.Equal(expected, Logged(m));
    }

    [Fact]
    public void AWatchpointSeesStringsPushesAndPops()
    {
        using SystemMachine m = Logging(3);
        Arm(m, 0, SystemMachine.Data + 0x20, 1, 3);
        Arm(m, 1, SystemMachine.Stack - 4, 3, 3);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(edi, SystemMachine.Data);
            a.mov(ecx, 16);
            a.rep.stosd();
            a.push(eax);
            a.pop(eax);
            a.@int(SystemMachine.Done);
        }));
        Assert.Equal([(SystemMachine.Code + 12, 1u), (SystemMachine.Code + 13, 2u), (SystemMachine.Code + 14, 2u)], Logged(m));
    }

    [Fact]
    public void DisarmingStopsTheStops()
    {
        using SystemMachine m = Logging(0);
        Arm(m, 0, SystemMachine.Data, 1, 3);
        Assert.Equal(SystemMachine.Done, m.Run(a =>
        {
            a.mov(__dword_ptr[SystemMachine.Data], ecx);
            a.mov(eax, 0x400);
            a.mov(dr7, eax);
            a.mov(__dword_ptr[SystemMachine.Data], ecx);
            a.hlt();
        }));
        Assert.Equal([(SystemMachine.Code + 6, 1u)], Logged(m));
    }

    [Fact]
    public void GeneralDetectGuardsTheDebugRegisters()
    {
        using var m = new SystemMachine();
        Assert.Equal(Vector.Debug, m.Run(a =>
        {
            a.mov(eax, 0x2400);
            a.mov(dr7, eax);
            a.mov(ebx, dr0);
        }));
        m.AssertFault(Vector.Debug, null, SystemMachine.Code + 8);
        Assert.Equal(0x2000u, m.State.Debug[6] & 0xE00F);
        Assert.Equal(0x400u, m.State.Debug[7]);
        Assert.Equal(Eflags.Resume, m.Frame(2) & Eflags.Resume);
    }

    [Fact]
    public void DebugRegistersKeepTheirFixedBits()
    {
        using var m = new SystemMachine();
        m.Run(a =>
        {
            a.mov(eax, 0xFFFF_FFFF);
            a.mov(dr0, eax);
            a.mov(dr6, eax);
            a.mov(ebx, dr0);
            a.mov(ecx, dr6);
            a.xor(eax, eax);
            a.mov(dr6, eax);
            a.mov(edx, dr6);
            a.mov(eax, unchecked((int)0xFFFF_DC00));
            a.mov(dr7, eax);
            a.mov(esi, dr7);
            a.mov(eax, 0);
            a.mov(dr7, eax);
            a.mov(edi, dr7);
            a.hlt();
        });
        Assert.Equal((0xFFFF_FFFFu, 0xFFFF_EFFFu, 0xFFFF_0FF0u), (m[Register32.Ebx], m[Register32.Ecx], m[Register32.Edx]));
        Assert.Equal((0xFFFF_0400u, 0x400u), (m[Register32.Esi], m[Register32.Edi]));
    }

    [Theory]
    [InlineData(false, 5)]
    [InlineData(true, 5)]
    [InlineData(true, 4)]
    public void DebugExtensionsTakeTheAliasesAway(bool extensions, int number)
    {
        using var m = new SystemMachine();
        m.State.Cr4 = extensions ? Cr4.DebuggingExtensions : 0;
        Assert.Equal(extensions ? Vector.InvalidOpcode : SystemMachine.Done, m.Run(a =>
        {
            a.mov(eax, number == 4 ? dr4 : dr5);
            a.hlt();
        }));
        if (!extensions)
        {
            Assert.Equal(m.State.Debug[7], m[Register32.Eax]);
        }
    }
}
