// The network of Guests among themselves (ABI 10.11): its file and who gets which slot. (What Guests send each other is the Host's affair.)

using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Lguest.Launcher.Devices;
using Lguest.Platform;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Network;

public sealed partial class SharedNetworkTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"lguest-test-{Guid.NewGuid():n}");

    public void Dispose() => File.Delete(path);

    [Fact]
    [SupportedOSPlatform("linux")]
    public void Abi_10_11_AMissingFileIsMadeOfOneZeroPageForItsOwner()
    {
        using Device device = Open();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.Equal(new byte[4096], Read());
        Assert.Equal((DeviceType.Network, (ushort)0x4000, 1u, null, 0), (device.Type, device.Features, device.PageCount, device.OutputKey, device.WaitingInput));
    }

    [Fact]
    public void AnEmptyFileGrowsToAPage()
    {
        File.WriteAllBytes(path, []);
        using Device device = Open();
        Assert.Equal(4096, new FileInfo(path).Length);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4095)]
    [InlineData(4097)]
    public void AFileThatIsSomethingElseIsRefusedAndStaysAsItIs(int length)
    {
        byte[] contents = [.. Enumerable.Repeat((byte)7, length)];
        File.WriteAllBytes(path, contents);
        Assert.Equal($"network file {path} has {length} bytes, not 4096: it is something else, and Guests would write into it.",
            Assert.Throws<MachineConfigurationException>(Open).Message);
        Assert.Equal(contents, Read());
    }

    [Fact]
    public void Abi_10_11_TheFirstFreeSlotIsTaken_AndAllPlacesInOneProcessDiffer()
    {
        Device[] devices = [Open(), Open(), Open()];
        Assert.Equal([0x4000, 0x4001, 0x4002], devices.Select(static device => (int)device.Features));
        devices[1].Dispose();
        devices[1] = Open();
        Assert.Equal(0x4001, devices[1].Features);
        Array.ForEach(devices, static device => device.Dispose());
    }

    [Fact]
    public void Abi_10_11_ASlotThatAClassicRecordLockHoldsIsLeftAlone()
    {
        Open().Dispose();
        using FileStream other = OpenFile();
        Assert.Equal(0, LockClassically(other, 0));
        using Device device = Open();
        Assert.Equal(0x4001, device.Features);
    }

    [Fact]
    public void Abi_10_11_AFullNetworkIsOneClearLine()
    {
        Open().Dispose();
        using (FileStream other = OpenFile())
        {
            Assert.True(RecordLock.TryAcquire(other.SafeFileHandle, 0, 682));
            Assert.Equal($"network file {path} is full: 682 Guests use it.", Assert.Throws<MachineConfigurationException>(Open).Message);
        }
        using FileStream allButTheLast = OpenFile();
        Assert.True(RecordLock.TryAcquire(allButTheLast.SafeFileHandle, 0, 681));
        using Device device = Open();
        Assert.Equal(0x4000 | 681, device.Features);
    }

    [Fact]
    public void Abi_10_11_ThePageIsSharedWithAllWhoNameTheFile()
    {
        var first = new TestInterface(Open(), open: false);
        using var second = new TestInterface(Open(), open: false);
        second.Memory.Write(TestInterface.Page + 6, TestInterface.HardwareAddress);
        Assert.Equal(0x12, first.Memory.Read<byte>(TestInterface.Page + 8));
        Assert.True(first.Memory.TryGetSharedPage(TestInterface.Page / 4096, out SharedPage page));
        Assert.True(second.Memory.TryGetSharedPage(TestInterface.Page / 4096, out SharedPage same));
        Assert.Equal(page, same);

        // One ends; the other goes on.
        first.Dispose();
        second.Memory.Write(TestInterface.Page + 6, [4]);
        Assert.Equal(4, Read()[6]);
    }

    [Fact]
    public void AnEntryIsClearedByWhoTakesTheSlotAndByWhoLeavesIt()
    {
        byte[] contents = [.. Enumerable.Repeat((byte)2, 4096)];
        File.WriteAllBytes(path, contents);
        Device device = Open();
        contents.AsSpan(0, 6).Clear();
        Assert.Equal(contents, Read());

        File.WriteAllBytes(path, [.. Enumerable.Repeat((byte)2, 4096)]);
        device.Dispose();
        Assert.Equal(contents, Read());
    }

    [Fact]
    public void WhatAGuestSendsToTheLauncherIsTakenByNobody()
    {
        using var guest = new TestInterface(Open(), open: false);
        Assert.Equal(0u, guest.Send(new byte[100]));
    }

    private Device Open() => new SharedNetworkOptions(path).Open(NullLogger.Instance);

    private FileStream OpenFile() => new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);

    private byte[] Read()
    {
        using FileStream file = OpenFile();
        byte[] bytes = new byte[file.Length];
        file.ReadExactly(bytes);
        return bytes;
    }

    private static int LockClassically(FileStream file, long start)
    {
        const int SetLock = 6;
        var request = new ClassicLock { Type = 1, Start = start, Length = 1 };
        return Control((int)file.SafeFileHandle.DangerousGetHandle(), SetLock, ref request);
    }

    [LibraryImport("libc", EntryPoint = "fcntl")]
    private static partial int Control(int file, int command, ref ClassicLock request);

    private struct ClassicLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Process;
    }
}
