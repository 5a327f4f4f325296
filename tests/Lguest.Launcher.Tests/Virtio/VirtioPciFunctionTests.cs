// The registers of virtio over PCI and the life of a device, by the sections of Virtual I/O Device 1.2 that the names begin with.

using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Entropy;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public sealed class VirtioPciFunctionTests : IDisposable
{
    private readonly VirtioDriver driver = new(new EntropyDevice());

    private static DriverBuffer Buffer => new(Data, 64, true);

    [Fact]
    public void V_2_1_BitsOfTheStatusAreAdded_AndAResetTakesThemBack()
    {
        driver.Status = 1;
        driver.Status = 2;
        Assert.Equal(3, driver.Status);
        driver.Status = 64 | 16 | 32 | 1;
        Assert.Equal(3, driver.Status);
        driver.Status = 0;
        Assert.Equal(0, driver.Status);
    }

    [Fact]
    public void V_2_2_FeaturesThatAreNotOfferedAreRefused_AndSoIsADriverOfBeforeVersion1()
    {
        Assert.Equal(Version1 | Indirect | EventIndex, driver.OfferedFeatures());
        Assert.False(driver.Negotiate(0));
        Assert.False(driver.Negotiate(Indirect));
        Assert.False(driver.Negotiate(Version1 | 1));
        Assert.False(driver.Negotiate(Version1 | (1UL << 34)));
        Assert.True(driver.Negotiate(Version1));
        Assert.True(driver.Negotiate(Version1 | Indirect | EventIndex));
    }

    [Fact]
    public void V_2_2_FeaturesStayAsAgreed()
    {
        Assert.True(driver.Negotiate(Version1));
        driver.SetCommon(8, 0u);
        driver.SetCommon(12, 0xFFFF_FFFFu);
        Assert.Equal(0u, driver.Common<uint>(12));
        driver.SetCommon(8, 2u);
        Assert.Equal(0u, driver.Common<uint>(12));
        driver.SetCommon(0, 2u);
        Assert.Equal(0u, driver.Common<uint>(4));
    }

    [Fact]
    public void V_3_1_WithoutFeaturesThereIsNoReadyDriver()
    {
        driver.Status = 1;
        driver.Status = 1 | 2 | 4;
        Assert.Equal(3, driver.Status);
    }

    [Fact]
    public void V_4_1_4_3_QueuesAreDescribedBySelection()
    {
        Assert.Equal(1, driver.Common<ushort>(0x12));
        Assert.Equal((ushort)256, driver.Common<ushort>(0x18));
        driver.SetCommon(0x16, (ushort)1);
        Assert.Equal(0, driver.Common<ushort>(0x18));
        driver.SetCommon(0x18, (ushort)8);
        driver.SetCommon(0x16, (ushort)0);
        Assert.Equal((ushort)256, driver.Common<ushort>(0x18));
        Assert.Equal((ushort)0xFFFF, driver.Common<ushort>(0x10));
        Assert.Equal((ushort)0xFFFF, driver.Common<ushort>(0x1A));
    }

    [Fact]
    public void V_4_1_4_3_AnEnabledQueueStaysWhereItIs()
    {
        driver.Start();
        driver.Place(0x20, Data);
        driver.SetCommon(0x18, (ushort)4);
        Assert.Equal(Rings, driver.Common<uint>(0x20));
        Assert.Equal((ushort)16, driver.Common<ushort>(0x18));
        Assert.Equal(64u, driver.Queues[0].Request(Buffer));
    }

    [Fact]
    public void V_4_1_4_3_RegistersAreWrittenByTheirOwnSize()
    {
        driver.SetCommon(0x18, (byte)8);
        driver.SetCommon(0x18, 8u);
        Assert.Equal((ushort)256, driver.Common<ushort>(0x18));
        driver.SetCommon(0x14, (ushort)1);
        Assert.Equal(0, driver.Status);
        driver.SetCommon(0x15, (byte)3);
        Assert.Equal(0, driver.Common<byte>(0x15));
    }

    [Fact]
    public void V_4_1_4_5_ReadingTheInterruptStatusTakesTheInterruptBack()
    {
        driver.Start();
        driver.Queues[0].Request(Buffer);
        Assert.True(driver.Level);
        Assert.Equal(1, driver.TakeInterrupt());
        Assert.False(driver.Level);
        Assert.Equal(0, driver.TakeInterrupt());
        driver.Queues[0].Request(Buffer);
        Assert.Equal(2, driver.Interrupts);
    }

    [Fact]
    public void V_4_1_4_9_TheWindowReachesTheBar()
    {
        driver.WritePci(driver.Window + 4, 1, 0);
        driver.WritePci(driver.Window + 8, 4, 0x12);
        driver.WritePci(driver.Window + 12, 4, 2);
        Assert.Equal(1u, driver.ReadPci(driver.Window + 16, 2));
        driver.WritePci(driver.Window + 8, 4, 0x14);
        driver.WritePci(driver.Window + 12, 4, 1);
        driver.WritePci(driver.Window + 16, 4, 0xFF00_0003);
        Assert.Equal(3, driver.Status);
        Assert.Equal(3u, driver.ReadPci(driver.Window + 16, 4));
    }

    [Theory]
    [InlineData(1, 0x14, 1)]
    [InlineData(0, 0x14, 3)]
    [InlineData(0, 0x14, 8)]
    [InlineData(0, 0x13, 2)]
    [InlineData(0, 0x4000, 1)]
    [InlineData(0, 0xFFFF_FFFF, 1)]
    public void V_4_1_4_9_AWrongWindowReachesNothing(uint bar, uint offset, uint length)
    {
        driver.WritePci(driver.Window + 4, 1, bar);
        driver.WritePci(driver.Window + 8, 4, offset);
        driver.WritePci(driver.Window + 12, 4, length);
        driver.WritePci(driver.Window + 16, 4, 0xFFFF_FFFF);
        Assert.Equal(0xFFFF_FFFFu, driver.ReadPci(driver.Window + 16, 4));
        Assert.Equal(0, driver.Status);
    }

    [Fact]
    public void ADeviceThatIsNoBusMasterTouchesNoMemory()
    {
        driver.Start();
        driver.WritePci(4, 2, 2);
        driver.Queues[0].Add(Buffer);
        driver.Notify(0);
        Assert.Equal(0, driver.Queues[0].UsedIndex);
        driver.WritePci(4, 2, 6);
        driver.Notify(0);
        Assert.Equal(1, driver.Queues[0].UsedIndex);
    }

    [Fact]
    public void BeforeTheDriverIsReadyNothingIsServed()
    {
        Assert.True(driver.Negotiate(Version1));
        DriverQueue queue = driver.SetUp(0, 16);
        queue.Add(Buffer);
        driver.Notify(0);
        Assert.Equal(0, queue.UsedIndex);
        driver.Status = 15;
        driver.Notify(0);
        Assert.Equal(1, queue.UsedIndex);
    }

    [Fact]
    public void V_2_4_AResetForgetsQueuesAndInterrupts()
    {
        driver.Start();
        driver.Queues[0].Request(Buffer);
        driver.Status = 0;
        Assert.False(driver.Level);
        Assert.Equal(((ushort)0, 0u, (ushort)256), (driver.Common<ushort>(0x1C), driver.Common<uint>(0x20), driver.Common<ushort>(0x18)));
        driver.Notify(0);
        Assert.Equal(1, driver.Memory.Read<ushort>(Rings + 0x2002));
        driver.Start(Version1 | EventIndex);
        Assert.Equal(64u, driver.Queues[0].Request(Buffer));
    }

    [Theory]
    [InlineData(0, 0x1_0000, 0x1_1000, 0x1_2000)]
    [InlineData(3, 0x1_0000, 0x1_1000, 0x1_2000)]
    [InlineData(512, 0x1_0000, 0x2_0000, 0x3_0000)]
    [InlineData(16, 0x1_0008, 0x1_1000, 0x1_2000)]
    [InlineData(16, 0x1_0000, 0x1_1001, 0x1_2000)]
    [InlineData(16, 0x1_0000, 0x1_1000, 0x1_2002)]
    [InlineData(16, MemoryEnd - 240, 0x1_1000, 0x1_2000)]
    [InlineData(16, 0x1_0000, MemoryEnd - 36, 0x1_2000)]
    [InlineData(16, 0x1_0000, 0x1_1000, MemoryEnd - 132)]
    [InlineData(16, 0x1_0000_0000, 0x1_1000, 0x1_2000)]
    [InlineData(16, 0x1_0000, 0xFFFF_FFFF_FFFF_FFF0, 0x1_2000)]
    [InlineData(16, 0x1_0000, 0x1_1000, Gap)]
    public void AQueueThatIsNotInMemory_OrOfNoGoodSize_NeedsAReset(int size, ulong descriptors, ulong available, ulong used)
    {
        Assert.True(driver.Negotiate(Version1));
        driver.SetCommon(0x18, (ushort)size);
        driver.Place(0x20, descriptors);
        driver.Place(0x28, available);
        driver.Place(0x30, used);
        driver.SetCommon(0x1C, (ushort)1);
        Assert.True(driver.NeedsReset);
        Assert.Equal(0, driver.Common<ushort>(0x1C));
        driver.Start();
        Assert.Equal(64u, driver.Queues[0].Request(Buffer));
    }

    [Fact]
    public void QueuesThatEndWithMemoryAreGood()
    {
        Assert.True(driver.Negotiate(Version1));
        driver.SetCommon(0x18, (ushort)16);
        driver.Place(0x20, MemoryEnd - 256);
        driver.Place(0x28, MemoryEnd - 256 - 38);
        driver.Place(0x30, MemoryEnd - 512 - 136);
        driver.SetCommon(0x1C, (ushort)1);
        Assert.False(driver.NeedsReset);
        Assert.Equal(1, driver.Common<ushort>(0x1C));
    }

    [Fact]
    public void EveryTypeHasTheIdOfTheSpecification() =>
        Assert.Equal([1, 2, 3, 4, 9], Enum.GetValues<VirtioDeviceType>().Select(static type => (int)type));

    public void Dispose() => driver.Dispose();
}
