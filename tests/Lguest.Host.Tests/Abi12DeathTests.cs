// ABI 12: every reason, word for word.

namespace Lguest.Host.Tests;

public class Abi12DeathTests
{
    public static TheoryData<string, string> Texts => new()
    {
        { KillReason.Crash("Power down\0"u8), "CRASH: Power down" },
        { KillReason.Crash("x"u8), "CRASH: x" },
        { KillReason.HypercallBeforeInit(0), "hypercall 0 before LGUEST_INIT" },
        { KillReason.AlreadyInitialised, "already have lguest_data" },
        { KillReason.BadGuestPage(0), "bad guest page 00000000" },
        { KillReason.BadGuestPage(0xABC), "bad guest page 00000abc" },
        { KillReason.BadHypercall(11), "Bad hypercall 11\n" },
        { KillReason.FetchingHypercalls, "Fetching async hypercalls" },
        { KillReason.WritingHypercallResult, "Writing result for async hypercall" },
        { KillReason.WritingTimestamp, "Writing timestamp" },
        { KillReason.WritingCr2, "Writing cr2" },
        { KillReason.DisablingInterrupts, "Disabling interrupts" },
        { KillReason.EnablingInterrupts, "Re-enabling interrupts" },
        { KillReason.BadRead(0), "bad read address 0x0" },
        { KillReason.BadRead(0xABCD, 24), "bad read address 0xabcd len 24" },
        { KillReason.BadWrite(0xFFFF_FFFC), "bad write address 0xfffffffc" },
        { KillReason.BadWrite(0x10, 100), "bad write address 0x10 len 100" },
        { KillReason.UnhandledTrap(256, 0xC000_0000, 0), "unhandled trap 256 at 0xc0000000 (0x0)" },
        { KillReason.BadStackSegment(104), "bad stack segment 104" },
        { KillReason.BadStackPages(3), "bad stack pages 3" },
        { KillReason.BadStackPage(0xC000_0FFF), "bad stack page 0xc0000fff" },
        { KillReason.BadIdtType(5), "bad IDT type 5" },
        { KillReason.TooManyGdtEntries(33), "too many gdt entries 33" },
        { KillReason.SwitcherAccess, "attempt to access switcher pages" },
        { KillReason.BadPageTableEntry, "bad page table entry" },
        { KillReason.BadDirectoryEntry, "bad page directory entry" },
        { KillReason.FailedToGetPage(1048575), "failed to get page 1048575" },
        { KillReason.OutOfMemory, "out of memory allocating pte page" },
        { KillReason.BadDmaKey(3), "bad dma key 0x3" },
        { KillReason.BadSendingKey, "bad sending DMA key" },
        { KillReason.BadRegisteredBuffer, "bad registered DMA buffer" },
    };

    [Theory]
    [MemberData(nameof(Texts))]
    public void Abi_12_3_Texts(string actual, string expected) => Assert.Equal(expected, actual);

    [Fact]
    public void Abi_12_1_TheFirstReasonStays_AndTheGuestIsNeverEnteredAgain()
    {
        using var guest = new TestGuest();
        guest.Program(a => a.Hypercall(Hypercall.LguestInit, TestGuest.Data));
        guest.Guest.Kill("first");
        guest.Guest.Kill("second");
        Assert.Equal("first", guest.Read().DeathReason);
        Assert.Equal("first", guest.Read().DeathReason);
        Assert.Equal(TestGuest.Virtual(TestGuest.Code), guest.Guest.Registers.Eip);
    }

    [Fact]
    public async Task Abi_12_1_AnotherThreadsKill_EndsTheRead()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call((uint)Hypercall.Halt);
        Task<ReadResult> reader = Task.Run(guest.Read, TestContext.Current.CancellationToken);
        guest.Guest.Kill("bad address in registered DMA struct");
        ReadResult result = await reader;
        Assert.True(result.Error == LguestError.NoEntry || result.DeathReason is not null);
        Assert.Equal("bad address in registered DMA struct", guest.Read().DeathReason);
    }

    [Fact]
    public void Abi_12_3_UnwritableTime_Kills()
    {
        using var guest = new TestGuest();
        guest.Guest.Data.Register(TestGuest.Top, 0, 0);
        guest.Guest.WriteTime();
        Assert.Equal("Writing timestamp", guest.Guest.DeathReason);
    }

    [Theory]
    [InlineData(TestGuest.Top - 4, false)]
    [InlineData(TestGuest.Top - 5, true)]
    [InlineData(0xFFFF_FFFEu, false)]
    public void Abi_1_3_BlockWrites_AreChecked(uint address, bool allowed)
    {
        using var guest = new TestGuest();
        guest.Guest.Memory.WriteBlock(address, "abcd"u8);
        Assert.Equal(allowed ? null : $"bad write address 0x{address:x} len 4", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_1_3_RefusedReads_YieldZeroes()
    {
        using var guest = new TestGuest();
        Assert.Equal(0u, guest.Guest.Memory.ReadWord(TestGuest.Top));
        byte[] block = [1, 2, 3, 4];
        guest.Guest.Memory.ReadBlock(TestGuest.Top, block);
        Assert.Equal([0, 0, 0, 0], block);
        Assert.Equal("bad read address 0x100000", guest.Guest.DeathReason);
    }
}
