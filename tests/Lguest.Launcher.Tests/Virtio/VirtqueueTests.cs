// Split queues (Virtual I/O Device 1.2, 2.7): what a good driver may do, and what a bad one gets.

using Lguest.Launcher.Devices.Virtio.Entropy;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public sealed class VirtqueueTests : IDisposable
{
    private const ushort Next = 1;
    private const ushort Writable = 2;
    private const ushort IndirectTable = 4;
    private const uint Table = Data + 0x1_0000;

    private readonly VirtioDriver driver = new(new EntropyDevice());

    private DriverQueue Queue => driver.Queues[0];

    [Theory]
    [InlineData(0UL)]
    [InlineData(EventIndex)]
    public void TheRingsTurnRoundAndRound(ulong features)
    {
        driver.Start(Version1 | features, 2);
        for (int i = 0; i < 70_000; i++)
        {
            Assert.Equal(8u, Queue.Request(new DriverBuffer(Data, 8, true)));
        }
    }

    [Fact]
    public void SeveralBuffersAreServedAtOnce_InOrder_WithOneInterrupt()
    {
        driver.Start(size: 4);
        for (uint i = 0; i < 4; i++)
        {
            Queue.Add(new DriverBuffer(Data + (i * 64), 8 + i, true));
        }
        Assert.True(Queue.Kick());
        Assert.Equal(4, Queue.UsedIndex);
        Assert.Equal([(0, 8), (1, 9), (2, 10), (3, 11)], Enumerable.Range(0, 4).Select(i => Queue.Element(3 - i)));
        Assert.Equal(1, driver.Interrupts);
    }

    [Fact]
    public void V_2_7_5_3_AnIndirectTableIsAChainOfItsOwn()
    {
        driver.Start(Version1 | Indirect, 2);
        Queue.Write(Table, 0, Data, 4, Next | Writable, 2);
        Queue.Write(Table, 2, Data + 0x100, 5, Next | Writable, 1);
        Queue.Write(Table, 1, Data + 0x200, 6, Writable, 0);
        Queue.Write(Queue.Descriptors, 0, Data + 0x300, 7, Next | Writable, 1);
        Queue.Write(Queue.Descriptors, 1, Table, 48, IndirectTable, 0);
        Queue.MakeAvailable(0);
        driver.Notify(0);
        Assert.False(driver.NeedsReset);
        Assert.Equal((0u, 22u), Queue.Element());
        Assert.Contains(driver.Bytes(Data + 0x200, 6), static value => value != 0);
    }

    [Fact]
    public void AnIndirectTableMayBeLongerThanTheQueue()
    {
        driver.Start(Version1 | Indirect, 2);
        for (ushort i = 0; i < 200; i++)
        {
            Queue.Write(Table, i, Data, 1, (ushort)(Writable | (i < 199 ? Next : 0)), (ushort)(i + 1));
        }
        Queue.Write(Queue.Descriptors, 0, Table, 200 * 16, IndirectTable, 0);
        Queue.MakeAvailable(0);
        driver.Notify(0);
        Assert.Equal((0u, 200u), Queue.Element());
    }

    [Fact]
    public void V_2_7_7_ADriverThatWantsNoInterruptGetsNone()
    {
        driver.Start();
        Queue.SetNoInterrupt(true);
        Queue.Request(new DriverBuffer(Data, 8, true));
        Assert.Equal(0, driver.Interrupts);
        Queue.SetNoInterrupt(false);
        Queue.Request(new DriverBuffer(Data, 8, true));
        Assert.Equal(1, driver.Interrupts);
        driver.TakeInterrupt();
        driver.Notify(0);
        Assert.Equal(1, driver.Interrupts);
    }

    [Fact]
    public void V_2_7_7_WithEventIndex_TheInterruptComesWhenTheIndexIsPassed()
    {
        driver.Start(Version1 | EventIndex, 8);
        // The index of the buffer whose use is to be told.
        Queue.SetUsedEvent(2);
        Queue.Request(new DriverBuffer(Data, 8, true));
        Queue.Request(new DriverBuffer(Data, 8, true));
        Assert.Equal(0, driver.Interrupts);
        Queue.Request(new DriverBuffer(Data, 8, true));
        Assert.Equal(1, driver.Interrupts);
        driver.TakeInterrupt();
        Queue.Request(new DriverBuffer(Data, 8, true));
        Assert.Equal(1, driver.Interrupts);
        Queue.SetUsedEvent(5);
        for (int i = 0; i < 4; i++)
        {
            Queue.Add(new DriverBuffer(Data, 8, true));
        }
        driver.Notify(0);
        Assert.Equal(2, driver.Interrupts);
    }

    [Fact]
    public void V_2_7_10_WithEventIndex_TheDeviceWantsToHearOfTheNextBuffer()
    {
        driver.Start(Version1 | EventIndex, 8);
        for (int i = 0; i < 20; i++)
        {
            Queue.Add(new DriverBuffer(Data, 8, true));
            Assert.True(Queue.Kick());
            Assert.Equal(i + 1, Queue.UsedIndex);
        }
    }

    [Fact]
    public void BuffersMayEndWithMemory()
    {
        driver.Start();
        Assert.Equal(16u, Queue.Request(new DriverBuffer(MemoryEnd - 16, 16, true)));
        Assert.Equal(0u, Queue.Request(new DriverBuffer(MemoryEnd, 0, true)));
        Assert.False(driver.NeedsReset);
    }

    [Theory]
    [InlineData(MemoryEnd - 15, 16)]
    [InlineData(MemoryEnd, 1)]
    [InlineData(0, 0xFFFF_FFFF)]
    [InlineData(0x1000, 0xFFFF_F000)]
    [InlineData(0x1_0000_0000, 16)]
    [InlineData(0xFFFF_FFFF_FFFF_FFFF, 2)]
    [InlineData(0xFFFF_FFFF_FFFF_FFF0, 16)]
    [InlineData(Gap, 4)]
    public void ABufferThatIsNotTheGuests_NeedsAReset(ulong address, uint length)
    {
        driver.Start();
        Queue.Add(new DriverBuffer(Data, 8, true), new DriverBuffer(address, length, true));
        AssertRefused();
    }

    [Theory]
    [InlineData(16)]
    [InlineData(0xFFFF)]
    public void AHeadOutsideTheTable_NeedsAReset(int head)
    {
        driver.Start();
        Queue.MakeAvailable((ushort)head);
        AssertRefused();
    }

    [Fact]
    public void ANextOutsideTheTable_NeedsAReset()
    {
        driver.Start();
        Queue.Write(Queue.Descriptors, 0, Data, 8, Writable | Next, 16);
        Queue.MakeAvailable(0);
        AssertRefused();
    }

    [Fact]
    public void ALoopOfDescriptors_NeedsAReset()
    {
        driver.Start();
        Queue.Write(Queue.Descriptors, 0, Data, 8, Writable | Next, 1);
        Queue.Write(Queue.Descriptors, 1, Data, 8, Writable | Next, 0);
        Queue.MakeAvailable(0);
        AssertRefused();
    }

    [Fact]
    public void APieceToReadBehindOneToWrite_NeedsAReset()
    {
        driver.Start();
        Queue.Add(new DriverBuffer(Data, 8, true), new DriverBuffer(Data, 8, false));
        AssertRefused();
    }

    [Fact]
    public void MoreBuffersThanTheRingHas_NeedAReset()
    {
        driver.Start();
        driver.Memory.Write(Queue.Available + 2, (ushort)17);
        AssertRefused();
    }

    [Theory]
    [InlineData(0UL, 16u, 4)]
    [InlineData(Indirect, 0u, 4)]
    [InlineData(Indirect, 24u, 4)]
    [InlineData(Indirect, 16u, 5)]
    [InlineData(Indirect, 0xFFFF_FFF0u, 4)]
    public void AnIndirectTableThatIsNone_NeedsAReset(ulong features, uint length, ushort flags)
    {
        driver.Start(Version1 | features);
        Queue.Write(Table, 0, Data, 8, Writable, 0);
        Queue.Write(Queue.Descriptors, 0, Table, length, flags, 1);
        Queue.MakeAvailable(0);
        AssertRefused();
    }

    [Fact]
    public void AnIndirectTableInAnother_NeedsAReset()
    {
        driver.Start(Version1 | Indirect);
        Queue.Write(Table, 0, Table, 16, IndirectTable, 0);
        Queue.Write(Queue.Descriptors, 0, Table, 16, IndirectTable, 0);
        Queue.MakeAvailable(0);
        AssertRefused();
    }

    [Fact]
    public void AQueueThatWasRefusedIsSilent_UntilTheReset()
    {
        driver.Start();
        Queue.MakeAvailable(16);
        AssertRefused();
        driver.TakeInterrupt();
        Queue.Add(new DriverBuffer(Data, 8, true));
        driver.Notify(0);
        Assert.Equal((0, 1), (Queue.UsedIndex, driver.Interrupts));
        driver.Start();
        Assert.Equal(8u, Queue.Request(new DriverBuffer(Data, 8, true)));
    }

    [Fact]
    public void ARequestThatOverwritesItsOwnTableIsServedAsItWas()
    {
        driver.Start();
        Queue.Add(new DriverBuffer(Queue.Descriptors, 256, true), new DriverBuffer(Data, 8, true));
        driver.Notify(0);
        Assert.Equal((0u, 264u), Queue.Element());
    }

    public void Dispose() => driver.Dispose();

    private void AssertRefused()
    {
        driver.Notify(0);
        Assert.True(driver.NeedsReset);
        Assert.Equal((0, 1), (Queue.UsedIndex, driver.Interrupts));
        Assert.Equal(2, driver.TakeInterrupt());
        Assert.Equal(0, driver.Memory.Read<int>(Data));
    }
}
