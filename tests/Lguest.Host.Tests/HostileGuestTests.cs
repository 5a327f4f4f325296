// Whatever a Guest says, the Host must not throw, hang, or reach beyond that Guest's memory; no shadow entry may name a frame that is not the
// Guest's; and who dies, dies with the words of the ABI. The campaign of Lguest.Hostile proves it here in short and in the benchmark at length.

using Lguest.Hostile;
using Lguest.X86.Memory;

namespace Lguest.Host.Tests;

public class HostileGuestTests
{
    private const int Pages = (int)HostileLayout.Pages;

    [Theory]
    [InlineData(1)]
    [InlineData(0)]
    public void HostileGuests_NeverMakeTheHostThrowOrHang_AndHurtNobodyElse(int seed) => Campaign(75_000, seed, 1, crossesProcesses: false);

    [Theory]
    [InlineData(50_000, false)]
    [InlineData(3000, true)]
    public void HostileGuestsOnThreeThreads_OnOneNetwork_HurtNobodyElse(int events, bool crossesProcesses) => Campaign(events, 0, 3, crossesProcesses);

    [Fact]
    public void Close_GivesBackEveryFrame_HoweverTheGuestLeftItsTables()
    {
        var random = new Random(9);
        for (int life = 0; life < 20; life++)
        {
            const uint Frames = 64;
            using var memory = new MachineMemory(TestGuest.Pages, Frames);
            using (var guest = new TestGuest(memory: memory))
            {
                guest.Initialised();
                var values = new HostileValues(random, TestGuest.PageOffset);
                for (int step = 0; step < 300 && !guest.Guest.IsDead; step++)
                {
                    guest.SetWord(values.EntryAddress(), values.Entry());
                    guest.Guest.PageTables.DemandPage(values.Address(), (uint)random.Next(8));
                    guest.Call((uint)Hypercall.NewPageTable, values.Directory());
                }
            }
            for (uint i = 0; i < Frames; i++)
            {
                Assert.True(memory.TryAllocateFrame(out _));
            }
        }
    }

    [Fact]
    public void EveryTextOfTheHost_IsKnownToTheList()
    {
        string[] texts =
        [
            KillReason.Crash("x"u8), KillReason.HypercallBeforeInit(uint.MaxValue), KillReason.AlreadyInitialised, KillReason.BadGuestPage(1), KillReason.BadHypercall(11),
            KillReason.FetchingHypercalls, KillReason.WritingHypercallResult, KillReason.WritingTimestamp, KillReason.WritingCr2, KillReason.DisablingInterrupts,
            KillReason.EnablingInterrupts, KillReason.BadRead(0), KillReason.BadWrite(uint.MaxValue), KillReason.BadRead(0, 4), KillReason.BadWrite(1, 4),
            KillReason.UnhandledTrap(256, 0, 1), KillReason.BadStackSegment(uint.MaxValue), KillReason.BadStackPages(3), KillReason.BadStackPage(0), KillReason.BadIdtType(5),
            KillReason.TooManyGdtEntries(33), KillReason.SwitcherAccess, KillReason.BadPageTableEntry, KillReason.BadDirectoryEntry, KillReason.FailedToGetPage(9),
            KillReason.OutOfMemory, KillReason.BadDmaKey(2), KillReason.BadSendingKey, KillReason.BadRegisteredBuffer, KillReason.BadDmaEntry(1, 2),
            KillReason.BadRegisteredDma, KillReason.WritingRegisteredDma, KillReason.MappingDmaPages, KillReason.BadSendingDma,
        ];
        string?[] formats = [.. texts.Select(LastWords.FormatOf)];
        Assert.All(formats, Assert.NotNull);
        Assert.Equal(texts.Length, formats.Distinct().Count());
        Assert.All((string[])["", "crash: x", "bad dma key 2", "bad dma key 0x02", "bad read address 0x1 ", "Object reference not set"], static text => Assert.Null(LastWords.FormatOf(text)));
    }

    [Fact]
    public void TheCheckOfIsolation_FindsAForeignFrame()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Assert.True(guest.Guest.PageTables.DemandPage(TestGuest.Virtual(TestGuest.Scratch), 2));
        Isolation.Check(guest.Guest, guest.Memory);
        uint table = guest.ShadowDirectoryEntry(TestGuest.PageOffset) & 0xFFFF_F000;
        guest.SetWord(table, (uint)(Pages << 12) | 0x67);
        Assert.Throws<HostileFailure>(() => Isolation.Check(guest.Guest, guest.Memory));
    }

    /// <summary>Seed 0 stands for one that nobody has tried yet.</summary>
    private static void Campaign(int events, int seed, int threads, bool crossesProcesses)
    {
        seed = seed == 0 ? Random.Shared.Next() : seed;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        HostileResult result = new HostileCampaign(events, seed, threads, crossesProcesses).Run();
        Assert.InRange(result.Events, events, events + threads);
        Assert.DoesNotContain(0, result.Throws);
        Assert.True(result.Deaths.Count >= 8, $"Only {result.Deaths.Count} ways to die were found.");
    }
}
