// Which files are disks, who may open them together (by inode, whatever the path), and what snapshots leave behind.

using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Block;
using Lguest.Platform;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Block;

[SupportedOSPlatform("linux")]
public sealed partial class DiskFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("lguest-test-").FullName;

    [Theory]
    [InlineData(BlockAccess.ReadWrite, BlockAccess.ReadWrite, false)]
    [InlineData(BlockAccess.ReadWrite, BlockAccess.ReadOnly, false)]
    [InlineData(BlockAccess.ReadWrite, BlockAccess.Snapshot, false)]
    [InlineData(BlockAccess.ReadOnly, BlockAccess.ReadWrite, false)]
    [InlineData(BlockAccess.Snapshot, BlockAccess.ReadWrite, false)]
    [InlineData(BlockAccess.ReadOnly, BlockAccess.ReadOnly, true)]
    [InlineData(BlockAccess.ReadOnly, BlockAccess.Snapshot, true)]
    [InlineData(BlockAccess.Snapshot, BlockAccess.Snapshot, true)]
    public void AWriterHasItsImageAlone(BlockAccess first, BlockAccess second, bool together)
    {
        string image = MakeImage("image", 4096), hard = Name("hard"), soft = Name("soft");
        File.CreateSymbolicLink(soft, image);
        Assert.Equal(0, Link(image, hard));
        using (Open(image, first))
        {
            foreach (string path in new[] { image, hard, soft, Path.Combine(folder, ".", "image") })
            {
                if (together)
                {
                    Open(path, second).Dispose();
                }
                else
                {
                    Assert.Equal($"block image {path} is in use by another Guest: who writes to an image needs it alone, only readonly and snapshot share it.", Refusal(path, second));
                }
            }
        }
        Open(soft, second).Dispose();
    }

    [Fact]
    public void OneGuestCannotHaveAWrittenImageTwice()
    {
        string image = MakeImage("image", 4096);
        var options = new MachineOptions
        {
            Kernel = "/no/such/kernel",
            Devices = [new BlockDeviceOptions(image), new BlockDeviceOptions(image) { Access = BlockAccess.ReadOnly }],
        };
        Assert.Contains("is in use", Assert.Throws<MachineConfigurationException>(() => new Machine(options)).Message);
        Open(image, BlockAccess.ReadWrite).Dispose();
    }

    [Fact]
    public void AFileThatMayNotBeWrittenIsADiskForReaders()
    {
        string image = MakeImage("image", 4096);
        File.SetUnixFileMode(image, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        AsNobody(() =>
        {
            Assert.Equal($"block image {image} cannot be opened for writing; use it with ,readonly or ,snapshot, or allow writing.", Refusal(image, BlockAccess.ReadWrite));
            Open(image, BlockAccess.ReadOnly).Dispose();
            Open(image, BlockAccess.Snapshot).Dispose();
        });
        File.SetUnixFileMode(image, UnixFileMode.None);
        AsNobody(() => Assert.Equal($"block image {image} cannot be read: permission denied.", Refusal(image, BlockAccess.Snapshot)));
    }

    [Fact]
    public void WhatIsNoDiskIsRefusedAndNotOpened()
    {
        string pipe = Name("pipe");
        Assert.Equal(0, MakePipe(pipe, 0x180));
        Assert.Equal($"block image {pipe} cannot be used: it is a pipe, not a file or block device.", Refusal(pipe, BlockAccess.ReadOnly));
        Assert.Equal("block image /dev/null cannot be used: it is a character device, not a file or block device.", Refusal("/dev/null", BlockAccess.ReadWrite));
        Assert.Equal($"block image {folder} cannot be used: it is a directory.", Refusal(folder, BlockAccess.ReadWrite));
        Assert.Equal($"block image {Name("none")} does not exist.", Refusal(Name("none"), BlockAccess.Snapshot));
    }

    [Theory]
    [InlineData(0, "is empty; a new disk of 1 GiB: truncate -s 1G FILE.")]
    [InlineData(513, "has 513 bytes, which is not a multiple of 512: it is truncated, or no raw image.")]
    [InlineData(1L << 41, "is too large: a Guest's disk is smaller than 2 TiB.")]
    public void ASizeThatNoDiskHasIsRefusedAndTheImageReleased(long size, string message)
    {
        string image = MakeImage("image", size);
        foreach (BlockAccess access in Enum.GetValues<BlockAccess>())
        {
            Assert.Equal($"block image {image} {message}", Refusal(image, access));
        }
        File.Open(image, FileMode.Open, FileAccess.ReadWrite, FileShare.None).Dispose();
    }

    [Fact]
    public void TheLargestDiskHasASectorCountOf32Bits()
    {
        string image = MakeImage("image", 0xFFFF_FFFFL * 512);
        using Device device = Open(image, BlockAccess.ReadOnly);
        using var memory = new X86.Memory.MachineMemory(4, 1);
        device.Attach(memory, new DevicePlace(0, 4096));
        Assert.Equal(0xFFFF_FFFF, memory.Read<uint>(4096 + 16));
    }

    [Fact]
    public void ASnapshotNeedsADirectoryThatTakesItsFile()
    {
        using DiskFile image = DiskFile.Open(MakeImage("image", 4096), writes: false);
        Assert.ThrowsAny<IOException>(() => new SnapshotDisk(image, Name("none")));
    }

    [Fact]
    public void ASnapshotHasNoNameAndIsNoLargerThanWhatWasWritten()
    {
        using var disk = new SnapshotDisk(DiskFile.Open(MakeImage("image", 1 << 30), writes: false), folder);
        disk.Write(new byte[512], 1 << 29);
        Assert.Equal([Name("image")], Directory.GetFileSystemEntries(folder));
    }

    [Fact]
    public void AFileThatWasMadeShorterEndsEarlier()
    {
        string image = MakeImage("image", 8192);
        using DiskFile disk = DiskFile.Open(image, writes: false);
        Assert.Equal(0, Truncate(image, 4096));
        Assert.Equal(1096, disk.Read(new byte[4096], 3000));
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    private static Device Open(string path, BlockAccess access) => new BlockDeviceOptions(path) { Access = access }.Open(NullLogger.Instance);

    private static string Refusal(string path, BlockAccess access) =>
        Assert.Throws<MachineConfigurationException>(() => Open(path, access)).Message;

    /// <summary>Root may do everything: the file system user of this thread is somebody else for a while.</summary>
    private static void AsNobody(Action action)
    {
        const uint Nobody = 65534;
        uint before = SetFileSystemUser(Nobody);
        try
        {
            action();
        }
        finally
        {
            SetFileSystemUser(before);
        }
    }

    private string Name(string name) => Path.Combine(folder, name);

    private string MakeImage(string name, long size)
    {
        using FileStream file = File.Create(Name(name));
        file.SetLength(size);
        return file.Name;
    }

    [LibraryImport("libc", EntryPoint = "link", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Link(string path, string name);

    [LibraryImport("libc", EntryPoint = "mkfifo", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakePipe(string path, uint mode);

    [LibraryImport("libc", EntryPoint = "truncate", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Truncate(string path, nint length);

    [LibraryImport("libc", EntryPoint = "setfsuid")]
    private static partial uint SetFileSystemUser(uint user);
}
