// ABI 10.4 to 10.6, the part of a console: bindings and sending with private keys.

namespace Lguest.Host.Tests;

public class Abi10DmaTests
{
    private const uint BindDma = (uint)Hypercall.BindDma;
    private const uint SendDma = (uint)Hypercall.SendDma;

    private static bool Bind(TestGuest guest, uint key, uint array, uint countAndIrq)
    {
        guest.Call(BindDma, key, array, countAndIrq);
        return guest.Guest.Registers.Eax == 1;
    }

    [Theory]
    [InlineData(1u)]
    [InlineData(2u)]
    [InlineData(TestGuest.Top)]
    [InlineData(0xFFFF_FFFCu)]
    public void Abi_10_4_UnresolvableKeys_Kill(uint key)
    {
        using (var guest = new TestGuest())
        {
            guest.Initialised().Call(BindDma, key, TestGuest.Dma, (1 << 8) | 1);
            Assert.Equal($"bad dma key 0x{key:x}", guest.Guest.DeathReason);
            Assert.Equal(0u, guest.Guest.Registers.Eax);
        }
        using (var guest = new TestGuest())
        {
            guest.Initialised().Call(SendDma, key, TestGuest.Dma);
            Assert.Equal("bad sending DMA key", guest.Guest.DeathReason);
            Assert.False(guest.Guest.Io.HasPendingDma);
        }
    }

    [Fact]
    public void Abi_10_4_TheLastPage_HoldsKeysToo()
    {
        using var guest = new TestGuest();
        Assert.True(Bind(guest.Initialised(), TestGuest.Top - 4, TestGuest.Dma, (1 << 8) | 1));
    }

    [Fact]
    public void Abi_10_5_IrqBeyond31_FailsWithoutKilling_EvenWithABadKey()
    {
        using var guest = new TestGuest();
        Assert.False(Bind(guest.Initialised(), 1, TestGuest.Dma, (1 << 8) | 32));
        Assert.False(Bind(guest, 1, TestGuest.Dma, 0xFF));
        Assert.Null(guest.Guest.DeathReason);
    }

    [Fact]
    public void Abi_10_5_ThirtyTwoBindings_ThenNoMore()
    {
        using var guest = new TestGuest();
        guest.Initialised();
        for (uint i = 0; i < 32; i++)
        {
            Assert.True(Bind(guest, 4 * i, TestGuest.Dma, (1 << 8) | 1));
        }
        Assert.False(Bind(guest, 0x200, TestGuest.Dma, (1 << 8) | 1));
        Assert.True(Bind(guest, 4 * 7, TestGuest.Dma, 0));
        Assert.True(Bind(guest, 0x200, TestGuest.Dma, (1 << 8) | 1));
    }

    [Fact]
    public void Abi_10_5_Unbind_NeedsKeyAndArray_AndWorksOnce()
    {
        using var guest = new TestGuest();
        Assert.True(Bind(guest.Initialised(), 0x40, TestGuest.Dma, (1 << 8) | 3));
        Assert.False(Bind(guest, 0x44, TestGuest.Dma, 0));
        Assert.False(Bind(guest, 0x40, TestGuest.Dma + 100, 0));
        Assert.True(Bind(guest, 0x40, TestGuest.Dma, 0));
        Assert.False(Bind(guest, 0x40, TestGuest.Dma, 0));
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0x40, out _));
    }

    [Fact]
    public void Abi_10_5_Unbind_RemovesTheNewest()
    {
        using var guest = new TestGuest();
        Assert.True(Bind(guest.Initialised(), 0, TestGuest.Dma, (1 << 8) | 3));
        Assert.True(Bind(guest, 0, TestGuest.Dma, (1 << 8) | 4));
        Assert.True(Bind(guest, 0, TestGuest.Dma, 0));
        Assert.Equal(LguestError.None, guest.Device.GetDma(0, out uint list));
        Assert.Equal(3u, guest.Word(list));
    }

    [Fact]
    public void Abi_5_4_CountOfBuffers_IsSixteenBits()
    {
        using var guest = new TestGuest();
        Assert.True(Bind(guest.Initialised(), 0, TestGuest.Dma, 0x0100_0001));
        Assert.Equal(LguestError.NoEntry, guest.Device.GetDma(0, out _));
    }

    [Fact]
    public void Abi_10_6_PrivateKey_GoesToTheLauncher_Unvalidated()
    {
        using var guest = new TestGuest();
        guest.Initialised().Post(0, SendDma, 0x123C, 0xFFFF_FFFF);
        Assert.Equal(new ReadResult(LguestError.None, 0xFFFF_FFFF, 0x123C), guest.Read());
    }
}
