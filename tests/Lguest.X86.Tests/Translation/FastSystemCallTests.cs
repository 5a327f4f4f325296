// SYSENTER and SYSEXIT are done in place as long as only the ring changes. So a program makes many system calls, and before it returns its
// kernel does each time something that the next crossing must not overlook: it changes one of the three registers that say where the
// kernel is, or the flag that makes ring 3 ask for alignment, or leaves the x87 with selectors to note. Nobody may see a difference to
// one instruction at a time.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.SystemLevel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares fast system calls with the reference path.</summary>
public sealed class FastSystemCallTests
{
    private const int Calls = 80;
    // Not in the same place of the jump cache as the program.
    private const uint Kernel = 0x1_8100;
    private const uint Changes = 0x3_0000;
    private const uint BytesOfChange = 16;
    private const uint Environments = 0x3_8000;
    private const uint Numbers = SystemMachine.Data + 0x100;
    private const uint SysenterCs = 0x174;
    private const uint SysenterEsp = 0x175;
    private const uint SysenterEip = 0x176;

    /// <summary>What a kernel does at one call, as bits.</summary>
    [Flags]
    private enum Deeds : uint
    {
        None,
        SetAlignmentCheck = 1,
        ClearAlignmentCheck = 2,
        UseX87 = 4,
        StoreEnvironment = 8,
        LoadCr3 = 16,
    }

    [Fact]
    public void TheyDoWhatTheReferencePathDoes() => ReferenceComparison.Compare("fast system calls", Run);

    /// <summary>An interrupt that waited while the kernel forbade it comes with the STI before the return.</summary>
    [Fact]
    public void AWaitingInterruptComesBeforeTheProgramGoesOn()
    {
        const byte vector = 0x44;
        using var m = new SystemMachine(paging: true);
        m.State.SysenterCs = SystemMachine.Free;
        m.State.SysenterEsp = SystemMachine.Stack0;
        m.State.SysenterEip = Kernel;
        m.Assemble(SystemMachine.Code, static a => a.sysenter());
        m.Assemble(Kernel, a =>
        {
            Label goOn = a.CreateLabel();
            a.mov(edx, SystemMachine.Code);
            a.mov(ecx, SystemMachine.Stack);
            a.dec(esi);
            a.jnz(goOn);
            a.hlt();
            a.Label(ref goOn);
            a.sti();
            a.sysexit();
        });
        m.Enter(3);
        m[Register32.Esi] = Calls;
        m.State.Eip = SystemMachine.Code;
        Assert.Equal(ExitKind.Halt, m.Processor.Run().Kind);
        m.Processor.RequestInterrupt(vector);
        m[Register32.Esi] = Calls;
        m.State.Eip = Kernel;
        Assert.Equal(vector, m.Continue());
        Assert.Equal((SystemMachine.Code, SystemMachine.Free + 19u, (uint)Calls - 1), (m.Frame(0), m.Frame(1), m[Register32.Esi]));
    }

    [Fact]
    public void WhatOnlyTheKernelMayReadStaysItsOwn()
    {
        const uint secret = 0x4_0000;
        // In the program's page, so that both find it mapped as it was.
        const uint kernel = SystemMachine.Code + 0x100;
        using var m = new SystemMachine(paging: true);
        m.Map(secret, secret, SystemMachine.Present | SystemMachine.Writable);
        m.State.SysenterCs = SystemMachine.Free;
        m.State.SysenterEsp = SystemMachine.Stack0;
        m.State.SysenterEip = kernel;
        m.Assemble(kernel, static a =>
        {
            Label goOn = a.CreateLabel();
            a.inc(__dword_ptr[secret]);
            a.cmp(__dword_ptr[secret], Calls);
            a.jb(goOn);
            a.hlt();
            a.Label(ref goOn);
            a.mov(edx, SystemMachine.Code);
            a.mov(ecx, SystemMachine.Stack);
            a.sysexit();
        });
        m.Enter(3);
        m[Register32.Esi] = Calls;
        m[Register32.Ebx] = SystemMachine.Data;
        m[Register32.Edi] = secret;
        byte vector = m.Run(static a =>
        {
            a.dec(esi);
            a.cmovz(ebx, edi);
            a.mov(eax, __dword_ptr[ebx]);
            a.sysenter();
        });
        Assert.Equal((Vector.PageFault, secret, (uint)Calls - 1), (vector, m.State.Cr2, m.Memory.Read<uint>(secret)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void OnlyRing0Leaves(int ring)
    {
        using var m = new SystemMachine(paging: true);
        m.State.SysenterCs = SystemMachine.Free;
        m.Enter(ring);
        Assert.Equal(Vector.GeneralProtection, m.Run(static a => a.sysexit()));
        Assert.Equal((0u, SystemMachine.Code), (m.Frame(0), m.Frame(1)));
    }

    [Fact]
    public void AProgramThatIsNotThereFaultsInItsOwnRing()
    {
        const uint away = 0x4_0000;
        using var m = new SystemMachine(paging: true);
        m.Map(away, away, SystemMachine.Writable | SystemMachine.User);
        m.State.SysenterCs = SystemMachine.Code0;
        byte vector = m.Run(static a =>
        {
            a.mov(edx, away);
            a.mov(ecx, SystemMachine.Stack);
            a.sysexit();
        });
        Assert.Equal((Vector.PageFault, away), (vector, m.State.Cr2));
        Assert.Equal((4u, away, SystemMachine.Code0 + 19u), (m.Frame(0), m.Frame(1), m.Frame(2)));
    }

    /// <summary>A kernel's CALL that is still open when it leaves for a program is no way back in for the program's RET.</summary>
    [Fact]
    public void AProgramDoesNotReturnIntoItsKernel()
    {
        const uint behindCall = Kernel + 5;
        using var m = new SystemMachine(paging: true);
        m.Map(Kernel, Kernel, SystemMachine.Present | SystemMachine.Writable);
        m.State.SysenterCs = SystemMachine.Free;
        m.State.SysenterEsp = SystemMachine.Stack0;
        m.State.SysenterEip = Kernel;
        m.Assemble(Kernel, static a =>
        {
            Label again = a.CreateLabel();
            Label called = a.CreateLabel();
            Label leave = a.CreateLabel();
            a.Label(ref again);
            a.call(called);
            a.inc(edi);
            a.jmp(again);
            a.Label(ref called);
            a.xor(esi, 1);
            a.jz(leave);
            a.ret();
            a.Label(ref leave);
            a.mov(ecx, ebx);
            a.add(ebx, 4);
            a.mov(edx, SystemMachine.Code);
            a.sysexit();
        });
        m.Assemble(SystemMachine.Code, static a =>
        {
            a.ret();
            a.sysenter();
        });
        // Where the program returns to: mostly to its own SYSENTER.
        for (uint i = 0; i <= Calls; i++)
        {
            m.Memory.Write(Changes + (i * 4), i < Calls ? SystemMachine.Code + 1 : behindCall);
        }
        m[Register32.Ebx] = Changes;
        m[Register32.Esi] = 0;
        m[Register32.Edi] = 0;
        m.State.Eip = Kernel;
        Assert.Equal((Vector.PageFault, behindCall, (uint)Calls + 1), (m.Continue(), m.State.Cr2, m[Register32.Edi]));
        Assert.Equal((5u, behindCall, SystemMachine.Free + 19u), (m.Frame(0), m.Frame(1), m.Frame(2)));
    }

    private static string Run(Engine engine, int seed)
    {
        var random = new Random(seed);
        using var m = new SystemMachine(engine, paging: true);
        m.State.SysenterCs = SystemMachine.Free + ((uint)random.Next(2) << 16);
        m.State.SysenterEsp = SystemMachine.Stack0;
        m.State.SysenterEip = Kernel;
        if (random.Next(2) == 0)
        {
            m.State.Cr0 |= Cr0.AlignmentMask;
        }
        WriteChanges(m, random);
        m.Assemble(Kernel, WriteKernel);
        m.Enter(3);
        m.State.SystemFlags |= Eflags.Interrupt;
        m[Register32.Ebx] = Changes;
        m[Register32.Edi] = Environments;
        m[Register32.Esi] = Calls;
        bool usesX87 = random.Next(2) == 0;
        m.Assemble(SystemMachine.Code, a =>
        {
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.mov(eax, __dword_ptr[SystemMachine.Data + 1]);
            a.imul(ebp, eax, 0x1003F);
            if (usesX87)
            {
                a.fild(__dword_ptr[Numbers]);
                a.fistp(__dword_ptr[Numbers + 4]);
            }
            a.cmp(ebp, edi);
            a.mov(edx, SystemMachine.Code);
            a.lea(ecx, __[esp - 4]);
            a.sysenter();
        });
        m.State.Eip = SystemMachine.Code;
        return ReferenceComparison.RunAndDescribe(m);
    }

    /// <summary>The kernel: ECX and EDX say where to go on. It writes a register, does its deeds, and counts the calls.</summary>
    private static void WriteKernel(Assembler a)
    {
        Label noRegister = a.CreateLabel();
        Label goOn = a.CreateLabel();
        a.pushfd();
        a.pop(__dword_ptr[edi]);
        a.mov(__word_ptr[edi + 4], ss);
        a.add(edi, 8);
        a.push(ecx);
        a.push(edx);
        a.mov(ecx, __dword_ptr[ebx]);
        a.test(ecx, ecx);
        a.je(noRegister);
        a.mov(eax, __dword_ptr[ebx + 4]);
        a.xor(edx, edx);
        a.wrmsr();
        a.Label(ref noRegister);
        a.mov(ebp, __dword_ptr[ebx + 8]);
        a.add(ebx, BytesOfChange);
        foreach ((Deeds deed, Action<Assembler> write) in new (Deeds, Action<Assembler>)[]
        {
            (Deeds.SetAlignmentCheck, a => { a.pushfd(); a.or(__dword_ptr[esp], (int)Eflags.AlignmentCheck); a.popfd(); }),
            (Deeds.ClearAlignmentCheck, a => { a.pushfd(); a.and(__dword_ptr[esp], unchecked((int)~Eflags.AlignmentCheck)); a.popfd(); }),
            (Deeds.UseX87, a => { a.fld1(); a.fstp(__dword_ptr[Numbers + 8]); }),
            (Deeds.StoreEnvironment, a => { a.fnstenv(__dword_ptr[edi]); a.add(edi, 28); }),
            (Deeds.LoadCr3, a => { a.mov(eax, cr3); a.mov(cr3, eax); }),
        })
        {
            Label not = a.CreateLabel();
            a.test(ebp, (uint)deed);
            a.je(not);
            write(a);
            a.Label(ref not);
        }
        a.pop(edx);
        a.pop(ecx);
        a.dec(esi);
        a.jnz(goOn);
        a.hlt();
        a.Label(ref goOn);
        a.sti();
        a.sysexit();
    }

    private static void WriteChanges(SystemMachine m, Random random)
    {
        for (uint i = 0; i < Calls; i++)
        {
            (uint register, uint value) = random.Next(60) switch
            {
                0 => (SysenterCs, (uint)random.Next(4)),
                1 or 2 or 3 => (SysenterCs, (uint)random.Next(8, 0x10000)),
                4 => (SysenterCs, 0x10000u),
                5 or 6 => (SysenterEsp, SystemMachine.Stack0 - ((uint)random.Next(64) * 4)),
                7 => (SysenterEip, Kernel),
                8 => (SysenterEip, Kernel + (uint)random.Next(3)),
                _ => (0u, 0u),
            };
            Deeds deeds = random.Next(8) switch
            {
                0 => Deeds.UseX87,
                1 => Deeds.StoreEnvironment,
                2 when random.Next(8) == 0 => Deeds.SetAlignmentCheck,
                3 => Deeds.ClearAlignmentCheck,
                4 => Deeds.LoadCr3,
                _ => Deeds.None,
            };
            m.Memory.Write(Changes + (i * BytesOfChange), register);
            m.Memory.Write(Changes + (i * BytesOfChange) + 4, value);
            m.Memory.Write(Changes + (i * BytesOfChange) + 8, (uint)deeds);
        }
    }
}
