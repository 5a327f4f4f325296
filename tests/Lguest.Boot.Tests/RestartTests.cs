// A Guest that reboots: the same machine, a new kernel, and nothing of the old one's memory.

using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class RestartTests
{
    [Theory]
    [InlineData(MachinePlatform.Lguest)]
    [InlineData(MachinePlatform.Pc)]
    public async Task AGuestThatRebootsStartsAgainWithTheSameDisk(MachinePlatform platform)
    {
        using var image = new DiskImage(1);
        string disk = platform == MachinePlatform.Pc ? "/dev/vda" : "/dev/lgba";
        await using BootedGuest guest = await BootedGuest.StartAsync(options => (platform == MachinePlatform.Pc ? DebianGuest.On(options) : options) with
        {
            // What a snapshot has taken is forgotten at the machine's end, not at its Guest's.
            Devices = [new BlockDeviceOptions(image.Path) { Access = BlockAccess.Snapshot }],
        });
        Assert.Equal("", await guest.ExecuteAsync($"touch /first; echo kept | dd of={disk} bs=512 conv=sync,fsync 2>/dev/null"));
        await guest.RebootAsync();
        Assert.Equal("kept\n", await guest.ExecuteAsync($"ls /first 2>/dev/null; head -c 5 {disk}"));
        guest.Type("poweroff -f\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }
}
