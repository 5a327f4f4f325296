// ABI 5: direct calls and the ring.

using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi05HypercallTests
{
    [Fact]
    public void Abi_5_1_CallsLeaveEveryRegisterAlone()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.mov(esi, 0x11);
            a.mov(edi, 0x22);
            a.mov(ebp, 0x33);
            a.stc();
            a.Hypercall(Hypercall.FlushTlb, 1, 0x44, 0x55);
            a.pushfd();
            a.pushad();
            a.Stop(1);
        });
        guest.RunToStop();
        Assert.Equal(1u, guest.Word(TestGuest.StackTop - 4) & 1);
        uint[] saved = Enumerable.Range(0, 8).Select(i => guest.Word(TestGuest.StackTop - 8 - (4 * (uint)i))).ToArray();
        Assert.Equal([5u, 0x55u, 1u, 0x44u, TestGuest.Virtual(TestGuest.StackTop) - 4, 0x33u, 0x11u, 0x22u], saved);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    [InlineData(5)]
    [InlineData(8)]
    [InlineData(9)]
    [InlineData(15)]
    [InlineData(16)]
    public void Abi_5_1_OnlyBindDmaHasAResult(uint number)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call(number);
        Assert.Equal(number, guest.Guest.Registers.Eax);
        guest.Call((uint)Hypercall.BindDma, 0, TestGuest.Dma, (1 << 8) | 1);
        Assert.Equal(1u, guest.Guest.Registers.Eax);
        guest.Call((uint)Hypercall.BindDma, 0, TestGuest.Dma, 32);
        Assert.Equal(0u, guest.Guest.Registers.Eax);
    }

    [Fact]
    public void Abi_5_1_FromRingThree_ItIsAGeneralProtectionFault()
    {
        using var guest = new TestGuest();
        guest.PrepareData().PrepareGdt().UserProgram(a => a.@int(0x1F));
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a =>
        {
            a.pop(eax);
            a.Save(eax, TestGuest.Scratch);
            a.Stop(13);
        });
        guest.Program(a =>
        {
            a.Begin();
            a.PrepareUser();
            a.LoadGate(13, 0xE);
            a.EnterUser();
        });
        Assert.Equal(13u, guest.RunToStop());
        Assert.Equal(0xFAu, guest.Word(TestGuest.Scratch));
    }

    [Fact]
    public void Abi_5_2_RingCalls_AreDoneInOrder_BeforeTheDirectCall()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        guest.Post(0, (uint)Hypercall.SetStack, 0x69, TestGuest.Virtual(TestGuest.StackTop), 0);
        guest.Post(1, (uint)Hypercall.SetStack, 0x79, TestGuest.Virtual(TestGuest.StackTop) - 4, 0);
        guest.Call((uint)Hypercall.FlushAsync);
        Assert.Equal((TestGuest.Virtual(TestGuest.StackTop) - 4, 0x79u), guest.StateEntry(StatePage.TssEsp1));

        guest.Post(2, (uint)Hypercall.SetStack, 0x61, 1, 0);
        guest.Call((uint)Hypercall.SetStack, 0x65, 2, 0);
        Assert.Equal((2u, 0x65u), guest.StateEntry(StatePage.TssEsp1));
        Assert.Equal([0xFF, 0xFF, 0xFF], Enumerable.Range(0, 3).Select(i => guest.Byte(TestGuest.Data + 0x14 + (uint)i)));
    }

    [Fact]
    public void Abi_5_2_TheCursorStopsAtTheFirstFreeSlot()
    {
        using var guest = new TestGuest();
        guest.Initialised().Post(1, (uint)Hypercall.TaskSwitched, 1).Call(0);
        Assert.False(guest.Guest.TaskSwitched);
        guest.Post(0, 0).Call(0);
        Assert.True(guest.Guest.TaskSwitched);
    }

    [Fact]
    public void Abi_5_2_TheRingWraps()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        for (uint round = 0; round < 3; round++)
        {
            for (int slot = 0; slot < 64; slot++)
            {
                guest.Post(slot, (uint)Hypercall.SetStack, 0x61, (round * 64) + (uint)slot, 0);
            }
            guest.Call(0);
            Assert.Equal((round * 64) + 63, guest.StateEntry(StatePage.TssEsp1).Low);
        }
        guest.Post(0, (uint)Hypercall.SetStack, 0x61, 777, 0).Call(0);
        Assert.Equal(777u, guest.StateEntry(StatePage.TssEsp1).Low);
    }

    [Fact]
    public void Abi_5_2_AnyReturnFromTheGuest_FlushesTheRing()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.mov(__dword_ptr[TestGuest.Virtual(TestGuest.Data + 0x54)], (uint)Hypercall.SendDma);
            a.mov(__dword_ptr[TestGuest.Virtual(TestGuest.Data + 0x58)], 0);
            a.mov(__dword_ptr[TestGuest.Virtual(TestGuest.Data + 0x5C)], 0x99);
            a.mov(__byte_ptr[TestGuest.Virtual(TestGuest.Data + 0x14)], 0);
            a.@in(al, 0x87);
            a.Stop(1);
        });
        Assert.Equal(0x99u, guest.RunToStop());
        Assert.Equal(1u, guest.RunToStop());
    }

    [Fact]
    public void Abi_5_2_DmaInTheRing_StopsTheRing_AndTheDirectCallWaits()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.Stop(1);
            a.Stop(4);
        });
        Assert.Equal(1u, guest.RunToStop());
        guest.Post(0, (uint)Hypercall.SendDma, 0, 2).Post(1, (uint)Hypercall.SendDma, 0, 3).Post(2, (uint)Hypercall.TaskSwitched, 1);
        Assert.Equal(2u, guest.RunToStop());
        Assert.Equal(0, guest.Byte(TestGuest.Data + 0x15));
        Assert.Equal(3u, guest.RunToStop());
        Assert.False(guest.Guest.TaskSwitched);
        Assert.Equal(4u, guest.RunToStop());
        Assert.True(guest.Guest.TaskSwitched);
    }

    [Fact]
    public void Abi_5_3_DirectCallBehindRingDma_IsExecutedAtTheNextRead()
    {
        using var guest = new TestGuest();
        guest.Initialised().Post(0, (uint)Hypercall.SendDma, 0, 2).Call((uint)Hypercall.SendDma, 0, 3);
        Assert.Equal(2u, guest.Guest.Io.PendingDma);
        Assert.Equal(31u, guest.Guest.Registers.TrapNumber);
        Assert.Equal(3u, guest.RunToStop());
    }

    [Fact]
    public void Abi_5_2_RingResults_AreLost()
    {
        using var guest = new TestGuest();
        guest.Initialised().Post(0, (uint)Hypercall.BindDma, 0, TestGuest.Dma, (1 << 8) | 1).Call(0);
        Assert.Equal(0u, guest.Guest.Registers.Eax);
        Assert.Equal((uint)Hypercall.BindDma, guest.Word(TestGuest.Data + 0x54));
        Assert.Equal(LguestError.None, guest.Device.GetDma(0, out _));
    }

    [Fact]
    public void Abi_5_2_UnreadableRing_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        for (uint i = 0; i < 64; i++)
        {
            guest.Memory.Write(TestGuest.Top - 65 + i, (byte)0);
        }
        guest.Guest.Data.Register(TestGuest.Top - 65 - 0x14, 0, 0);
        guest.Call(0);
        Assert.Equal("Fetching async hypercalls", guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(11u, "Bad hypercall 11\n")]
    [InlineData(17u, "Bad hypercall 17\n")]
    [InlineData(0x8000_0000u, "Bad hypercall -2147483648\n")]
    public void Abi_5_4_UnknownNumbers_Kill(uint number, string reason)
    {
        using var guest = new TestGuest();
        guest.Initialised().Call(number);
        Assert.Equal(reason, guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_5_4_DeadGuest_ExecutesNoMoreOfTheRing()
    {
        using var guest = new TestGuest();
        guest.Initialised().Post(0, 11).Post(1, (uint)Hypercall.TaskSwitched, 1).Call(0);
        Assert.False(guest.Guest.TaskSwitched);
    }

    [Fact]
    public void Abi_5_4_Crash_TakesAText()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        guest.Memory.Write(TestGuest.Scratch, "Power down\0rest"u8);
        guest.Call((uint)Hypercall.Crash, TestGuest.Scratch);
        Assert.Equal("CRASH: Power down", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_5_4_Crash_CutsTheTextAt127()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        guest.Memory.Write(TestGuest.Scratch, Enumerable.Repeat((byte)'x', 200).ToArray());
        guest.Call((uint)Hypercall.Crash, TestGuest.Scratch);
        Assert.Equal("CRASH: " + new string('x', 127), guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_5_4_Crash_OutsideTheGuest()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.Crash, TestGuest.Top - 128);
        Assert.Equal("bad read address 0xfff80 len 128", guest.Guest.DeathReason);
    }

    [Fact]
    public void Statistics_CountHypercallsAndExits()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.Hypercall(Hypercall.TaskSwitched, 0);
            a.Hypercall(Hypercall.TaskSwitched, 0);
            a.Stop(1);
        });
        guest.RunToStop();
        GuestStatistics statistics = guest.Device.Statistics!;
        Assert.Equal(1, statistics.HypercallsByNumber[(int)Hypercall.LguestInit]);
        Assert.Equal(2, statistics.HypercallsByNumber[(int)Hypercall.TaskSwitched]);
        Assert.Equal(1, statistics.HypercallsByNumber[(int)Hypercall.SendDma]);
        Assert.Equal(4, statistics.ExitsByTrap[0x1F]);
        Assert.True(statistics.PageFaultsServed > 0);
        Assert.Equal(statistics.PageFaultsServed, statistics.ExitsByTrap[14]);
    }
}
