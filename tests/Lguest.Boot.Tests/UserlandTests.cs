// A whole Debian 12 on an ext4 disk, with Debian's own kernel. guest/debian/userland makes the disk, which takes a download and minutes of a
// Guest's work, once; ./test does that beforehand. Without the disk the test is skipped and says so.

using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class UserlandTests
{
    [Fact]
    [Trait("Engine", "each")]
    public async Task DebianRunsFromItsOwnDiskAndPowersOff()
    {
        string image = MadeGuest.Find("debian/userland");
        await using BootedGuest guest = await BootedGuest.StartAsync(options => DebianGuest.On(options) with
        {
            CommandLine = DebianGuest.CommandLine + " root=/dev/vda",
            Devices = [new BlockDeviceOptions(image) { Access = BlockAccess.Snapshot }],
        });
        Assert.Contains("/dev/vda / ext4 rw", await guest.ExecuteAsync("grep ' / ' /proc/mounts"), StringComparison.Ordinal);
        Assert.Equal("init\n", await guest.ExecuteAsync("cat /proc/1/comm"));
        Assert.Equal("5050\n", await guest.ExecuteAsync("perl -e 'my $s = 0; $s += $_ for 1..100; print \"$s\\n\"'"));
        Assert.Equal("4\n", await guest.ExecuteAsync("python3 -c 'import struct; print(struct.calcsize(\"P\"))'"));
        Assert.Matches(@"^python3-minimal/.* i386 \[installed", await guest.ExecuteAsync("apt list --installed 2>/dev/null | grep ^python3-minimal/"));
        await guest.AssertKernelIsContentAsync();
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }
}
