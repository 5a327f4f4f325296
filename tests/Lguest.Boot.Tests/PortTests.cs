// What the Guest port promises about a boot besides the prompt: random numbers are ready early, the bus shows its devices as the ABI has it,
// and a root= that leads nowhere ends in a message and a shell.

using System.Text.RegularExpressions;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class PortTests
{
    [Fact]
    public async Task RandomNumbersAreReadyBeforeTheFirstProgram()
    {
        await using BootedGuest guest = await BootedGuest.StartAsync();

        int ready = guest.Screen.IndexOf("random: crng init done", StringComparison.Ordinal);
        Assert.InRange(ready, 0, guest.Screen.IndexOf("Run /init", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Abi_10_1_TheBusShowsItsDevices()
    {
        using DiskImage disk = DiskImage.WithExt4(4);
        await using BootedGuest guest = await BootedGuest.StartAsync(64, "quiet", new BlockDeviceOptions(disk.Path));

        Assert.Equal("0\n1\n", await guest.ExecuteAsync("ls -1 /sys/bus/lguest/devices"));
        // The disk: type, features in hexadecimal, page behind the descriptors', status with the flush bit of extension E1.
        Assert.Equal("3\n8000\n16385\n107\n", await guest.ExecuteAsync("cd /sys/bus/lguest/devices/0; cat type features pfn status; cd"));
        Assert.Equal("1\n0\n0\n7\n", await guest.ExecuteAsync("cd /sys/bus/lguest/devices/1; cat type features pfn status; cd"));
        // Any number form of C may be written.
        Assert.Equal("17\n1f\n", await guest.ExecuteAsync("cd /sys/bus/lguest/devices/1; echo 0x17 >status; cat status; echo 037 >status; cat status; cd"));
    }

    [Theory]
    [InlineData("root=/dev/lgbz")]
    [InlineData("root=LABEL=nothing")]
    [InlineData("root=/dev/lgba")]
    public async Task ARootThatCannotBeBootedLeavesAShell(string root)
    {
        using DiskImage empty = DiskImage.WithExt4(4);
        await using BootedGuest guest = await BootedGuest.StartAsync(64, $"quiet {root}", new BlockDeviceOptions(empty.Path));

        Assert.Matches($"(?m)^lguest: cannot boot from {Regex.Escape(root)}; here is a shell of the initramfs instead\\r?$", guest.Screen);
        Assert.Equal("", await guest.ExecuteAsync("grep /mnt /proc/mounts"));
    }
}
