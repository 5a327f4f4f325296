// ABI 7: what becomes of each trap, gates, direct delivery, port access.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi07TrapTests
{
    private const uint HandlerVirtual = TestGuest.PageOffset + TestGuest.Handler;

    /// <summary>Runs a kernel program whose gate for a vector stops with the frame in the scratch page.</summary>
    private static TestGuest Trapping(uint vector, uint type, Action<Assembler> program, uint privilegeLevel = 0)
    {
        var guest = new TestGuest();
        guest.PrepareData().PrepareGdt();
        guest.Place(TestGuest.Handler, HandlerVirtual, a => SaveFrame(a, vector));
        guest.Program(a =>
        {
            a.Begin();
            a.PrepareUser();
            a.LoadGate(vector, type, privilegeLevel);
            program(a);
            a.Stop(0xBAD);
        });
        return guest;
    }

    private static void SaveFrame(Assembler a, uint mark)
    {
        for (uint i = 0; i < 6; i++)
        {
            a.mov(eax, __dword_ptr[esp + (int)(i * 4)]);
            a.Save(eax, TestGuest.Scratch + (i * 4));
        }
        a.Stop(mark);
    }

    private static uint[] Frame(TestGuest guest) => Enumerable.Range(0, 6).Select(i => guest.Word(TestGuest.Scratch + ((uint)i * 4))).ToArray();

    [Theory]
    [InlineData(0xEu)]
    [InlineData(0xFu)]
    public void Abi_7_1_DivideError_IsReflected_OrDirect(uint type)
    {
        using TestGuest guest = Trapping(0, type, a =>
        {
            a.xor(ecx, ecx);
            a.div(ecx);
        });
        Assert.Equal(0u, guest.RunToStop());
        Assert.Equal(0x61u, Frame(guest)[1]);
        Assert.Equal(type == 0xE ? 1 : 0, guest.Device.Statistics!.ExitsByTrap[0]);
    }

    [Fact]
    public void Abi_7_1_InvalidOpcode_IsReflectedAtItsAddress()
    {
        Label here = default;
        using TestGuest guest = Trapping(6, 0xE, a =>
        {
            here = a.CreateLabel();
            a.Label(ref here);
            a.ud2();
        });
        Assert.Equal(6u, guest.RunToStop());
        Assert.Equal(0x0B0F, guest.Memory.Read<ushort>(Frame(guest)[0] - TestGuest.PageOffset));
    }

    [Fact]
    public void Abi_7_4_Breakpoint_ThroughAnInterruptGate_ArrivesAsBreakpoint()
    {
        using TestGuest guest = Trapping(3, 0xE, a => a.int3(), privilegeLevel: 3);
        Assert.Equal(3u, guest.RunToStop());
        Assert.Equal(0xCC, guest.Memory.Read<byte>(Frame(guest)[0] - TestGuest.PageOffset - 1));
    }

    [Fact]
    public void Abi_7_4_Breakpoint_ThroughAGateOfRing0_IsAGeneralProtection()
    {
        using TestGuest guest = Trapping(13, 0xE, a =>
        {
            a.LoadGate(3, 0xE);
            a.int3();
        });
        Assert.Equal(13u, guest.RunToStop());
        Assert.Equal(0x1Au, Frame(guest)[0]);
    }

    [Fact]
    public void Abi_7_1_UnhandledTrap_Kills()
    {
        using var guest = new TestGuest();
        guest.Program(a => a.ud2());
        Assert.Equal("unhandled trap 6 at 0xc0010000 (0x0)", guest.RunToDeath());
    }

    [Fact]
    public void Abi_7_1_UnhandledPageFault_ShowsTheAddress()
    {
        using var guest = new TestGuest();
        guest.Program(a => a.mov(eax, __dword_ptr[0x1234]));
        Assert.Equal("unhandled trap 14 at 0xc0010000 (0x1234)", guest.RunToDeath());
        Assert.Equal(0x1234u, guest.Word(8));
    }

    [Fact]
    public void Abi_7_1_UnhandledGeneralProtection_ShowsTheErrorCode()
    {
        using var guest = new TestGuest();
        guest.Program(a =>
        {
            a.mov(eax, 0x50);
            a.mov(ds, ax);
        });
        Assert.Equal("unhandled trap 13 at 0xc0010005 (0x50)", guest.RunToDeath());
    }

    [Fact]
    public void Abi_7_1_DoubleFault_Kills()
    {
        using var guest = new TestGuest();
        guest.PrepareData().PrepareGdt().UserProgram(a => a.ud2());
        guest.Program(a =>
        {
            a.Begin();
            a.PrepareUser();
            a.Hypercall(Hypercall.LoadIdtEntry, 10, 0, 0x8F00);
            a.LoadGate(0, 0xF);
            a.Hypercall(Hypercall.SetStack, 0x5, 0, 0);
            a.EnterUser();
        });
        guest.UserProgram(a =>
        {
            a.xor(ecx, ecx);
            a.div(ecx);
        });
        Assert.StartsWith("unhandled trap 8 at 0x400002", guest.RunToDeath());
    }

    [Fact]
    public void Abi_7_1_PageFault_OfTheGuestsOwn_IsReflectedWithCr2AndCode()
    {
        using TestGuest guest = Trapping(14, 0xE, a => a.mov(__byte_ptr[0x0040_1234], 1));
        Assert.Equal(14u, guest.RunToStop());
        Assert.Equal(2u, Frame(guest)[0]);
        Assert.Equal(0x0040_1234u, guest.Word(TestGuest.Data + 8));
        Assert.Equal(1, guest.Device.Statistics!.PageFaultsReflected);
    }

    [Fact]
    public void Abi_7_1_PageFault_FromRingThree_HasTheUserBit()
    {
        using TestGuest guest = Trapping(14, 0xE, a => a.EnterUser());
        guest.UserProgram(a => a.mov(eax, __dword_ptr[TestGuest.Virtual(TestGuest.Code)]));
        Assert.Equal(14u, guest.RunToStop());
        Assert.Equal(5u, Frame(guest)[0]);
        Assert.Equal(TestGuest.Virtual(TestGuest.Code), guest.Word(TestGuest.Data + 8));
        Assert.Equal([TestGuest.UserVirtual, 0x73u], Frame(guest)[1..3]);
        Assert.Equal([TestGuest.UserVirtual + 0xFF0, 0x7Bu], Frame(guest)[4..]);
    }

    [Fact]
    public void Abi_7_1_UnwritableCr2_Kills()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.Stop(1);
            a.mov(eax, __dword_ptr[0x1234]);
        });
        guest.RunToStop();
        guest.Guest.Data.Register(TestGuest.Top, 0, 0);
        Assert.Equal("Writing cr2", guest.RunToDeath());
    }

    [Theory]
    [InlineData(2)]
    [InlineData(32)]
    [InlineData(0x80)]
    [InlineData(255)]
    public void Abi_7_1_HardwareInterruptAndNmi_ResumeTheGuest(byte vector)
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.Stop(1);
        });
        guest.Guest.Processor.RequestInterrupt(vector);
        Assert.Equal(1u, guest.RunToStop());
        Assert.Equal(1, guest.Device.Statistics!.ExitsByTrap[vector]);
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(8u)]
    [InlineData(15u)]
    [InlineData(31u)]
    [InlineData(64u)]
    [InlineData(127u)]
    [InlineData(129u)]
    [InlineData(0xFFFF_FFFFu)]
    public void Abi_7_3_TheseVectors_AreIgnored_BeforeAnyCheck(uint vector)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.LoadIdtEntry, vector, 0x1234, 0x8500);
        Assert.Null(guest.Guest.DeathReason);
        Assert.False(guest.Guest.Interrupts.TryReflect(vector));
    }

    [Theory]
    [InlineData(0u, 0x8500u, "bad IDT type 5")]
    [InlineData(63u, 0x8C00u, "bad IDT type 12")]
    [InlineData(0x80u, 0x8000u, "bad IDT type 0")]
    public void Abi_7_3_OtherGateTypes_Kill(uint vector, uint high, string reason)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.LoadIdtEntry, vector, 0x1234, high);
        Assert.Equal(reason, guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_7_3_NotPresent_ClearsTheGate_WhateverItsType()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.LoadIdtEntry, 5, 0x1234, 0x8E00);
        guest.Call((uint)Hypercall.LoadIdtEntry, 5, 0x1234, 0x0500);
        Assert.Null(guest.Guest.DeathReason);
        Assert.False(guest.Guest.Interrupts.TryReflect(5));
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(1u)]
    [InlineData(3u)]
    [InlineData(16u)]
    [InlineData(30u)]
    [InlineData(0x80u)]
    public void Abi_7_4_TrapGates_AreCopiedToTheProcessor(uint vector)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.LoadIdtEntry, vector, 0x9999_1234, 0xC00A_FFFF);
        Assert.Equal((0x0061_1234u, 0xC00A_EF00u), Idt(guest, vector));
        guest.Call((uint)Hypercall.LoadIdtEntry, vector, 0x9999_1234, 0xC00A_EE00);
        Assert.Equal(Default(vector == 3 ? 3u : 0), Idt(guest, vector));
    }

    [Theory]
    [InlineData(7u)]
    [InlineData(13u)]
    [InlineData(14u)]
    [InlineData(32u)]
    [InlineData(63u)]
    public void Abi_7_4_TheseNeverGoDirect(uint vector)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.LoadIdtEntry, vector, 0x1234, 0xC00A_EF00);
        Assert.Equal(Default(0), Idt(guest, vector));
    }

    [Fact]
    public void Abi_7_4_AllOthersHoldTheHostsDefault()
    {
        using var guest = new TestGuest();
        for (uint vector = 0; vector < 256; vector++)
        {
            Assert.Equal(Default(vector == 31 ? 1u : 0), Idt(guest, vector));
        }
    }

    [Fact]
    public void Abi_7_4_DirectSystemCall_NeverReachesTheHost()
    {
        using TestGuest guest = Trapping(0x80, 0xF, a => a.EnterUser(), privilegeLevel: 3);
        guest.UserProgram(a => a.@int(0x80));
        Assert.Equal(0x80u, guest.RunToStop());
        uint[] expected = [TestGuest.UserVirtual + 2, 0x73, 0x202, TestGuest.UserVirtual + 0xFF0, 0x7B];
        Assert.Equal(expected, Frame(guest)[..5]);
        Assert.Equal(0u, guest.Word(TestGuest.Data));
        Assert.Equal(0, guest.Device.Statistics!.ExitsByTrap[0x80]);
        Assert.Equal(0, guest.Device.Statistics!.ExitsByTrap[13]);
    }

    [Theory]
    [InlineData(0x80u, 0xEu, 3u, 0x402u)]
    [InlineData(3u, 0xEu, 0u, 0x1Au)]
    [InlineData(4u, 0xFu, 0u, 0x22u)]
    public void Abi_7_4_SoftwareInterruptOnADefaultOrForbiddenGate_IsGeneralProtection(uint vector, uint type, uint privilegeLevel, uint errorCode)
    {
        using TestGuest guest = Trapping(13, 0xE, a =>
        {
            a.LoadGate(vector, type, privilegeLevel);
            a.EnterUser();
        });
        guest.UserProgram(a =>
        {
            if (vector == 3)
            {
                a.int3();
            }
            else
            {
                a.@int((byte)vector);
            }
        });
        Assert.Equal(13u, guest.RunToStop());
        Assert.Equal([errorCode, TestGuest.UserVirtual, 0x73u], Frame(guest)[..3]);
    }

    [Fact]
    public void Abi_7_5_Sysenter_IsGeneralProtection()
    {
        using TestGuest guest = Trapping(13, 0xE, a => a.EnterUser());
        guest.UserProgram(a => a.sysenter());
        Assert.Equal(13u, guest.RunToStop());
        Assert.Equal(0u, Frame(guest)[0]);
    }

    [Fact]
    public void Abi_7_6_Input_ReadsOnes()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.mov(eax, 0x1234_5678);
            a.@in(al, 0x60);
            a.Save(eax, TestGuest.Scratch);
            a.mov(eax, 0x1234_5678);
            a.mov(edx, 0x3F8);
            a.@in(al, dx);
            a.Save(eax, TestGuest.Scratch + 4);
            a.mov(eax, 0x1234_5678);
            a.@in(eax, 0x60);
            a.Save(eax, TestGuest.Scratch + 8);
            a.mov(eax, 0);
            a.@in(eax, dx);
            a.Save(eax, TestGuest.Scratch + 12);
            a.mov(eax, 0);
            a.@in(ax, dx);
            a.Save(eax, TestGuest.Scratch + 16);
            a.mov(eax, 0);
            a.db(0x66);
            a.@in(al, 0x71);
            a.Save(eax, TestGuest.Scratch + 20);
            a.Stop(1);
        });
        guest.RunToStop();
        uint[] values = Enumerable.Range(0, 6).Select(i => guest.Word(TestGuest.Scratch + ((uint)i * 4))).ToArray();
        Assert.Equal([0x1234_56FFu, 0x1234_56FFu, 0xFFFF_FFFFu, 0xFFFF_FFFFu, 0xFFFF_FFFFu, 0xFFu], values);
    }

    [Fact]
    public void Abi_7_6_Output_IsSkipped()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.mov(eax, 0x1234_5678);
            a.mov(edx, 0x80);
            a.@out(0x80, al);
            a.@out(0x80, eax);
            a.@out(dx, al);
            a.@out(dx, eax);
            a.@out(dx, ax);
            a.@out(0x80, ax);
            a.Save(eax, TestGuest.Scratch);
            a.Stop(1);
        });
        Assert.Equal(1u, guest.RunToStop());
        Assert.Equal(0x1234_5678u, guest.Word(TestGuest.Scratch));
        Assert.Equal(6, guest.Device.Statistics!.PortAccesses);
    }

    [Fact]
    public void Abi_7_6_OtherPrivilegedInstructions_AreReflected()
    {
        Action<Assembler>[] programs =
        [
            a => a.hlt(), a => a.cli(), a => a.sti(), a => a.mov(eax, cr0), a => a.rdmsr(), a => a.insb(), a => a.outsd(), a => a.clts(),
            a => a.invlpg(__[eax]), a => a.wbinvd(),
        ];
        foreach (Action<Assembler> program in programs)
        {
            using TestGuest guest = Trapping(13, 0xE, program);
            Assert.Equal(13u, guest.RunToStop());
            Assert.Equal(0u, Frame(guest)[0]);
            Assert.Equal(0, guest.Device.Statistics!.PortAccesses);
        }
    }

    [Fact]
    public void Abi_7_6_BelowThePageOffset_IsReflected()
    {
        using TestGuest guest = Trapping(13, 0xE, a => a.EnterUser());
        guest.UserProgram(a => a.@in(al, 0x60));
        Assert.Equal(13u, guest.RunToStop());
        Assert.Equal(0, guest.Device.Statistics!.PortAccesses);
    }

    [Fact]
    public void Abi_7_6_InstructionOutsideTheLinearMap_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Guest.Registers.Eip = TestGuest.Virtual(TestGuest.Top);
        Assert.False(PortAccess.TryEmulate(guest.Guest));
        Assert.Equal("bad read address 0x100000 len 1", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_12_4_UnloadableSegment_IsTrap256()
    {
        using var guest = new TestGuest();
        guest.PrepareData().PrepareGdt().Program(a =>
        {
            a.Begin();
            a.PrepareUser();
            a.mov(eax, 0x7B);
            a.mov(gs, ax);
            a.Stop(1);
            a.Hypercall(Hypercall.LoadGdt, TestGuest.Gdt, 32);
            a.nop();
        });
        guest.RunToStop();
        guest.SetDescriptor(15, 0, 0);
        Assert.Matches("^unhandled trap 256 at 0xc001[0-9a-f]{4} \\(0x78\\)$", guest.RunToDeath());
    }

    private static (uint Low, uint High) Idt(TestGuest guest, uint vector)
    {
        guest.Guest.Interrupts.CopyIn(guest.Guest.Switcher, ChangedTables.Idt);
        return guest.StateEntry(StatePage.Idt + (vector * 8));
    }

    private static (uint Low, uint High) Default(uint privilegeLevel) => (0x0050_0000, 0xFFC0_8E00 | (privilegeLevel << 13));
}
