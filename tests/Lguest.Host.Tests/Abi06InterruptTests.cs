// ABI 6: virtual interrupts, frames, halt, stack, TS and the clock.

using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi06InterruptTests
{
    private const uint IrqEnabled = TestGuest.Data;
    private const uint Blocked = TestGuest.Data + 4;
    private const uint Time = TestGuest.Data + 0xC;
    private const uint HandlerVirtual = TestGuest.PageOffset + TestGuest.Handler;

    /// <summary>A Guest whose interrupts are on, with an interrupt gate for irq 0 to 31 at a handler that depends on the number.</summary>
    private static TestGuest Ready(bool enabled = true)
    {
        var guest = new TestGuest();
        guest.Initialised().SetWord(IrqEnabled, enabled ? 0x200u : 0);
        for (uint irq = 0; irq < 32; irq++)
        {
            guest.Guest.Interrupts.LoadIdtEntry(32 + irq, irq * 16, (HandlerVirtual & 0xFFFF_0000) | 0x8E00);
        }
        guest.Guest.Registers.Esp = TestGuest.Virtual(TestGuest.StackTop);
        guest.SetWord(Time, 0);
        return guest;
    }

    private static int? Injected(TestGuest guest)
    {
        guest.Guest.Registers.Eip = 0x1234_5678;
        guest.Guest.Interrupts.TryInject();
        uint eip = guest.Guest.Registers.Eip;
        return eip == 0x1234_5678 ? null : (int)(eip & 0xFFFF) / 16;
    }

    [Fact]
    public void Abi_6_3_LowestNumberFirst_OneAtATime_ThenNothing()
    {
        using TestGuest guest = Ready();
        guest.Device.Irq(7);
        guest.Device.Irq(3);
        guest.Device.Irq(3);
        guest.Device.Irq(31);
        Assert.Equal(3, Injected(guest));
        Assert.Equal(0u, guest.Word(IrqEnabled));
        Assert.Null(Injected(guest));
        guest.SetWord(IrqEnabled, 0x200);
        Assert.Equal(7, Injected(guest));
        guest.SetWord(IrqEnabled, 0x200);
        Assert.Equal(31, Injected(guest));
        guest.SetWord(IrqEnabled, 0x200);
        Assert.Null(Injected(guest));
        Assert.Equal(3, guest.Guest.Statistics.InterruptsInjected);
    }

    [Fact]
    public void Abi_6_3_BeforeTheHandshake_Nothing()
    {
        using var guest = new TestGuest();
        guest.Device.Irq(0);
        Assert.Null(Injected(guest));
        Assert.True(guest.Guest.Interrupts.HasPending);
    }

    [Fact]
    public void Abi_6_3_BlockedInterrupts_StayPending()
    {
        using TestGuest guest = Ready();
        guest.SetWord(Blocked, 0xFFFF_FFF7);
        guest.Device.Irq(0);
        Assert.Null(Injected(guest));
        guest.Device.Irq(3);
        Assert.Equal(3, Injected(guest));
        guest.SetWord(Blocked, 0).SetWord(IrqEnabled, 0x200);
        Assert.Equal(0, Injected(guest));
    }

    [Fact]
    public void Abi_6_3_UnreadableMask_Nothing()
    {
        using TestGuest guest = Ready();
        guest.Guest.Data.Register(TestGuest.Top - 4, 0, 0);
        guest.Device.Irq(0);
        Assert.Null(Injected(guest));
        Assert.Null(guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(0x0FFFu, true)]
    [InlineData(0x1000u, false)]
    [InlineData(0x1FFFu, false)]
    [InlineData(0x2000u, true)]
    public void Abi_6_3_NoInterruptRange_IsHalfOpen(uint eip, bool delivered)
    {
        using TestGuest guest = Ready();
        guest.Guest.Data.Register(TestGuest.Data, 0x1000, 0x2000);
        guest.Device.Irq(0);
        guest.Guest.Registers.Eip = eip;
        guest.Guest.Interrupts.TryInject();
        Assert.Equal(delivered, guest.Guest.Registers.Eip != eip);
        Assert.Equal(!delivered, guest.Guest.Interrupts.HasPending);
    }

    [Fact]
    public void Abi_6_3_NoInterruptRange_IsReadOnceAtTheHandshake_AndHoldsForAHaltedGuestToo()
    {
        using TestGuest guest = Ready();
        guest.SetWord(TestGuest.Data + 0x460, 0).SetWord(TestGuest.Data + 0x464, 0xFFFF_FFFF);
        guest.Device.Irq(0);
        Assert.Equal(0, Injected(guest));

        guest.Guest.Data.Register(TestGuest.Data, 0, 0xFFFF_FFFF);
        guest.Guest.IsHalted = true;
        guest.Device.Irq(0);
        Assert.Null(Injected(guest));
        Assert.True(guest.Guest.IsHalted);
    }

    [Theory]
    [InlineData(0u, false)]
    [InlineData(0x46u, false)]
    [InlineData(0x200u, true)]
    [InlineData(0x246u, true)]
    public void Abi_4_VirtualFlag_IsBitNine(uint irqEnabled, bool delivered)
    {
        using TestGuest guest = Ready();
        guest.SetWord(IrqEnabled, irqEnabled);
        guest.Device.Irq(5);
        Assert.Equal(delivered, Injected(guest) == 5);
    }

    [Fact]
    public void Abi_6_3_HaltedGuest_IsWokenWithInterruptsOn()
    {
        using TestGuest guest = Ready(enabled: false);
        guest.Guest.IsHalted = true;
        guest.Device.Irq(2);
        Assert.Equal(2, Injected(guest));
        Assert.False(guest.Guest.IsHalted);
        Assert.Equal(0x200u, guest.Word(TestGuest.StackTop - 4) & 0x200);
        Assert.Equal(0u, guest.Word(IrqEnabled));
    }

    [Fact]
    public void Abi_6_3_MissingGate_LeavesItPending_ButWritesTheTime_AndWakes()
    {
        using TestGuest guest = Ready();
        guest.Guest.Interrupts.LoadIdtEntry(32 + 4, 0, 0);
        guest.Guest.IsHalted = true;
        guest.Device.Irq(4);
        Assert.Null(Injected(guest));
        Assert.True(guest.Guest.Interrupts.HasPending);
        Assert.False(guest.Guest.IsHalted);
        Assert.Equal(0x200u, guest.Word(IrqEnabled));
        Assert.NotEqual(0u, guest.Word(Time));
    }

    [Fact]
    public void Abi_6_3_Delivery_WritesTheTime()
    {
        using TestGuest guest = Ready();
        guest.Device.Irq(1);
        Injected(guest);
        Assert.InRange(guest.Word(Time), DateTimeOffset.UtcNow.ToUnixTimeSeconds() - 60, DateTimeOffset.UtcNow.ToUnixTimeSeconds());
    }

    [Fact]
    public void Abi_6_3_UnwritableFlag_KillsAHaltedGuest()
    {
        using TestGuest guest = Ready();
        guest.Guest.Data.Register(TestGuest.Top, 0, 0);
        guest.Guest.IsHalted = true;
        Assert.Equal("Re-enabling interrupts", DeathOfInjection(guest));

        static string? DeathOfInjection(TestGuest guest)
        {
            // The mask at the end of memory is unreadable too, so the flag is taken away between the two steps.
            guest.Guest.Data.Register(unchecked(0u - 4), 0, 0);
            guest.Device.Irq(0);
            guest.Guest.Interrupts.TryInject();
            return guest.Guest.DeathReason;
        }
    }

    [Fact]
    public void Abi_6_4_FrameFromRingOne()
    {
        using TestGuest guest = Ready();
        ref LguestRegisters registers = ref guest.Guest.Registers;
        registers.Eip = 0xC000_1111;
        registers.Cs = 0x61;
        registers.Eflags = 0x246;
        guest.Device.Irq(6);
        guest.Guest.Interrupts.TryInject();
        Assert.Equal(TestGuest.Virtual(TestGuest.StackTop) - 12, registers.Esp);
        Assert.Equal(0x69u, registers.Ss);
        Assert.Equal(0x61u, registers.Cs);
        Assert.Equal((HandlerVirtual & 0xFFFF_0000) + 0x60, registers.Eip);
        Assert.Equal(0x246u, registers.Eflags);
        uint[] frame = [guest.Word(TestGuest.StackTop - 12), guest.Word(TestGuest.StackTop - 8), guest.Word(TestGuest.StackTop - 4)];
        Assert.Equal([0xC000_1111, 0x61u, 0x246u], frame);
    }

    [Theory]
    [InlineData(0x7Bu)]
    [InlineData(0x68u)]
    public void Abi_6_4_FrameFromAnotherRing_IsOnTheTrapStack(uint ss)
    {
        using TestGuest guest = Ready();
        guest.Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), 1);
        ref LguestRegisters registers = ref guest.Guest.Registers;
        registers.Eip = 0x1111;
        registers.Cs = 0x73;
        registers.Ss = ss;
        registers.Esp = 0x2222;
        registers.Eflags = 0x202;
        guest.Device.Irq(6);
        guest.Guest.Interrupts.TryInject();
        Assert.Equal(TestGuest.Virtual(TestGuest.TrapStackTop) - 20, registers.Esp);
        Assert.Equal(0x69u, registers.Ss);
        uint[] frame = Enumerable.Range(0, 5).Select(i => guest.Word(TestGuest.TrapStackTop - 20 + ((uint)i * 4))).ToArray();
        Assert.Equal([0x1111, 0x73, 0x202, 0x2222, ss], frame);
    }

    [Fact]
    public void Abi_6_4_PushedFlags_ShowTheVirtualFlag_WhichATrapGateLeavesAlone()
    {
        using TestGuest guest = Ready(enabled: false);
        guest.Guest.Interrupts.LoadIdtEntry(0, 0, 0x8F00);
        guest.Guest.Registers.Eflags = 0x246;
        Assert.True(guest.Guest.Interrupts.TryReflect(0));
        Assert.Equal(0x46u, guest.Word(TestGuest.StackTop - 4));
        Assert.Equal(0u, guest.Word(IrqEnabled));

        guest.SetWord(IrqEnabled, 0x200);
        Assert.True(guest.Guest.Interrupts.TryReflect(0));
        Assert.Equal(0x246u, guest.Word(TestGuest.StackTop - 16));
        Assert.Equal(0x200u, guest.Word(IrqEnabled));
    }

    [Fact]
    public void Abi_6_4_HandlersBeginWithoutTrapNestedTaskAndResume()
    {
        using TestGuest guest = Ready();
        guest.Guest.Registers.Eflags = 0x0001_4FD7;
        guest.Device.Irq(0);
        guest.Guest.Interrupts.TryInject();
        Assert.Equal(0x0001_4FD7u, guest.Word(TestGuest.StackTop - 4));
        Assert.Equal(0x0000_0ED7u, guest.Guest.Registers.Eflags);
    }

    [Fact]
    public void Abi_6_4_StackOutsideTheLinearMap_Kills()
    {
        using TestGuest guest = Ready();
        guest.Guest.Registers.Esp = 0x1000;
        guest.Device.Irq(0);
        guest.Guest.Interrupts.TryInject();
        Assert.Equal("bad write address 0x40000ffc", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_6_4_UnwritableFlag_Kills()
    {
        using TestGuest guest = Ready();
        guest.Guest.Data.Register(TestGuest.Top, 0, 0);
        guest.Guest.Interrupts.LoadIdtEntry(0, 0, 0x8E00);
        Assert.True(guest.Guest.Interrupts.TryReflect(0));
        Assert.Equal("Disabling interrupts", guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(8u, true)]
    [InlineData(10u, true)]
    [InlineData(11u, true)]
    [InlineData(12u, true)]
    [InlineData(13u, true)]
    [InlineData(14u, true)]
    [InlineData(17u, true)]
    [InlineData(0u, false)]
    [InlineData(9u, false)]
    [InlineData(16u, false)]
    [InlineData(19u, false)]
    [InlineData(30u, false)]
    public void Abi_7_2_ErrorCodes(uint vector, bool hasErrorCode)
    {
        using TestGuest guest = Ready();
        guest.Guest.Interrupts.LoadIdtEntry(vector, 0, 0x8E00);
        guest.Guest.Registers.ErrorCode = 0xEEEE;
        if (vector == 8)
        {
            Assert.False(guest.Guest.Interrupts.TryReflect(vector));
            return;
        }
        Assert.True(guest.Guest.Interrupts.TryReflect(vector));
        Assert.Equal(TestGuest.Virtual(TestGuest.StackTop) - (hasErrorCode ? 16u : 12u), guest.Guest.Registers.Esp);
        Assert.Equal(hasErrorCode, guest.Word(TestGuest.StackTop - 16) == 0xEEEE);
    }

    [Fact]
    public void Abi_6_5_HaltWithTheClock_RunsTheHandlerAndReturns()
    {
        using var guest = new TestGuest();
        guest.PrepareData();
        guest.Place(TestGuest.Handler, HandlerVirtual, a =>
        {
            a.inc(__dword_ptr[TestGuest.Virtual(TestGuest.Scratch)]);
            a.iretd();
        });
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(32, 0xE);
            for (int i = 0; i < 3; i++)
            {
                a.Hypercall(Hypercall.SetClockEvent, 100_000);
                a.Hypercall(Hypercall.Halt);
            }
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal(3u, guest.Word(TestGuest.Scratch));
        Assert.Equal(0u, guest.Word(IrqEnabled));
    }

    [Fact]
    public void Abi_6_8_TheClockInterruptsARunningGuest()
    {
        using var guest = new TestGuest();
        guest.PrepareData();
        guest.Place(TestGuest.Handler, HandlerVirtual, a => a.Stop(32));
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(32, 0xE);
            a.Hypercall(Hypercall.SetClockEvent, 200_000);
            a.mov(__dword_ptr[TestGuest.Virtual(IrqEnabled)], 0x200);
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.jmp(again);
        });
        Assert.Equal(32u, guest.RunToStop());
        Assert.True(guest.Device.Statistics!.ExitsByTrap[Switcher.KickVector] > 0);
    }

    [Fact]
    public void Abi_14_2_EnablingInterruptsSilently_IsNoticed()
    {
        using var guest = new TestGuest();
        guest.PrepareData();
        guest.Place(TestGuest.Handler, HandlerVirtual, a => a.Stop(32));
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(32, 0xE);
            a.Hypercall(Hypercall.SetClockEvent, 100);
            a.mov(ecx, 20_000_000);
            Label delay = a.CreateLabel();
            a.Label(ref delay);
            a.dec(ecx);
            a.jnz(delay);
            a.mov(__dword_ptr[TestGuest.Virtual(IrqEnabled)], 0x200);
            Label again = a.CreateLabel();
            a.Label(ref again);
            a.jmp(again);
        });
        Assert.Equal(32u, guest.RunToStop());
    }

    [Fact]
    public void Abi_6_8_ZeroCancels_AndALaterCallReplaces()
    {
        using TestGuest guest = Ready();
        Clock clock = guest.Guest.Clock;
        guest.Call((uint)Hypercall.SetClockEvent, 1);
        guest.Call((uint)Hypercall.SetClockEvent, 0);
        Assert.Equal(long.MaxValue, clock.Deadline);
        Assert.False(clock.TryExpire());
        guest.Call((uint)Hypercall.SetClockEvent, 0xFFFF_FFFF);
        Assert.InRange(clock.Deadline - Platform.MonotonicClock.Now, 1, 0xFFFF_FFFFL);
        Assert.False(clock.TryExpire());
        guest.Call((uint)Hypercall.SetClockEvent, 1);
        Thread.Sleep(1);
        Assert.True(clock.TryExpire());
        Assert.False(clock.TryExpire());
    }

    [Theory]
    [InlineData(0x68u, 1u, "bad stack segment 104")]
    [InlineData(0x6Bu, 1u, "bad stack segment 107")]
    [InlineData(0x8000_0000u, 1u, "bad stack segment -2147483648")]
    [InlineData(0x69u, 3u, "bad stack pages 3")]
    [InlineData(0x69u, 0xFFFF_FFFFu, "bad stack pages 4294967295")]
    public void Abi_6_6_BadStacks_Kill(uint selector, uint pages, string reason)
    {
        using TestGuest guest = Ready();
        guest.Call((uint)Hypercall.SetStack, selector, TestGuest.Virtual(TestGuest.StackTop), pages);
        Assert.Equal(reason, guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_6_6_EightBitsOfTheSelector_AreKept()
    {
        using TestGuest guest = Ready();
        guest.Call((uint)Hypercall.SetStack, 0x1269, 0xC001_0000, 0);
        Assert.Equal((0xC001_0000, 0x69u), guest.StateEntry(StatePage.TssEsp1));
    }

    [Theory]
    [InlineData(1u, 1, 0)]
    [InlineData(2u, 1, 1)]
    public void Abi_9_8_TheStack_IsMappedWritable(uint pages, uint first, uint second)
    {
        using TestGuest guest = Ready();
        guest.Call((uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.TrapStackTop), pages);
        Assert.Null(guest.Guest.DeathReason);
        Assert.Equal(first * 2, guest.ShadowEntry(TestGuest.Virtual(TestGuest.TrapStackTop - 1)) & 2);
        Assert.Equal(second * 2, guest.ShadowEntry(TestGuest.Virtual(TestGuest.TrapStackTop - 4097)) & 2);
    }

    [Fact]
    public void Abi_9_8_UnmappableStack_Kills()
    {
        using TestGuest guest = Ready();
        guest.Call((uint)Hypercall.SetStack, 0x69, 0x1000, 1);
        Assert.Equal("bad stack page 0xfff", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_6_7_TaskSwitched_MakesTheFpuTrap_UntilCleared()
    {
        using var guest = new TestGuest();
        guest.PrepareData();
        guest.Place(TestGuest.Handler, HandlerVirtual, a =>
        {
            a.pushad();
            a.Hypercall(Hypercall.TaskSwitched, 0);
            a.inc(__dword_ptr[TestGuest.Virtual(TestGuest.Scratch)]);
            a.popad();
            a.iretd();
        });
        guest.Program(a =>
        {
            a.Begin();
            a.LoadGate(7, 0xE);
            a.fld1();
            a.Hypercall(Hypercall.TaskSwitched, 8);
            a.fld1();
            a.fld1();
            a.Hypercall(Hypercall.TaskSwitched, 8);
            a.movaps(xmm0, xmm1);
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal(2u, guest.Word(TestGuest.Scratch));
    }

    [Fact]
    public void Abi_6_7_WithoutTheFlag_Vector7IsSwallowed()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.fld1();
            a.Begin();
            a.Stop(1);
        });
        Assert.Equal(1u, guest.RunToStop());
        Assert.Equal(0, guest.Device.Statistics!.ExitsByTrap[7]);
    }
}
