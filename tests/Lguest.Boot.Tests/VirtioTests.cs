// Debian's own drivers at our virtio devices: a file system on a disk, a network as an ordinary user has it, a shared folder, random bytes.

using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public sealed class VirtioTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lguest-test-");

    [Fact]
    public async Task DebianUsesDiskNetworkAndFolderAtOnce()
    {
        byte[] file = new byte[4 << 20];
        new Random(1).NextBytes(file);
        string sum = Convert.ToHexStringLower(SHA256.HashData(file));
        string shared = Path.Combine(folder.FullName, "shared");
        Directory.CreateDirectory(Path.Combine(shared, "sub"));
        await File.WriteAllBytesAsync(Path.Combine(shared, "file"), file, TestContext.Current.CancellationToken);
        await File.WriteAllTextAsync(Path.Combine(folder.FullName, "secret"), "secret", TestContext.Current.CancellationToken);
        File.CreateSymbolicLink(Path.Combine(shared, "out"), folder.FullName);
        using DiskImage disk = DiskImage.WithExt4(64);
        using var peer = new TcpListener(IPAddress.Loopback, 0);
        peer.Start();
        int port = ((IPEndPoint)peer.LocalEndpoint).Port;

        await using BootedGuest guest = await BootedGuest.StartAsync(options => DebianGuest.On(options) with
        {
            Devices = [new BlockDeviceOptions(disk.Path), new UserNetworkOptions(), new ShareOptions(shared, "home"), new ShareOptions(shared, "look") { IsReadOnly = true }],
        });
        await guest.ExecuteAsync("dmesg -n 1; mkdir -p /tmp/disk /tmp/home /tmp/look; mount -t ext4 /dev/vda /tmp/disk");
        await guest.ExecuteAsync("for tag in home look; do mount -t 9p -o trans=virtio,version=9p2000.L,msize=131072 $tag /tmp/$tag; done");
        Assert.Equal($"{sum}  /tmp/home/file\n", await guest.ExecuteAsync("sha256sum /tmp/home/file"));

        // From the folder to the disk and, once its cache is empty, back.
        await guest.ExecuteAsync("cp /tmp/home/file /tmp/disk/file && sync && umount /tmp/disk && mount -t ext4 /dev/vda /tmp/disk && cp /tmp/disk/file /tmp/home/sub/back");
        Assert.Equal(file, await File.ReadAllBytesAsync(Path.Combine(shared, "sub", "back"), TestContext.Current.CancellationToken));

        // What leaves the folder, and what a folder to look at does not allow.
        Assert.Equal("1\n", await guest.ExecuteAsync("cat /tmp/home/out/secret 2>/dev/null; echo $?"));
        Assert.Equal("1\n", await guest.ExecuteAsync("touch /tmp/look/new 2>/dev/null; echo $?"));
        Assert.Equal("file out sub\n", await guest.ExecuteAsync("echo $(ls /tmp/look)"));

        // By the network to the host.
        Task<string> received = ReceiveAsync(peer);
        await guest.ExecuteAsync($"ip addr add 10.0.2.15/24 dev eth0 2>/dev/null; ip link set eth0 up; nc 10.0.2.2 {port} </tmp/disk/file");
        Assert.Equal(sum, await received);
        Assert.Equal("4096\n", await guest.ExecuteAsync("head -c 4096 /dev/hwrng | wc -c"));
        await guest.AssertKernelIsContentAsync();

        await guest.ExecuteAsync("umount /tmp/disk /tmp/home /tmp/look");
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
        disk.AssertClean();
    }

    public void Dispose() => folder.Delete(recursive: true);

    private static async Task<string> ReceiveAsync(TcpListener peer)
    {
        using TcpClient client = await peer.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        return Convert.ToHexStringLower(await SHA256.HashDataAsync(client.GetStream(), TestContext.Current.CancellationToken));
    }
}
