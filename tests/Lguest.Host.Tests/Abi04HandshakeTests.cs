// ABI 4: lguest_data and the LGUEST_INIT handshake.

namespace Lguest.Host.Tests;

public class Abi04HandshakeTests
{
    private const uint Init = (uint)Hypercall.LguestInit;

    [Theory]
    [InlineData(5u, "hypercall 5 before LGUEST_INIT")]
    [InlineData(0xFFFF_FFFFu, "hypercall -1 before LGUEST_INIT")]
    public void Abi_4_1_AnotherCallFirst_Kills(uint number, string reason)
    {
        using var guest = new TestGuest();
        guest.Program(a => a.Hypercall(number));
        Assert.Equal(reason, guest.RunToDeath());
    }

    [Theory]
    [InlineData(TestGuest.Top - 0x468, "bad guest page 000ffb98")]
    [InlineData(0xFFFF_FFF0u, "bad guest page fffffff0")]
    [InlineData(TestGuest.Top, "bad guest page 00100000")]
    public void Abi_4_1_StructureOutsideTheGuest_Kills(uint address, string reason)
    {
        using var guest = new TestGuest();
        guest.Call(Init, address);
        Assert.Equal(reason, guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_1_3_LastByteBelowTheLimit_IsAllowed()
    {
        using var guest = new TestGuest();
        guest.Call(Init, TestGuest.Top - 0x468 - 1);
        Assert.Null(guest.Guest.DeathReason);
        Assert.True(guest.Guest.Data.IsInitialised);
    }

    [Fact]
    public void Abi_4_1_TheHostsFields_AreWritten()
    {
        var host = new LguestHost();
        using var other = new TestGuest(host: host);
        using var guest = new TestGuest(host: host);
        for (uint i = 0; i < 0x468; i += 4)
        {
            guest.SetWord(TestGuest.Data + i, 0xA5A5_A5A5);
        }
        long before = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        guest.Call(Init, TestGuest.Data);
        long after = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
        Assert.Equal(0x40_0000u, guest.Word(TestGuest.Data + 0x454));
        Assert.Equal(0xA5A5_0000u | guest.Guest.Id, guest.Word(TestGuest.Data + 0x458));
        Assert.Equal(1_000_000u, guest.Word(TestGuest.Data + 0x45C));
        Assert.InRange(guest.Word(TestGuest.Data + 0x00C), before, after);
        Assert.InRange(guest.Word(TestGuest.Data + 0x010), 0u, 999_999_999u);
        uint[] untouched = [0x000, 0x004, 0x008, 0x014, 0x050, 0x054, 0x450, 0x460, 0x464];
        Assert.All(untouched, offset => Assert.Equal(0xA5A5_A5A5, guest.Word(TestGuest.Data + offset)));
    }

    [Fact]
    public void Abi_4_1_Eax_IsUnchanged_AndTheCallIsDone()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        Assert.Equal(1u, guest.Guest.Registers.Eax);
        Assert.Equal(255u, guest.Guest.Registers.TrapNumber);
    }

    [Fact]
    public void Abi_4_1_ShadowMappings_AreDropped()
    {
        using var guest = new TestGuest();
        Assert.True(guest.Guest.PageTables.DemandPage(TestGuest.Virtual(TestGuest.Code), 0));
        Assert.Equal(1, guest.Guest.Statistics.ShadowPages);
        guest.Initialised();
        Assert.Equal(0, guest.Guest.Statistics.ShadowPages);
        Assert.Equal(0u, guest.ShadowEntry(TestGuest.Virtual(TestGuest.Code)));
    }

    [Fact]
    public void Abi_4_1_SecondTime_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Call(Init, TestGuest.Data);
        Assert.Equal("already have lguest_data", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_4_1_SecondTimeInTheRing_Kills()
    {
        using var guest = new TestGuest();
        guest.Initialised().Post(0, Init, TestGuest.Data).Call((uint)Hypercall.FlushAsync);
        Assert.Equal("already have lguest_data", guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_4_1_StructureAtZero_CountsAsNotInitialised()
    {
        using var guest = new TestGuest();
        guest.Call(Init, 0);
        Assert.Equal(0x40_0000u, guest.Word(0x454));
        Assert.False(guest.Guest.Data.IsInitialised);
        guest.Initialised();
        Assert.True(guest.Guest.Data.IsInitialised);
    }

    [Fact]
    public void Abi_5_5_BeforeTheHandshake_TheRingIsNotLookedAt()
    {
        using var guest = new TestGuest();
        guest.SetWord(TestGuest.Data, 0).Program(a =>
        {
            a.nop();
            a.Hypercall(Hypercall.LguestInit, TestGuest.Data);
            a.Stop(1);
        });
        guest.PrepareData().Post(0, (uint)Hypercall.SendDma, 0, 0x55);
        Assert.Equal(0x55u, guest.RunToStop());
    }
}
