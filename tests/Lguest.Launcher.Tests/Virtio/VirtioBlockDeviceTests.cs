// A virtio disk request by request (Virtual I/O Device 1.2, 5.2).

using System.Text;
using Lguest.Launcher.Devices.Block;
using Lguest.Launcher.Devices.Virtio.Block;
using Lguest.Launcher.Tests.Block;
using Microsoft.Extensions.Logging.Abstractions;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public sealed class VirtioBlockDeviceTests : IDisposable
{
    private const int Sectors = 64;
    private const uint Head = Data - 0x1000;
    private const uint Result = Data - 0x800;
    private const uint In = 0, Out = 1, FlushRequest = 4, GetId = 8;
    private const byte Ok = 0, IoError = 1, Unsupported = 2;
    private const ulong Flush = 1 << 9;

    private readonly RecordingDisk disk = new([.. Enumerable.Range(0, Sectors * 512).Select(static i => (byte)(i / 512 * 3 + i))]);
    private readonly VirtioDriver driver;

    public VirtioBlockDeviceTests() => driver = Drive(disk);

    [Fact]
    public void V_5_2_4_TheConfigurationSpaceTellsTheSize()
    {
        Assert.Equal(0x1042_1AF4u, driver.ReadPci(0, 4));
        Assert.Equal((Sectors, 254u, 512u), (driver.Configuration<long>(0), driver.Configuration<uint>(12), driver.Configuration<uint>(20)));
        Assert.Equal((1UL << 2) | (1UL << 6) | Flush, driver.OfferedFeatures() & 0xFF_FFFF);
    }

    [Fact]
    public void AReadFillsTheBuffers()
    {
        driver.Start();
        Assert.Equal(1025u, Request(In, 2, new DriverBuffer(Data + 100, 24, true), new DriverBuffer(Data + 8192, 1000, true)));
        Assert.Equal(Ok, driver.Memory.Read<byte>(Result));
        Assert.Equal(disk.Contents[1024..1048], driver.Bytes(Data + 100, 24));
        Assert.Equal(disk.Contents[1048..2048], driver.Bytes(Data + 8192, 1000));
        Assert.Equal(0, driver.Memory.Read<byte>(Data + 9192));
    }

    [Fact]
    public void AWriteTakesTheBuffers()
    {
        driver.Start(Version1 | Flush);
        driver.Memory.Write(Data, [.. Enumerable.Repeat((byte)0xA5, 512)]);
        Assert.Equal(1u, Request(Out, 63, new DriverBuffer(Data, 512, false)));
        Assert.Equal(Ok, driver.Memory.Read<byte>(Result));
        Assert.All(disk.Contents[^512..], static value => Assert.Equal(0xA5, value));
        Assert.Equal([$"write {63 * 512} 512"], disk.Events);
    }

    [Fact]
    public void V_2_6_4_HeadDataAndResultMayLieInAnyPieces()
    {
        driver.Start(Version1 | Flush);
        SetHead(Out, 1);
        driver.Memory.Write(Head + 16, [.. Enumerable.Range(0, 512).Select(static i => (byte)i)]);
        Assert.Equal(1u, driver.Queues[0].Request(new(Head, 5, false), new(Head + 5, 400, false), new(Head + 405, 123, false), new(Result, 1, true)));
        Assert.Equal([.. Enumerable.Range(0, 512).Select(static i => (byte)i)], disk.Contents[512..1024]);
        SetHead(In, 1);
        Assert.Equal(513u, driver.Queues[0].Request(new(Head, 16, false), new(Data, 100, true), new(Data + 100, 413, true)));
        Assert.Equal(disk.Contents[512..1024], driver.Bytes(Data, 512));
        Assert.Equal(Ok, driver.Memory.Read<byte>(Data + 512));
    }

    [Fact]
    public void NeighboursInMemoryAreMovedAtOnce()
    {
        driver.Start(Version1 | Flush);
        Request(In, 0, new(Data, 4096, true), new(Data + 4096, 4096, true), new(Data + 12288, 4096, true));
        Assert.Equal(["read 0 8192", "read 8192 4096"], disk.Events);
    }

    [Theory]
    [InlineData(In, 63, 1024)]
    [InlineData(In, 64, 512)]
    [InlineData(In, 0, 511)]
    [InlineData(In, 0x80_0000_0000_0000, 512)]
    [InlineData(In, 0xFFFF_FFFF_FFFF_FFFF, 512)]
    [InlineData(Out, 63, 1024)]
    [InlineData(Out, 65, 0)]
    [InlineData(Out, 0xFFFF_FFFF_FFFF_FFFF, 512)]
    public void WhatIsOutsideTheDisk_OrNoWholeSectors_Fails(uint type, ulong sector, uint length)
    {
        driver.Start();
        driver.Memory.Write(Data, 0x5555_5555);
        Request(type, sector, new DriverBuffer(Data, length, type == In));
        Assert.Equal(IoError, driver.Memory.Read<byte>(Result));
        Assert.Equal(type == In ? 0 : 0x5555_5555, driver.Memory.Read<int>(Data));
        Assert.Empty(disk.Events);
        Assert.False(driver.NeedsReset);
    }

    [Fact]
    public void V_5_2_6_ForADriverThatDoesNotFlush_EachWriteReachesTheMediumBeforeItIsReported()
    {
        driver.Start();
        disk.Before = _ => Assert.Equal(0xEE, driver.Memory.Read<byte>(Result));
        Request(Out, 0, new DriverBuffer(Data, 512, false));
        Assert.Equal(["write 0 512", "flush"], disk.Events);
    }

    [Fact]
    public void V_5_2_6_AFlushReachesTheMediumBeforeItIsReported()
    {
        driver.Start(Version1 | Flush);
        disk.Before = _ => Assert.Equal(0xEE, driver.Memory.Read<byte>(Result));
        Request(Out, 0, new DriverBuffer(Data, 512, false));
        Request(FlushRequest, 0);
        Assert.Equal(["write 0 512", "flush"], disk.Events);
        Assert.Equal(Ok, driver.Memory.Read<byte>(Result));
    }

    [Theory]
    [InlineData(In, "read 0")]
    [InlineData(Out, "write 0")]
    [InlineData(Out, "flush")]
    [InlineData(FlushRequest, "flush")]
    public void WhatTheHostRefuses_Fails(uint type, string refused)
    {
        driver.Start();
        disk.Before = text =>
        {
            if (text.StartsWith(refused, StringComparison.Ordinal))
            {
                throw new IOException("no");
            }
        };
        Request(type, 0, type == FlushRequest ? [] : [new DriverBuffer(Data, 512, type == In)]);
        Assert.Equal(IoError, driver.Memory.Read<byte>(Result));
        Assert.False(driver.NeedsReset);
    }

    [Theory]
    [InlineData(20u, "image-of-a-long-name")]
    [InlineData(5u, "image")]
    [InlineData(30u, "image-of-a-long-name\0\0\0\0\0\0\0\0\0\0")]
    public void TheNameHasAtMostTwentyBytes(uint length, string expected)
    {
        driver.Start();
        Assert.Equal(length + 1, Request(GetId, 0, new DriverBuffer(Data, length, true)));
        Assert.Equal(expected, Encoding.UTF8.GetString(driver.Bytes(Data, (int)length)));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(11)]
    [InlineData(13)]
    [InlineData(0xFFFF_FFFF)]
    public void OtherRequestsAreUnsupported(uint type)
    {
        driver.Start();
        Request(type, 0, new DriverBuffer(Data, 512, true));
        Assert.Equal(Unsupported, driver.Memory.Read<byte>(Result));
    }

    [Fact]
    public void AReadOnlyDiskSaysSo_AndFailsEveryWrite()
    {
        var readOnly = new RecordingDisk(new byte[1024], isReadOnly: true);
        using VirtioDriver other = Drive(readOnly);
        Assert.Equal(1UL << 5, other.OfferedFeatures() & (1 << 5));
        other.Start(Version1 | (1 << 5));
        other.Memory.Write(Head, Out);
        other.Queues[0].Request(new(Head, 16, false), new(Data, 512, false), new(Result, 1, true));
        Assert.Equal(IoError, other.Memory.Read<byte>(Result));
        Assert.Empty(readOnly.Events);
    }

    [Fact]
    public void ARequestWithoutAHeadOrAResult_NeedsAReset()
    {
        driver.Start();
        driver.Queues[0].Add(new(Head, 15, false), new(Result, 1, true));
        driver.Notify(0);
        Assert.True(driver.NeedsReset);
        driver.Start();
        driver.Queues[0].Add(new DriverBuffer(Head, 16, false));
        driver.Notify(0);
        Assert.True(driver.NeedsReset);
        Assert.Equal(0, driver.Queues[0].UsedIndex);
    }

    public void Dispose() => driver.Dispose();

    private static VirtioDriver Drive(RecordingDisk disk) =>
        new(new VirtioBlockDevice(new GuestDisk(disk, "disk", NullLogger.Instance), "image-of-a-long-name.img"));

    private void SetHead(uint type, ulong sector)
    {
        driver.Memory.Write(Head, type);
        driver.Memory.Write(Head + 8, sector);
    }

    private uint Request(uint type, ulong sector, params DriverBuffer[] data)
    {
        SetHead(type, sector);
        driver.Memory.Write(Result, (byte)0xEE);
        return driver.Queues[0].Request([new(Head, 16, false), .. data, new(Result, 1, true)]);
    }
}
