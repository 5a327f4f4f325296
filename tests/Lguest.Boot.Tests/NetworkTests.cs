// Networks with a real Linux at one end or at all (ABI 10.11): what a user would do with them.

using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public sealed class NetworkTests : IDisposable
{
    private const int FileSize = 64 << 20;

    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lguest-test-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public async Task AGuestOfAnOrdinaryUserDownloadsFromAWebServerOnTheHost()
    {
        using var file = new HostFile(1, FileSize);
        Task serving = file.ServeAsync();
        (int status, string output, string errors) = await RunAsOrdinaryUserAsync(
            $"{AwaitAddress}; wget -q -O - {file.Address} | sha256sum; poweroff -f\n", "run", "--net=user");
        Assert.Equal((0, ""), (status, errors));
        Assert.Contains(file.Sum, output);
        await serving;
    }

    [Fact]
    [Trait("Engine", "each")]
    public async Task APortOfTheHostReachesAWebServerInTheGuest()
    {
        int port = FreePort();
        await using BootedGuest guest = await BootedGuest.StartAsync(64, "", new UserNetworkOptions
        {
            Forwards = [new PortForward(ProtocolType.Tcp, new IPEndPoint(IPAddress.Loopback, port), new IPEndPoint(UserNetworkOptions.GuestAddress, 80))],
        });
        await guest.ExecuteAsync($"{AwaitAddress}; httpd -p 80 -h /bin");
        using var client = new HttpClient();
        byte[] busybox = await client.GetByteArrayAsync($"http://127.0.0.1:{port}/busybox", TestContext.Current.CancellationToken);
        Assert.Equal(DefaultGuest.ReadInitrdFile("bin/busybox"), busybox);
    }

    [Theory]
    [InlineData(MachinePlatform.Lguest)]
    [InlineData(MachinePlatform.Pc)]
    public async Task TwoGuestsOfOneProcessMoveAFile_AndAThirdThatJoinsAndAFourthThatDiesDoNotDisturbThem(MachinePlatform platform)
    {
        (string disk, string sum) = MakeDisk();
        var network = new SharedNetworkOptions(Path.Combine(folder.FullName, "network"));
        await using BootedGuest sender = await StartMemberAsync(platform, 1, network, new BlockDeviceOptions(disk) { Access = BlockAccess.ReadOnly });
        await using BootedGuest receiver = await StartMemberAsync(platform, 2, network);
        BootedGuest fourth = await StartMemberAsync(platform, 4, network);
        try
        {
            Assert.Matches("[1-3] packets received", await receiver.ExecuteAsync("ping -c 3 192.168.77.4"));
            await sender.ExecuteAsync($"nc -l -p 5000 <{Disk(platform)} >/dev/null & true");
            Task<string> received = receiver.ExecuteAsync(Fetch, seconds: 240);
            await using BootedGuest third = await StartMemberAsync(platform, 3, network);
            await fourth.DisposeAsync();
            Assert.Matches("[1-3] packets received", await third.ExecuteAsync("ping -c 3 192.168.77.2"));
            Assert.Contains(sum, await received);
        }
        finally
        {
            await fourth.DisposeAsync();
        }
    }

    [Theory]
    [InlineData(MachinePlatform.Lguest)]
    [InlineData(MachinePlatform.Pc)]
    public async Task TwoGuestsOfTwoProcessesMoveAFile(MachinePlatform platform)
    {
        (string disk, string sum) = MakeDisk();
        string network = Path.Combine(folder.FullName, "network");
        await using BootedGuest sender = await StartMemberAsync(platform, 1, new SharedNetworkOptions(network), new BlockDeviceOptions(disk) { Access = BlockAccess.ReadOnly });
        await sender.ExecuteAsync($"nc -l -p 5000 <{Disk(platform)} >/dev/null & true");
        (int status, string output, string errors) = await PipedProcess.RunAsync(
            CommandFile, [platform == MachinePlatform.Pc ? "debian" : "run", $"--sharenet={network}"], $"ifconfig eth0 192.168.77.2 up; {Fetch}; poweroff -f\n");
        Assert.Equal((0, ""), (status, errors));
        Assert.Contains(sum, output);
    }

    private static string CommandFile => Path.Combine(DefaultGuest.Root, "artifacts", "lguest", "lguest");

    /// <summary>The initramfs asks for an address as it boots.</summary>
    private const string AwaitAddress = "until ifconfig eth0 | grep -q 'addr:10.0.2.15'; do sleep 0.1; done";

    /// <summary>With an end of its input, nc would end the connection.</summary>
    private const string Fetch = "mkfifo /tmp/silence; nc 192.168.77.1 5000 <>/tmp/silence | sha256sum";

    private static string Disk(MachinePlatform platform) => platform == MachinePlatform.Pc ? "/dev/vda" : "/dev/lgba";

    private static async Task<BootedGuest> StartMemberAsync(MachinePlatform platform, int number, params DeviceOptions[] devices)
    {
        BootedGuest guest = await BootedGuest.StartAsync(options => (platform == MachinePlatform.Pc ? DebianGuest.On(options) : options) with { Devices = devices });
        await guest.ExecuteAsync($"ifconfig eth0 192.168.77.{number} up");
        return guest;
    }

    private (string Path, string Sum) MakeDisk()
    {
        string path = Path.Combine(folder.FullName, "disk");
        byte[] bytes = new byte[FileSize];
        new Random(2).NextBytes(bytes);
        File.WriteAllBytes(path, bytes);
        return (path, Convert.ToHexStringLower(SHA256.HashData(bytes)));
    }

    /// <summary>Runs the command as somebody who may do nothing special, from a folder that everybody may read.</summary>
    private Task<(int Status, string Output, string Errors)> RunAsOrdinaryUserAsync(string input, params string[] arguments)
    {
        string[] command = [Path.Combine(folder.FullName, "lguest"), .. arguments,
            "--kernel", Path.Combine(folder.FullName, "vmlinux"), "--initrd", Path.Combine(folder.FullName, "initramfs.cpio")];
        foreach (string file in Directory.GetFiles(Path.GetDirectoryName(CommandFile)!).Append(DefaultGuest.Kernel).Append(DefaultGuest.Initrd))
        {
            File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName(file)));
        }
        if (OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess)
        {
            folder.UnixFileMode |= UnixFileMode.OtherRead | UnixFileMode.OtherExecute;
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", .. command];
        }
        return PipedProcess.RunAsync(command[0], command[1..], input);
    }

    private static int FreePort()
    {
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        return ((IPEndPoint)server.LocalEndpoint).Port;
    }
}
