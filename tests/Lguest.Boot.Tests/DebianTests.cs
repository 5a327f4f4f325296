// Debian's own kernel, unmodified, on a PC.

using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class DebianTests
{
    [Theory]
    [InlineData(Engine.Translator)]
    [InlineData(Engine.Interpreter)]
    public async Task DebiansKernelBootsUsesItsDevicesAndPowersOff(Engine engine)
    {
        Assert.SkipWhen(engine == Engine.Translator && !Lguest.X86.Engines.CanTranslate(out _), "no translator here");
        using var disk = new DiskImage(64);
        await using BootedGuest guest = await BootedGuest.StartAsync(options => DebianGuest.On(options) with
        {
            Devices = [new BlockDeviceOptions(disk.Path)],
            Engine = engine,
        });
        Assert.Matches(@"^Linux \S+ 6\.1\.\S+-686 .*Debian", await guest.ExecuteAsync("uname -a"));
        Assert.Equal("tsc\n", await guest.ExecuteAsync("cat /sys/devices/system/clocksource/clocksource0/current_clocksource"));
        await guest.AssertKernelIsContentAsync();
        Assert.Equal("same\n", await guest.ExecuteAsync("dmesg -n 1; cp /bin/busybox /tmp/copy; dd if=/tmp/copy of=/dev/vda bs=64k conv=fsync 2>/dev/null; " +
            "echo 3 >/proc/sys/vm/drop_caches; head -c $(stat -c %s /tmp/copy) /dev/vda | cmp - /tmp/copy && echo same"));
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }

    [Fact]
    public async Task WhatIsTypedBeforeTheKernelIsThereReachesTheShell()
    {
        var output = new MemoryStream();
        await using var machine = new Machine(DebianGuest.On(new MachineOptions
        {
            Kernel = "",
            ConsoleInput = new MemoryStream("echo one''1\npoweroff -f\n"u8.ToArray()),
            ConsoleOutput = output,
        }));
        MachineResult result = await machine.RunAsync(TestContext.Current.CancellationToken)
            .WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Contains("\none1\r\n", System.Text.Encoding.Latin1.GetString(output.ToArray()), StringComparison.Ordinal);
    }
}
