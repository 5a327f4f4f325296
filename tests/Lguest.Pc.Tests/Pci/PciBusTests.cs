// Configuration mechanism 1 and the header of type 0, sentence by sentence of the PCI Local Bus Specification 3.0.

using Lguest.Pc.Pci;

namespace Lguest.Pc.Tests.Pci;

public sealed class PciBusTests : IDisposable
{
    private readonly PciBench bench = new();
    private readonly TestFunction function = new();
    private readonly int device;

    public PciBusTests() => device = bench.Bus.Add(function);

    [Fact]
    public void TheAddressRegisterReadsBackWithoutItsReservedBits()
    {
        bench.Out(0xCF8, 4, 0xFFFF_FFFF);
        Assert.Equal(0x80FF_FFFCu, bench.In(0xCF8, 4));
    }

    [Theory]
    [InlineData(0xCF8, 1)]
    [InlineData(0xCF8, 2)]
    [InlineData(0xCF9, 1)]
    [InlineData(0xCFA, 2)]
    public void OnlyWholeWordsReachTheAddressRegister(int port, int size)
    {
        bench.Out(0xCF8, 4, 0x8000_0800);
        bench.Out((ushort)port, size, 0);
        Assert.Equal(0x8000_0800u, bench.In(0xCF8, 4));
        Assert.Equal(uint.MaxValue >> (32 - (8 * size)), bench.In((ushort)port, size));
    }

    [Fact]
    public void TheHostBridgeIsDeviceZero()
    {
        Assert.Equal(0x1237_8086u, bench.Read(0, 0, 4));
        Assert.Equal(0x0600u, bench.Read(0, 0x0A, 2));
        Assert.Equal(0u, bench.Read(0, 0x0E, 1));
    }

    [Fact]
    public void TheHeaderSaysWhatAFunctionIs_InAccessesOfEverySize()
    {
        Assert.Equal(1, device);
        Assert.Equal(0x5678_1234u, bench.Read(device, 0, 4));
        Assert.Equal(0x5678u, bench.Read(device, 2, 2));
        Assert.Equal(0x56u, bench.Read(device, 3, 1));
        Assert.Equal(0x0180_0207u, bench.Read(device, 8, 4));
        Assert.Equal(0xDEF0_9ABCu, bench.Read(device, 0x2C, 4));
        Assert.Equal(0x8002u, bench.Read(device, 9, 2));
    }

    [Theory]
    [InlineData(0x8000_1000u)]
    [InlineData(0x8000_0900u)]
    [InlineData(0x8001_0800u)]
    [InlineData(0x0000_0800u)]
    public void NobodyAnswersForAbsentDevicesFunctionsAndBuses_OrWithoutTheEnableBit(uint address)
    {
        bench.Out(0xCF8, 4, address);
        Assert.Equal(0xFFFF_FFFFu, bench.In(0xCFC, 4));
        bench.Out(0xCFC, 4, 0);
        Assert.Equal(0x5678_1234u, bench.Read(device, 0, 4));
    }

    [Fact]
    public void AnAccessThatLeavesTheWindowReachesNobody()
    {
        Assert.Equal(0xFFFFu, bench.Read(device, 3, 2));
        Assert.Equal(0xFFFF_FFFFu, bench.Read(device, 2, 4));
    }

    [Fact]
    public void IdentityCannotBeWritten()
    {
        for (int offset = 0; offset < 256; offset += 4)
        {
            bench.Write(device, offset, 4, 0xFFFF_FFFF);
        }
        Assert.Equal(0x5678_1234u, bench.Read(device, 0, 4));
        Assert.Equal(0x0180_0207u, bench.Read(device, 8, 4));
        Assert.Equal(0xDEF0_9ABCu, bench.Read(device, 0x2C, 4));
        Assert.Equal(0x0406u, bench.Read(device, 4, 2));
        Assert.Equal(0x01FFu, bench.Read(device, 0x3C, 2));
        Assert.Equal(0u, bench.Read(device, 0x40, 4));
    }

    [Fact]
    public void ABarTellsItsSizeByTheBitsThatCannotBeWritten()
    {
        foreach ((int bar, uint mask) in new (int, uint)[] { (0, 0), (1, 0xFFFF_E000), (2, 0xFFFF_F000), (3, 0), (4, 0), (5, 0) })
        {
            bench.Write(device, 0x10 + (4 * bar), 4, 0xFFFF_FFFF);
            Assert.Equal(mask, bench.Read(device, 0x10 + (4 * bar), 4));
        }
        bench.Write(device, 0x30, 4, 0xFFFF_FFFF);
        Assert.Equal(0u, bench.Read(device, 0x30, 4));
    }

    [Fact]
    public void ABarCanBeWrittenByteByByte()
    {
        bench.Write(device, 0x17, 1, 0xD0);
        bench.Write(device, 0x15, 1, 0x7F);
        Assert.Equal(0xD000_6000u, bench.Read(device, 0x14, 4));
    }

    [Fact]
    public void RegistersAnswerOnlyWhileMemorySpaceIsOn_AndWhereTheBarSays()
    {
        function.First.Value = 0x1000;
        bench.Write(device, 0x14, 4, PciBench.Gap);
        Assert.Equal(uint.MaxValue, bench.Memory.Read<uint>(PciBench.Gap + 4));
        bench.Write(device, 4, 2, 2);
        Assert.Equal(0x1004u, bench.Memory.Read<uint>(PciBench.Gap + 4));
        bench.Memory.Write<ushort>(PciBench.Gap + 0x1FFE, 0xABCD);
        Assert.Equal((0x1FFEu, 2, 0xABCDu), function.First.Written);

        bench.Write(device, 0x14, 4, PciBench.Gap + 0x10_0000);
        Assert.Equal(uint.MaxValue, bench.Memory.Read<uint>(PciBench.Gap + 4));
        Assert.Equal(0x1004u, bench.Memory.Read<uint>(PciBench.Gap + 0x10_0004));
        bench.Write(device, 4, 2, 0);
        Assert.Equal(uint.MaxValue, bench.Memory.Read<uint>(PciBench.Gap + 0x10_0004));
    }

    [Fact]
    public void ABarOnMemoryHidesNothing()
    {
        bench.Memory.Write(0x2000, 0x1234_5678);
        bench.Write(device, 0x14, 4, 0x2000);
        bench.Write(device, 4, 2, 2);
        Assert.Equal(0x1234_5678, bench.Memory.Read<int>(0x2000));
    }

    [Fact]
    public void ABarOnAnotherWaitsUntilItsPlaceIsFree()
    {
        var other = new TestFunction();
        int second = bench.Bus.Add(other);
        function.First.Value = 0x100;
        other.First.Value = 0x200;
        foreach (int each in new[] { device, second })
        {
            bench.Write(each, 0x14, 4, PciBench.Gap);
            bench.Write(each, 0x18, 4, PciBench.Gap + 0x10_0000 + ((uint)each << 12));
            bench.Write(each, 4, 2, 2);
        }
        Assert.Equal(0x100u, bench.Memory.Read<uint>(PciBench.Gap));
        bench.Write(device, 0x14, 4, PciBench.Gap + 0x2000);
        Assert.Equal(0x200u, bench.Memory.Read<uint>(PciBench.Gap));
        Assert.Equal(0x100u, bench.Memory.Read<uint>(PciBench.Gap + 0x2000));
    }

    [Fact]
    public void TheFirmwareAlignsBarsAndSwitchesThemOn()
    {
        uint end = bench.Bus.Configure(PciBench.Gap + 0x1000);
        Assert.Equal(PciBench.Gap + 0x2000, bench.Read(device, 0x14, 4));
        Assert.Equal(PciBench.Gap + 0x4000, bench.Read(device, 0x18, 4));
        Assert.Equal(PciBench.Gap + 0x5000, end);
        Assert.Equal(2u, bench.Read(device, 4, 2));
        Assert.Equal(0x0109u, bench.Read(device, 0x3C, 2));
        function.Second.Value = 5;
        Assert.Equal(5u, bench.Memory.Read<uint>(PciBench.Gap + 0x4000));
    }

    [Fact]
    public void TheInterruptPinFollowsStatus_UnlessItIsDisabled()
    {
        function.Want(true);
        Assert.True(bench.Lines[1].Level);
        Assert.Equal(8u, bench.Read(device, 6, 2));
        bench.Write(device, 5, 1, 4);
        Assert.False(bench.Lines[1].Level);
        Assert.Equal(8u, bench.Read(device, 6, 2));
        bench.Write(device, 5, 1, 0);
        Assert.True(bench.Lines[1].Level);
        function.Want(false);
        Assert.False(bench.Lines[1].Level);
        Assert.Equal(0u, bench.Read(device, 6, 2));
    }

    [Fact]
    public void AWireThatTwoPullStaysUpUntilBothLetGo()
    {
        TestFunction[] others = [new(), new(), new(), new()];
        foreach (TestFunction other in others)
        {
            bench.Bus.Add(other);
        }
        function.Want(true);
        others[3].Want(true);
        others[3].Want(true);
        function.Want(false);
        Assert.True(bench.Lines[1].Level);
        others[3].Want(false);
        Assert.False(bench.Lines[1].Level);
        Assert.False(bench.Lines[0].Level || bench.Lines[2].Level || bench.Lines[3].Level);
    }

    [Fact]
    public void CapabilitiesAreALinkedListOfAlignedEntries()
    {
        Assert.Equal(0u, bench.Read(device, 6, 2));
        int first = function.Append(9, 1, 2, 3);
        int second = function.Append(0x11, 4);
        Assert.Equal(0x10u, bench.Read(device, 6, 2));
        Assert.Equal(((uint)first, 0x40), (bench.Read(device, 0x34, 1), first));
        Assert.Equal(0x48, second);
        Assert.Equal(0x0201_4809u, bench.Read(device, first, 4));
        Assert.Equal(0x0004_0011u, bench.Read(device, second, 4));
    }

    [Fact]
    public void AResetSwitchesEverythingOff()
    {
        bench.Bus.Configure(PciBench.Gap);
        function.Want(true);
        bench.Bus.Reset();
        Assert.False(bench.Lines[1].Level);
        Assert.Equal(0u, bench.Read(device, 4, 4));
        Assert.Equal(0u, bench.Read(device, 0x14, 4));
        Assert.Equal(uint.MaxValue, bench.Memory.Read<uint>(PciBench.Gap));
    }

    [Fact]
    public void ABusHasThirtyTwoDevices()
    {
        for (int i = 2; i < PciBus.DeviceCount; i++)
        {
            Assert.Equal(i, bench.Bus.Add(new TestFunction()));
        }
        Assert.Throws<InvalidOperationException>(() => bench.Bus.Add(new TestFunction()));
    }

    public void Dispose() => bench.Dispose();
}
