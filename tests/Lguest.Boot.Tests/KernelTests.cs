// Kernels that know nothing of us, on a PC: Debian's with PAE, and small ones that guest/stock/build makes of Debian's sources with a
// configuration of ours. Memory reaches beyond what a 32-bit kernel can map at once, so both kinds of page tables must serve high memory, too.
// Compiling all of them takes longer than all the tests: ./test makes the one that no package has, and the others are skipped where nobody
// has made them, and say so.

using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class KernelTests
{
    private const string PaeMark = "NX (Execute Disable) protection: active\n";
    private const string TwoLevelMark = "Notice: NX (Execute Disable) protection cannot be enabled: non-PAE kernel!\n";

    [Fact]
    [Trait("Engine", "each")]
    public Task DebiansPaeKernelUsesItsDevicesAndPowersOff() => BootAsync(options => DebianGuest.On(options, "686-pae"), @"6\.1\.\S+-686-pae", PaeMark);

    [Theory]
    [Trait("Engine", "each")]
    [InlineData("6.1", "plain")]
    [InlineData("6.1", "pae")]
    [InlineData("6.12", "plain")]
    [InlineData("6.12", "pae")]
    public Task AKernelOfOurConfigurationUsesItsDevicesAndPowersOff(string version, string paging)
    {
        string folder = MadeGuest.Find("stock/build", version, paging);
        return BootAsync(
            options => options with { Platform = MachinePlatform.Pc, Kernel = Path.Combine(folder, "bzImage"), CommandLine = "console=ttyS0" },
            $@"{version.Replace(".", @"\.")}\.\d+-stock-{paging}",
            paging == "pae" ? PaeMark : TwoLevelMark);
    }

    private static async Task BootAsync(Func<MachineOptions, MachineOptions> on, string release, string mark)
    {
        using DiskImage disk = DiskImage.WithExt4(64);
        using var file = new HostFile(1, 8 << 20);
        Task serving = file.ServeAsync();
        await using BootedGuest guest = await BootedGuest.StartAsync(options => on(options) with
        {
            MemoryBytes = 1 << 30,
            Devices = [new BlockDeviceOptions(disk.Path), new UserNetworkOptions()],
        });
        Assert.Matches($"^{release}\n$", await guest.ExecuteAsync("uname -r"));
        Assert.Contains(mark, await guest.ExecuteAsync("dmesg | grep 'NX (Execute'"), StringComparison.Ordinal);
        Assert.Matches(@"^HighTotal: +1\d{5} kB\n$", await guest.ExecuteAsync("grep HighTotal /proc/meminfo"));

        // From the host by the network, to the disk and, once the cache is empty, back.
        await guest.ExecuteAsync("until ifconfig eth0 | grep -q addr:10.0.2.15; do sleep 0.1; done; dmesg -n 1; mount -t ext4 /dev/vda /mnt");
        Assert.Contains("1 packets received", await guest.ExecuteAsync("ping -c 1 10.0.2.2"), StringComparison.Ordinal);
        await guest.ExecuteAsync($"wget -q -O /mnt/file {file.Address}; umount /mnt; mount -t ext4 /dev/vda /mnt");
        Assert.Equal($"{file.Sum}  /mnt/file\n", await guest.ExecuteAsync("sha256sum /mnt/file"));
        await serving;

        await guest.AssertKernelIsContentAsync();
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
        disk.AssertClean();
    }
}
