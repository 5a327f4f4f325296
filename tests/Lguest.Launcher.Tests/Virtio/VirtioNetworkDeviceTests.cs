// A virtio network interface packet by packet (Virtual I/O Device 1.2, 5.1).

using Lguest.Launcher.Devices.Virtio.Network;
using Lguest.Launcher.Tests.Network;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public sealed class VirtioNetworkDeviceTests : IDisposable
{
    private const int Receiving = 0, Sending = 1;
    private const ulong Csum = 1, GuestCsum = 2, Mac = 1 << 5, LinkStatus = 1 << 16;

    private readonly LoopBackEnd outside = new();
    private readonly VirtioDriver driver;

    public VirtioNetworkDeviceTests() => driver = new VirtioDriver(new VirtioNetworkDevice(outside, [2, 1, 2, 3, 4, 5]));

    [Fact]
    public void V_5_1_4_TheConfigurationSpaceTellsAddressAndLink()
    {
        Assert.Equal(0x1041_1AF4u, driver.ReadPci(0, 4));
        Assert.Equal(Mac | LinkStatus, driver.OfferedFeatures() & 0xFF_FFFF);
        Assert.Equal([2, 1, 2, 3, 4, 5, 1, 0], Enumerable.Range(0, 8).Select(i => driver.Configuration<byte>((uint)i)));
    }

    [Fact]
    public void V_5_1_6_2_APacketIsSentWithoutItsHead()
    {
        driver.Start();
        driver.Memory.Write(Data, [.. Enumerable.Range(0, 100).Select(static i => (byte)i)]);
        Assert.Equal(0u, driver.Queues[Sending].Request(new(Data, 20, false), new(Data + 20, 80, false)));
        Assert.Equal([.. Enumerable.Range(12, 88).Select(static i => (byte)i)], Assert.Single(outside.Sent));
    }

    [Theory]
    [InlineData(11, 0)]
    [InlineData(12 + 13, 0)]
    [InlineData(12 + 14, 1)]
    [InlineData(12 + 1514, 1)]
    [InlineData(12 + 1515, 0)]
    [InlineData(0x1_0000, 0)]
    public void WhatIsNoPacketIsNotSent(uint length, int sent)
    {
        driver.Start();
        Assert.Equal(0u, driver.Queues[Sending].Request(new DriverBuffer(Data, length, false)));
        Assert.Equal(sent, outside.Sent.Count);
    }

    [Fact]
    public void V_5_1_6_4_APacketArrivesBehindAHead()
    {
        driver.Start();
        driver.Memory.Write(Data, [.. Enumerable.Repeat((byte)0xEE, 200)]);
        ushort head = driver.Queues[Receiving].Add(new(Data, 12, true), new(Data + 100, 64, true));
        driver.Notify(Receiving);
        Assert.Equal(0, driver.Queues[Receiving].UsedIndex);
        outside.Input.TryAdd(Frame(60));
        driver.Device.DeliverInput();
        Assert.Equal((head, 72u), driver.Queues[Receiving].Element());
        Assert.Equal([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], driver.Bytes(Data, 12));
        Assert.Equal([.. Frame(60), 0xEE], driver.Bytes(Data + 100, 61));
        Assert.True(driver.Level);
        Assert.Equal(0, outside.Input.Count);
    }

    [Fact]
    public void PacketsWaitForBuffers_AndThenForTheNotification()
    {
        driver.Start();
        for (int i = 0; i < 3; i++)
        {
            outside.Input.TryAdd(Frame(60 + i));
        }
        driver.Device.DeliverInput();
        Assert.Equal(3, outside.Input.Count);
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 2000, true));
        driver.Queues[Receiving].Add(new DriverBuffer(Data + 0x1000, 2000, true));
        Assert.True(driver.Queues[Receiving].Kick());
        Assert.Equal((1, 2), (outside.Input.Count, driver.Queues[Receiving].UsedIndex));
        Assert.Equal(((0u, 72u), (1u, 73u)), (driver.Queues[Receiving].Element(1), driver.Queues[Receiving].Element()));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(EventIndex)]
    public void ADeviceWithoutPacketsDoesNotWantToHearOfBuffers(ulong features)
    {
        driver.Start(Version1 | features);
        for (int i = 0; i < 2; i++)
        {
            driver.Queues[Receiving].Add(new DriverBuffer(Data, 2000, true));
            Assert.False(driver.Queues[Receiving].Kick());
        }
        for (int i = 0; i < 3; i++)
        {
            outside.Input.TryAdd(Frame(60));
        }
        driver.Device.DeliverInput();
        Assert.Equal(2, driver.Queues[Receiving].UsedIndex);
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 2000, true));
        Assert.True(driver.Queues[Receiving].Kick());
        Assert.Equal(3, driver.Queues[Receiving].UsedIndex);
    }

    [Fact]
    public void APacketThatDoesNotFitIsLost()
    {
        driver.Start();
        outside.Input.TryAdd(Frame(60));
        outside.Input.TryAdd(Frame(50));
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 71, true));
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 71, true));
        driver.Notify(Receiving);
        Assert.Equal(((0u, 0u), (1u, 62u)), (driver.Queues[Receiving].Element(1), driver.Queues[Receiving].Element()));
    }

    [Fact]
    public void WithoutADriverPacketsAreThrownAway()
    {
        outside.Input.TryAdd(Frame(60));
        driver.Device.DeliverInput();
        Assert.Equal(0, outside.Input.Count);
    }

    [Fact]
    public void V_5_1_6_4_1_ChecksumsAreTheBackEndsWhereItCompletesThem()
    {
        using var completing = new VirtioDriver(new VirtioNetworkDevice(new LoopBackEnd { Completes = true }, new byte[6]));
        Assert.Equal(Csum | GuestCsum, completing.OfferedFeatures() & 3);
        var device = new LoopBackEnd { Completes = true };
        using var other = new VirtioDriver(new VirtioNetworkDevice(device, new byte[6]));
        other.Start(Version1 | Csum | GuestCsum);
        device.Input.TryAdd(Frame(60));
        other.Queues[Receiving].Add(new DriverBuffer(Data, 2000, true));
        other.Notify(Receiving);
        Assert.Equal(2, other.Memory.Read<byte>(Data));
    }

    [Fact]
    public void V_5_1_4_AnOutsideThatIsGoneIsAPulledCable()
    {
        driver.Start(Version1 | LinkStatus);
        outside.FailsWith = "gone";
        using var woken = new ManualResetEventSlim();
        driver.Device.Start(woken.Set);
        woken.Wait(TestContext.Current.CancellationToken);
        driver.Device.DeliverInput();
        driver.Device.DeliverInput();
        driver.Device.Stop();
        Assert.Equal(0, driver.Configuration<ushort>(6));
        Assert.Equal((2, 1, 1), (driver.TakeInterrupt(), driver.Interrupts, driver.Common<byte>(0x15)));
    }

    [Fact]
    public void HardwareAddressesAreOfOnesOwn()
    {
        byte[][] addresses = [.. Enumerable.Range(0, 50).Select(static _ => HardwareAddress.MakeRandom())];
        Assert.All(addresses, static address => Assert.Equal(2, address[0] & 3));
        Assert.Equal(50, addresses.Select(Convert.ToHexString).Distinct().Count());
    }

    public void Dispose() => driver.Dispose();

    private static byte[] Frame(int length) => [.. Enumerable.Range(1, length).Select(static i => (byte)i)];
}
