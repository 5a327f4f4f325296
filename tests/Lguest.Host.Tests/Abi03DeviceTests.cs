// ABI 2.6 and 3: the device's verbs, their checks in order, and the run loop as a Launcher sees it.

using Iced.Intel;
using Lguest.Platform;
using Lguest.X86.Memory;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi03DeviceTests
{
    private static void Spin(Assembler a)
    {
        Label again = a.CreateLabel();
        a.Label(ref again);
        a.jmp(again);
    }

    [Fact]
    public void Abi_3_1_WithoutAGuest_EveryRequestIsInvalid()
    {
        using LguestDevice device = new LguestHost().Open();
        Assert.Equal(LguestError.InvalidArgument, device.GetDma(0, out _));
        Assert.Equal(LguestError.InvalidArgument, device.Irq(0));
        Assert.Equal(LguestError.InvalidArgument, device.Irq(99));
        Assert.Equal(LguestError.InvalidArgument, device.Break(true, TestContext.Current.CancellationToken));
        Assert.Equal(LguestError.InvalidArgument, device.Break(false, TestContext.Current.CancellationToken));
        Assert.Equal(LguestError.InvalidArgument, device.Read(TestContext.Current.CancellationToken).Error);
    }

    [Fact]
    public void Abi_3_1_DeadGuest_EveryRequestFindsNothing()
    {
        using var guest = new TestGuest();
        guest.Guest.Kill("first");
        guest.Guest.Kill("second");
        Assert.Equal(LguestError.NoEntry, guest.Device.Initialize(guest.Request));
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(1, out _));
        Assert.Equal(LguestError.NoEntry, guest.Device.Irq(99));
        Assert.Equal(LguestError.NoEntry, guest.Break(true));
        Assert.Equal(LguestError.NoEntry, guest.Break(false));
        Assert.Equal("first", guest.Read().DeathReason);
        Assert.Equal("first", guest.Read().DeathReason);
    }

    [Fact]
    public async Task Abi_3_1_AnotherThread_MayOnlyBreak()
    {
        using var guest = new TestGuest();
        guest.Program(Spin);
        Task<ReadResult> reader = await guest.BeginReadAsync();
        Assert.Equal(LguestError.NotPermitted, guest.Device.Irq(99));
        Assert.Equal(LguestError.NotPermitted, guest.Device.GetDma(0, out _));
        Assert.Equal(LguestError.NotPermitted, guest.Read().Error);
        Assert.Equal(LguestError.NotPermitted, guest.Device.Initialize(guest.Request));

        Task<LguestError> waker = Task.Run(() => guest.Break(true), TestContext.Current.CancellationToken);
        Assert.Equal(LguestError.TryAgain, (await reader).Error);
        Assert.False(waker.IsCompleted);
        Assert.Equal(LguestError.TryAgain, guest.Read().Error);
        Assert.Equal(LguestError.None, guest.Break(false));
        Assert.Equal(LguestError.None, await waker);
    }

    [Fact]
    public void Abi_3_2_SecondInitialize_IsBusy()
    {
        using var guest = new TestGuest();
        Assert.Equal(LguestError.None, guest.InitializeResult);
        Assert.Equal(LguestError.Busy, guest.Device.Initialize(guest.Request));
    }

    [Fact]
    public void Abi_3_2_TheSeventeenthGuest_FindsNoSlot_UntilOneCloses()
    {
        var host = new LguestHost();
        var guests = Enumerable.Range(0, 16).Select(_ => new TestGuest(host: host)).ToList();
        using (var late = new TestGuest(host: host))
        {
            Assert.Equal(LguestError.NoSpace, late.InitializeResult);
            guests[5].Dispose();
            Assert.Equal(LguestError.None, late.Device.Initialize(late.Request));
        }
        guests.ForEach(guest => guest.Dispose());
    }

    [Fact]
    public void Abi_3_2_NoTwoGuestsOfTheMachineHaveOneNumber_WhateverTheirHost()
    {
        LguestHost[] hosts = [new(), new(), new()];
        var guests = hosts.SelectMany(static host => Enumerable.Range(0, 4).Select(_ => new TestGuest(host: host))).ToList();
        Assert.Equal(guests.Count, guests.Select(static guest => guest.Guest.Id).Distinct().Count());
        guests.ForEach(static guest => guest.Dispose());
    }

    [Fact]
    public void Abi_3_2_ANumberThatAnotherProcessHas_IsNotGiven_UntilThatOneIsGone()
    {
        using var guest = new TestGuest();
        // Another process would hold the name, and only the name.
        Assert.False(HostWideName.TryTake($"lguest/guest/{guest.Guest.Id}", out _));
        for (int number = 60_000; ; number++)
        {
            string name = $"lguest/guest/{number}";
            if (HostWideName.TryTake(name, out HostWideName? other))
            {
                Assert.False(HostWideName.TryTake(name, out _));
                other!.Dispose();
                Assert.True(HostWideName.TryTake(name, out HostWideName? again));
                again!.Dispose();
                return;
            }
        }
    }

    [Fact]
    public void Abi_3_2_TheNumberOfSlots_IsAChoice()
    {
        var host = new LguestHost(1);
        using var first = new TestGuest(host: host);
        using var second = new TestGuest(host: host);
        Assert.Equal(LguestError.None, first.InitializeResult);
        Assert.Equal(LguestError.NoSpace, second.InitializeResult);
        Assert.Throws<ArgumentOutOfRangeException>(() => new LguestHost(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new LguestHost(65537));
    }

    [Theory]
    [InlineData(0xFFC0_0000)]
    [InlineData(0xFFFF_FFFF)]
    public void Abi_3_2_PageOffsetInTheSwitcher_IsInvalid(uint pageOffset)
    {
        var host = new LguestHost(1);
        using (var guest = new TestGuest(pageOffset: pageOffset, host: host))
        {
            Assert.Equal(LguestError.InvalidArgument, guest.InitializeResult);
            Assert.Equal(LguestError.None, guest.Device.Initialize(guest.Request with { PageOffset = 0xFFBF_F000 }));
        }
        using var next = new TestGuest(host: host);
        Assert.Equal(LguestError.None, next.InitializeResult);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Abi_3_2_ArenaTooSmall_IsNoMemory_AndLeavesNothingBehind(uint arenaFrames)
    {
        var host = new LguestHost(1);
        using var guest = new TestGuest(arenaFrames: arenaFrames, host: host);
        Assert.Equal(LguestError.NoMemory, guest.InitializeResult);
        Assert.Equal(LguestError.NoMemory, guest.Device.Initialize(guest.Request));
        for (uint i = 0; i < arenaFrames; i++)
        {
            Assert.True(guest.Memory.TryAllocateFrame(out _));
        }
        Assert.False(guest.Memory.TryAllocateFrame(out _));
        using var next = new TestGuest(host: host);
        Assert.Equal(LguestError.None, next.InitializeResult);
    }

    [Fact]
    public void Abi_2_6_StateAtTheFirstInstruction()
    {
        using var guest = new TestGuest();
        LguestRegisters registers = guest.Guest.Registers;
        Assert.Equal(
            new LguestRegisters { Eip = TestGuest.Virtual(TestGuest.Code), Cs = 0x61, Ds = 0x69, Es = 0x69, Ss = 0x69, Eflags = 0x202 },
            registers);
        Assert.Equal(TestGuest.Directory, guest.Guest.PageTables.CurrentGuestDirectory);
        Assert.Equal(0, guest.Guest.Statistics.ShadowPages);
        Assert.False(guest.Guest.TaskSwitched);
        Assert.False(guest.Guest.IsHalted);
        Assert.False(guest.Guest.Interrupts.HasPending);
    }

    [Fact]
    public void Abi_2_6_FirstInstruction_RunsInRingOneWithTheseRegisters()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.mov(esp, TestGuest.Virtual(TestGuest.StackTop));
            a.pushad();
            a.pushfd();
            a.push(cs);
            a.push(ds);
            a.push(es);
            a.push(ss);
            a.push(fs);
            a.push(gs);
            a.Hypercall(Hypercall.LguestInit, TestGuest.Data);
            a.Stop(1);
        });
        guest.RunToStop();
        uint[] pushed = Enumerable.Range(1, 15).Select(i => guest.Word(TestGuest.StackTop - (4 * (uint)i))).ToArray();
        Assert.Equal([0, 0, 0, 0, TestGuest.Virtual(TestGuest.StackTop), 0, 0, 0], pushed[..8]);
        Assert.Equal(0x202u, pushed[8]);
        Assert.Equal([0x61, 0x69, 0x69, 0x69, 0, 0], pushed[9..].Select(word => word & 0xFFFF));
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(0xFFFF_FFFEu)]
    [InlineData(TestGuest.Top)]
    public void Abi_3_3_KeyWithoutAPage_KillsTheGuest(uint key)
    {
        using var guest = new TestGuest();
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(key, out _));
        Assert.Equal("bad registered DMA buffer", guest.Read().DeathReason);
    }

    [Fact]
    public void Abi_3_3_UnboundKey_HasNoBuffer()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0, out _));
        Assert.Null(guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_3_3_TheFirstFreeElement_IsReturnedWithTheIrq()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.BindDma, 0x40, TestGuest.Dma, (3 << 8) | 7);
        guest.SetWord(TestGuest.Dma, 5);
        Assert.Equal(LguestError.None, guest.Device.GetDma(0x40, out uint list));
        Assert.Equal(TestGuest.Dma + 100, list);
        Assert.Equal(7u, guest.Word(list));
        Assert.Equal(LguestError.None, guest.Device.GetDma(0x40, out list));
        Assert.Equal(TestGuest.Dma + 200, list);
    }

    [Fact]
    public void Abi_3_3_AllElementsInUse_IsNoBuffer_AndNothingIsOverwritten()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.BindDma, 0, TestGuest.Dma, (2 << 8) | 1);
        guest.SetWord(TestGuest.Dma, 5).SetWord(TestGuest.Dma + 100, 6);
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0, out _));
        Assert.Equal(5u, guest.Word(TestGuest.Dma));
        Assert.Equal(6u, guest.Word(TestGuest.Dma + 100));
    }

    [Fact]
    public void Abi_3_3_BindingWithoutBuffers_IsNoBuffer()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.BindDma, 0, TestGuest.Dma, 1);
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0, out _));
    }

    [Fact]
    public void Abi_3_3_OnlyTheNewestBindingCounts()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.BindDma, 0, TestGuest.Dma, (1 << 8) | 1);
        guest.Call((uint)Hypercall.BindDma, 0, TestGuest.Dma + 0x200, (1 << 8) | 2);
        Assert.Equal(LguestError.None, guest.Device.GetDma(0, out uint list));
        Assert.Equal(TestGuest.Dma + 0x200, list);
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0, out _));
    }

    [Fact]
    public void Abi_3_3_BufferOutsideTheGuest_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.BindDma, 0, TestGuest.Top - 4, (1 << 8) | 1);
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0, out _));
        Assert.Equal("bad read address 0xffffc len 4", guest.Read().DeathReason);
    }

    [Fact]
    public void Abi_3_4_IrqNumbers_AreBelow32()
    {
        using var guest = new TestGuest();
        Assert.Equal(LguestError.InvalidArgument, guest.Device.Irq(32));
        Assert.False(guest.Guest.Interrupts.HasPending);
        Assert.Equal(LguestError.None, guest.Device.Irq(31));
        Assert.True(guest.Guest.Interrupts.HasPending);
    }

    [Fact]
    public async Task Abi_3_4_BreakEndsAHalt_AndTheGuestStaysHalted()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.Halt);
        for (int i = 0; i < 20; i++)
        {
            Task<ReadResult> reader = Task.Run(guest.Read, TestContext.Current.CancellationToken);
            Task<LguestError> waker = Task.Run(() => guest.Break(true), TestContext.Current.CancellationToken);
            Assert.Equal(LguestError.TryAgain, (await reader).Error);
            Assert.True(guest.Guest.IsHalted);
            Assert.Equal(LguestError.None, guest.Break(false));
            Assert.Equal(LguestError.None, await waker);
        }
        Assert.All(guest.Device.Statistics!.ExitsByTrap.ToArray(), exits => Assert.Equal(0, exits));
    }

    [Fact]
    public async Task Abi_3_4_ASleepingWaker_CanBeInterrupted()
    {
        using var guest = new TestGuest();
        using var source = new CancellationTokenSource();
        Task<LguestError> waker = Task.Run(() => guest.Device.Break(true, source.Token), TestContext.Current.CancellationToken);
        await source.CancelAsync();
        Assert.Equal(LguestError.Interrupted, await waker);
    }

    [Fact]
    public async Task Abi_3_4_ClosingTheDevice_WakesTheWaker()
    {
        using var guest = new TestGuest();
        guest.Program(Spin);
        Task<LguestError> waker = Task.Run(() => guest.Break(true), TestContext.Current.CancellationToken);
        Assert.Equal(LguestError.TryAgain, guest.Read().Error);
        guest.Device.Dispose();
        Assert.Equal(LguestError.Interrupted, await waker);
    }

    [Fact]
    public void Abi_3_5_SentDma_IsReturned_AndForgottenByTheNextRead()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.Hypercall(Hypercall.SendDma, 0x44, 0x1234);
            a.Hypercall(Hypercall.Crash, TestGuest.Scratch);
        });
        Assert.Equal(new ReadResult(LguestError.None, 0x1234, 0x44), guest.Read());
        Assert.Equal(LguestError.NoEntry, guest.Read().Error);
        Assert.Equal("CRASH: ", guest.Read().DeathReason);
    }

    [Fact]
    public void Abi_3_5_Signal_EndsTheRead()
    {
        using var guest = new TestGuest();
        guest.Program(Spin);
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.Equal(LguestError.Interrupted, guest.Device.Read(source.Token).Error);
    }

    [Fact]
    public async Task Abi_3_5_Signal_EndsARunningGuest_AndAHaltedOne()
    {
        using var guest = new TestGuest();
        guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.Hypercall(Hypercall.SetClockEvent, 5_000_000);
            Spin(a);
        });
        using (var source = new CancellationTokenSource())
        {
            Task<ReadResult> reader = Task.Run(() => guest.Device.Read(source.Token), TestContext.Current.CancellationToken);
            await source.CancelAsync();
            Assert.Equal(LguestError.Interrupted, (await reader).Error);
        }
        guest.Guest.IsHalted = true;
        using (var source = new CancellationTokenSource())
        {
            Task<ReadResult> reader = Task.Run(() => guest.Device.Read(source.Token), TestContext.Current.CancellationToken);
            await source.CancelAsync();
            Assert.Equal(LguestError.Interrupted, (await reader).Error);
        }
    }

    [Fact]
    public void Abi_3_5_SignalComesBeforeBreak_AndHypercallsComeBeforeBoth()
    {
        using var guest = new TestGuest();
        using var source = new CancellationTokenSource();
        guest.Initialised().Post(0, (uint)Hypercall.SendDma, 0, 0x77);
        guest.Guest.RequestBreak(true);
        source.Cancel();
        Assert.Equal(0x77u, guest.Device.Read(source.Token).DmaAddress);
        Assert.Equal(LguestError.Interrupted, guest.Device.Read(source.Token).Error);
        Assert.Equal(LguestError.TryAgain, guest.Read().Error);
    }

    [Fact]
    public void Abi_3_5_BreakComesBeforeAnInterrupt()
    {
        using var guest = new TestGuest();
        guest.Initialised().SetWord(TestGuest.Data, 0x200);
        guest.Guest.Interrupts.LoadIdtEntry(0x20, 0x1234, 0x8E00);
        guest.Device.Irq(0);
        guest.Guest.RequestBreak(true);
        Assert.Equal(LguestError.TryAgain, guest.Read().Error);
        Assert.True(guest.Guest.Interrupts.HasPending);
    }

    [Fact]
    public void Abi_3_5_Close_GivesFramesAndSlotBack()
    {
        var host = new LguestHost(1);
        using var memory = new MachineMemory(TestGuest.Pages, 16);
        for (int i = 0; i < 20; i++)
        {
            using LguestDevice device = host.Open();
            Assert.Equal(
                LguestError.None,
                device.Initialize(new InitializeRequest { Memory = memory, PageLimit = TestGuest.Pages, PageDirectory = TestGuest.Directory, Start = 0, PageOffset = TestGuest.PageOffset }));
            memory.Write(TestGuest.Directory, TestGuest.KernelTable | 7);
            memory.Write(TestGuest.KernelTable, 7u);
            Assert.True(device.Guest!.PageTables.DemandPage(0, 2));
        }
    }

    [Fact]
    public async Task Abi_3_5_Close_WaitsForTheReader()
    {
        var guest = new TestGuest();
        guest.Program(Spin);
        Task<ReadResult> reader = await guest.BeginReadAsync();
        guest.Device.Dispose();
        Assert.Equal(LguestError.Interrupted, (await reader).Error);
        Assert.Equal(LguestError.InvalidArgument, guest.Read().Error);
        Assert.Throws<ObjectDisposedException>(() => guest.Device.Initialize(guest.Request));
        guest.Dispose();
    }
}
