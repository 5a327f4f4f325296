// The block device request by request (ABI 10.10 and extension E1).

using Lguest.Launcher.Devices;
using static Lguest.Launcher.Tests.Block.BlockBench;

namespace Lguest.Launcher.Tests.Block;

public sealed class BlockDeviceTests : IDisposable
{
    private const int Sectors = 64;
    private const int Read = 0;
    private const int Write = 1;

    private readonly RecordingDisk disk = new([.. Enumerable.Range(0, Sectors * 512).Select(static i => (byte)(i / 512 * 3 + i))]);
    private readonly BlockBench bench;

    public BlockDeviceTests() => bench = new BlockBench(disk);

    [Fact]
    public void Abi_10_10_TheDescriptorAndTheSizeInThePage()
    {
        Assert.Equal((DeviceType.Block, (ushort)0x8000, 1u, Page), (bench.Device.Type, bench.Device.Features, bench.Device.PageCount, bench.Device.OutputKey));
        Assert.Equal((uint)Sectors, bench.Memory.Read<uint>(Page + 16));
        Assert.Equal(0u, bench.Abilities);
    }

    [Fact]
    public void Abi_10_10_AReadFillsTheBoundBuffer()
    {
        bench.Submit(Read, 2, 1024, (Data + 100, 24), (Data + 8192, 1000));
        Assert.Equal(disk.Contents[1024..1048], Bytes(Data + 100, 24));
        Assert.Equal(disk.Contents[1048..2048], Bytes(Data + 8192, 1000));
        Assert.Equal((1, 1024u, 1), (bench.Result, bench.UsedLength, bench.Interrupts));
        Assert.Equal(0, bench.Memory.Read<byte>(Data + 9192));
    }

    [Fact]
    public void Abi_10_10_AWriteTakesTheSentList()
    {
        bench.Memory.Write(Data, [.. Enumerable.Repeat((byte)0xA5, 512)]);
        bench.Submit(Write, 63, 512, (Data, 512));
        Assert.All(disk.Contents[^512..], static value => Assert.Equal(0xA5, value));
        Assert.Equal((1, 0u, 1), (bench.Result, bench.UsedLength, bench.Interrupts));
    }

    [Fact]
    public void NeighboursInMemoryAreMovedAtOnce()
    {
        bench.Submit(Read, 0, 12288, (Data, 4096), (Data + 4096, 4096), (Data + 12288, 4096));
        bench.Submit(Write, 0, 12288, (Data + 4096, 4096), (Data, 4096), (Data + 4096, 4096));
        Assert.Equal(["read 0 8192", "read 8192 4096", "write 0 4096", "write 4096 8192", "flush"], disk.Events);
    }

    [Theory]
    [InlineData(Read, 63u, 1024u, 1024, 512u)]
    [InlineData(Read, 0u, 512u, 1024, 1024u)]
    [InlineData(Read, 0u, 512u, 0, 0u)]
    [InlineData(Write, 0u, 512u, 1024, 0u)]
    [InlineData(Write, 0u, 512u, 0, 0u)]
    [InlineData(Write, 0u, 0u, 512, 0u)]
    public void Abi_10_10_OtherBytesThanExpectedAreAnError(int type, uint sector, uint expected, int listed, uint used)
    {
        bench.Submit(type, sector, expected, (Data, (ushort)listed));
        Assert.Equal((2, used, 1), (bench.Result, bench.UsedLength, bench.Interrupts));
        Assert.Null(bench.Failure);
    }

    [Theory]
    [InlineData(Read, 64u, 512, "disk: the Guest asked for sector 64 of 64")]
    [InlineData(Write, 64u, 512, "disk: the Guest asked for sector 64 of 64")]
    [InlineData(Write, 0x8000_0000u, 0, "disk: the Guest asked for sector 2147483648 of 64")]
    [InlineData(Read, 0xFFFF_FFFFu, 512, "disk: the Guest asked for sector 4294967295 of 64")]
    [InlineData(Write, 63u, 513, "disk: the Guest wrote 513 bytes at sector 63, past the end at 64")]
    public void Abi_10_10_WhatIsOutsideTheDiskEndsTheGuest(int type, uint sector, int bytes, string reason)
    {
        bench.Submit(type, sector, (uint)bytes, (Data, (ushort)bytes));
        Assert.Equal(reason, bench.Failure);
        Assert.Empty(disk.Events);
        Assert.Equal((0, 0), (bench.Result, bench.Interrupts));
    }

    [Theory]
    [InlineData(Read)]
    [InlineData(Write)]
    public void Abi_10_10_WithoutABufferForTheReplyTheGuestEnds(int type)
    {
        bench.HasBuffer = false;
        bench.Submit(type, 0, 512, (Data, 512));
        Assert.Equal("disk: the Guest has bound no buffer for the reply", bench.Failure);
        Assert.Empty(disk.Events);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(-1)]
    public void OtherRequestsFail(int type)
    {
        bench.Submit(type, 0, 512, (Data, 512));
        Assert.Equal((2, 0u, 1), (bench.Result, bench.UsedLength, bench.Interrupts));
        Assert.Empty(disk.Events);
    }

    [Fact]
    public void E1_ForAGuestThatDoesNotFlush_EachWriteReachesTheMediumBeforeItIsReported()
    {
        disk.Before = _ => Assert.Equal(0, bench.Result);
        bench.Submit(Write, 0, 512, (Data, 512));
        bench.Submit(Write, 8, 512, (Data, 512));
        Assert.Equal(["write 0 512", "flush", "write 4096 512", "flush"], disk.Events);
        bench.Submit(Write, 0, 0);
        Assert.Equal((1, 0u), (bench.Result, bench.Abilities));
    }

    [Fact]
    public void E1_ForAGuestThatFlushes_OnlyItsFlushReachesTheMediumBeforeItIsReported()
    {
        disk.Before = _ => Assert.Equal(0, bench.Result);
        bench.SetStatus(0x107);
        bench.Submit(Write, 0, 512, (Data, 512));
        Assert.Equal(0u, bench.Abilities);
        bench.Submit(Write, 8, 512, (Data, 512));
        bench.Submit(Write, 0, 0);
        Assert.Equal(["write 0 512", "write 4096 512", "flush"], disk.Events);
        Assert.Equal((1, 0u, 3), (bench.Result, bench.UsedLength, bench.Interrupts));
        Assert.Equal(1u, bench.Abilities);
    }

    [Fact]
    public void E1_AReadOnlyDiskSaysSo_AndFailsEveryWrite()
    {
        var readOnly = new RecordingDisk(new byte[1024], isReadOnly: true);
        using var other = new BlockBench(readOnly);
        other.SetStatus(0x100);
        other.Submit(Write, 0, 0);
        Assert.Equal((1, 3u), (other.Result, other.Abilities));
        other.Submit(Write, 0, 512, (Data, 512));
        Assert.Equal((2, 2), (other.Result, other.Interrupts));
        Assert.Equal(["flush"], readOnly.Events);
    }

    [Theory]
    [InlineData(Read, 1024, "read 512", 512u)]
    [InlineData(Read, 1024, "read 0", 0u)]
    [InlineData(Write, 1024, "write 512", 0u)]
    [InlineData(Write, 1024, "flush", 0u)]
    [InlineData(Write, 0, "flush", 0u)]
    public void AFailureOfTheHostIsAnErrorOfTheRequestAndNoMore(int type, int bytes, string failing, uint used)
    {
        disk.Before = text =>
        {
            if (text.StartsWith(failing, StringComparison.Ordinal))
            {
                throw new IOException("No space left on device");
            }
        };
        bench.Submit(type, 0, (uint)bytes, bytes == 0 ? [] : [(Data, 512), (Data + 4096, 512)]);
        Assert.Equal((2, used, 1), (bench.Result, bench.UsedLength, bench.Interrupts));
        Assert.Null(bench.Failure);

        disk.Before = static _ => { };
        bench.Submit(type, 0, 512, (Data, 512));
        Assert.Equal(1, bench.Result);
    }

    [Fact]
    public void APageThatIsItsOwnBufferIsReadBeforeItIsOverwritten()
    {
        bench.Submit(Read, 0, 512, (Page, 512));
        Assert.Equal(disk.Contents[..12], Bytes(Page, 12));
        Assert.Equal((1, 512u, 1), (bench.Result, bench.UsedLength, bench.Interrupts));
    }

    public void Dispose() => bench.Dispose();

    private byte[] Bytes(uint address, int count)
    {
        byte[] bytes = new byte[count];
        bench.Memory.Read(address, bytes);
        return bytes;
    }
}
