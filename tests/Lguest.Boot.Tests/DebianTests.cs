// Debian's own kernel, unmodified, on a PC. It is a download: guest/debian/build makes it, and where that has not been done, and cannot be,
// these tests are skipped and say so.

using System.Diagnostics;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class DebianTests
{
    private static readonly Lazy<string?> Folder = new(static () =>
    {
        using Process process = Process.Start(new ProcessStartInfo(Path.Combine(DefaultGuest.Root, "guest", "debian", "build")) { RedirectStandardOutput = true })!;
        string[] lines = process.StandardOutput.ReadToEnd().Split('\n');
        process.WaitForExit();
        return process.ExitCode == 0 ? Array.Find(lines, static line => line.StartsWith("done: ", StringComparison.Ordinal))?[6..] : null;
    });

    [Theory]
    [InlineData(Engine.Translator)]
    [InlineData(Engine.Interpreter)]
    public async Task DebiansKernelBootsUsesItsDevicesAndPowersOff(Engine engine)
    {
        Assert.SkipWhen(engine == Engine.Translator && !Lguest.X86.Engines.CanTranslate(out _), "no translator here");
        Assert.SkipWhen(Folder.Value == null, "Debian's kernel could not be downloaded (guest/debian/build)");
        using var disk = new DiskImage(64);
        await using BootedGuest guest = await BootedGuest.StartAsync(options => options with
        {
            Platform = MachinePlatform.Pc,
            Kernel = Path.Combine(Folder.Value!, "vmlinuz"),
            Initrd = Path.Combine(Folder.Value!, "initramfs.cpio"),
            MemoryBytes = 256 << 20,
            // The kernel tests its ciphers for longer than all the rest takes.
            CommandLine = "console=ttyS0 cryptomgr.notests",
            Devices = [new BlockDeviceOptions(disk.Path)],
            Engine = engine,
        });
        Assert.Matches(@"^Linux \S+ 6\.1\.\S+-686 .*Debian", await guest.ExecuteAsync("uname -a"));
        Assert.Equal("tsc\n", await guest.ExecuteAsync("cat /sys/devices/system/clocksource/clocksource0/current_clocksource"));
        Assert.Equal("", await guest.ExecuteAsync("dmesg | grep -e WARN -e BUG -e 'Call Trace'"));
        Assert.Equal("same\n", await guest.ExecuteAsync("dmesg -n 1; cp /bin/busybox /tmp/copy; dd if=/tmp/copy of=/dev/vda bs=64k conv=fsync 2>/dev/null; " +
            "echo 3 >/proc/sys/vm/drop_caches; head -c $(stat -c %s /tmp/copy) /dev/vda | cmp - /tmp/copy && echo same"));
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }
}
