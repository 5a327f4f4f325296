// Real file systems on the Guest's disks: what a Guest was told is on the image, however it ended (ABI 10.10 and extension E1).

using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public partial class BlockTests
{
    private const string KillRoundsVariable = "LGUEST_KILL_ROUNDS";
    private const int KillRounds = 20;
    private const int KillDisks = 5;

    /// <summary>The first program of a system on a disk: a shell, and an orderly end.</summary>
    private const string Init = """
        #!/bin/sh
        mount -a 2>/dev/null
        . /etc/profile
        setsid cttyhack sh -l </dev/hvc0 >/dev/hvc0 2>&1
        cd /
        mount -o remount,ro /
        poweroff -f
        """;

    [Fact]
    [Trait("Engine", "each")]
    public async Task AGuestBootsFromTheDiskThatAnotherMade()
    {
        using DiskImage root = DiskImage.WithExt4(24);
        await using (BootedGuest maker = await BootedGuest.StartAsync(64, "quiet", new BlockDeviceOptions(root.Path)))
        {
            await maker.WriteFileAsync("/tmp/init", Init);
            Assert.Equal("", await maker.ExecuteAsync("mount -t ext4 /dev/lgba /mnt && cp -a /bin /sbin /etc /usr /root /mnt && cd /mnt && mkdir proc sys dev tmp run mnt"));
            Assert.Equal("", await maker.ExecuteAsync("cp /tmp/init sbin/init && chmod +x sbin/init && cd / && umount /mnt"));
            await PowerOffAsync(maker);
        }
        root.AssertClean();

        string numbers = string.Concat(Enumerable.Range(1, 2000).Select(static i => $"{i}\n"));
        byte[] written = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(numbers, 50)));
        await using (BootedGuest guest = await BootedGuest.StartAsync(64, "root=/dev/lgba rw quiet", new BlockDeviceOptions(root.Path)))
        {
            Assert.Matches(@"(?m)^/dev/(root|lgba) / ext4 rw", await guest.ExecuteAsync("cat /proc/mounts"));
            await guest.ExecuteAsync("seq 1 2000 >/tmp/s; for i in $(seq 50); do cat /tmp/s; done >/root/numbers; mkdir /root/many; for i in $(seq 200); do echo $i >/root/many/$i; done; rm /root/many/1?");
            await LeaveAsync(guest);
        }
        root.AssertClean();
        Assert.Equal(Hash(written), Hash(Encoding.ASCII.GetBytes(root.ReadFile("/root/numbers"))));

        await using (BootedGuest guest = await BootedGuest.StartAsync(64, "root=/dev/lgba rw quiet", new BlockDeviceOptions(root.Path)))
        {
            Assert.Contains(Hash(written), await guest.ExecuteAsync("sha256sum /root/numbers"));
            Assert.Equal("190 19955\n", await guest.ExecuteAsync("cat /root/many/* | awk '{ s += $1 } END { print NR, s }'"));
            await LeaveAsync(guest);
        }
        root.AssertClean();
    }

    [Fact]
    public async Task PowerOffLeavesADiskCleanThatIsStillInUse()
    {
        using DiskImage image = DiskImage.WithExt4(8);
        await using BootedGuest guest = await BootedGuest.StartAsync(64, "quiet", new BlockDeviceOptions(image.Path));
        await guest.ExecuteAsync("mount -t ext4 /dev/lgba /mnt; cd /mnt; echo kept >kept; while :; do echo; sleep 1; done >open & true");
        await PowerOffAsync(guest);
        Assert.Equal("kept\n", image.ReadFile("/kept"));
        image.AssertClean();
    }

    [Fact]
    public async Task ReadOnlyAndSnapshotDisksLeaveTheImageAlone()
    {
        using DiskImage image = DiskImage.WithExt4(8);
        byte[] before = File.ReadAllBytes(image.Path);
        await using (BootedGuest guest = await BootedGuest.StartAsync(
            64, "quiet",
            new BlockDeviceOptions(image.Path) { Access = BlockAccess.ReadOnly },
            new BlockDeviceOptions(image.Path) { Access = BlockAccess.Snapshot }))
        {
            Assert.Equal("1 0\n", await guest.ExecuteAsync("echo $(blockdev --getro /dev/lgba) $(blockdev --getro /dev/lgbb)"));
            Assert.Equal("failed\n", await guest.ExecuteAsync("dd if=/dev/zero of=/dev/lgba bs=4096 count=1 conv=fsync 2>/dev/null || echo failed"));
            Assert.Equal("kept\n", await guest.ExecuteAsync(
                "mount -t ext4 /dev/lgbb /mnt && cp /bin/busybox /mnt/copy && umount /mnt && mount -t ext4 /dev/lgbb /mnt && cmp /bin/busybox /mnt/copy && echo kept; umount /mnt"));
            await PowerOffAsync(guest);
        }
        Assert.Equal(Hash(before), Hash(File.ReadAllBytes(image.Path)));
    }

    [Fact]
    public async Task EveryByteOfFourDisksArrivesWhereItBelongs()
    {
        DiskImage[] images = [.. Enumerable.Range(0, 4).Select(static _ => new DiskImage(8))];
        try
        {
            byte[] random = new byte[8 << 20];
            new Random(1).NextBytes(random);
            File.WriteAllBytes(images[0].Path, random);
            await using (BootedGuest guest = await BootedGuest.StartAsync(64, "quiet", [.. images.Select(static image => new BlockDeviceOptions(image.Path))]))
            {
                // All at once, with sizes that meet no border, while the caches are dropped under them.
                await guest.ExecuteAsync("for d in b c d; do dd if=/dev/lgba of=/dev/lgb$d bs=10007 2>/dev/null & done; for i in 1 2 3; do echo 3 >/proc/sys/vm/drop_caches; done; wait; sync", seconds: 240);
                await PowerOffAsync(guest);
            }
            Assert.All(images, image => Assert.Equal(Hash(random), Hash(File.ReadAllBytes(image.Path))));
        }
        finally
        {
            foreach (DiskImage image in images)
            {
                image.Dispose();
            }
        }
    }

    [Fact]
    public async Task WhatWasAnnouncedAfterAnFsyncSurvivesKillMinusNine()
    {
        int rounds = int.Parse(Environment.GetEnvironmentVariable(KillRoundsVariable) ?? $"{KillRounds}");
        int seed = Environment.TickCount;
        var random = new Random(seed);
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}, {rounds} rounds");
        DiskImage[] images = [.. Enumerable.Range(0, KillDisks).Select(static _ => DiskImage.WithExt4(16))];
        try
        {
            int[] saved = new int[KillDisks];
            for (int round = 0; round < rounds; round++)
            {
                string screen = await WriteUntilKilledAsync(images, random.Next(1, 30), TimeSpan.FromMilliseconds(random.Next(20)));
                foreach ((int disk, DiskImage image) in images.Index())
                {
                    int announced = Saved().Matches(screen).Where(match => match.Groups[1].Value[0] == 'a' + disk)
                        .Select(static match => int.Parse(match.Groups[2].Value)).LastOrDefault(saved[disk]);
                    image.Recover();
                    image.AssertClean();
                    string[] numbers = image.ReadFile("/log").Split('\n', StringSplitOptions.RemoveEmptyEntries);
                    Assert.Equal(Enumerable.Range(1, numbers.Length).Select(static number => $"{number}"), numbers);
                    Assert.True(numbers.Length >= announced, $"seed {seed}, round {round}, disk {disk}: {announced} was announced, {numbers.Length} is the last on the image");
                    saved[disk] = numbers.Length;
                }
            }
        }
        finally
        {
            foreach (DiskImage image in images)
            {
                image.Dispose();
            }
        }
    }

    /// <summary>Boots a Guest that goes on counting into a file on each disk, a number safe on the disk before it is announced, and kills its process.</summary>
    /// <param name="images">The disks.</param>
    /// <param name="announcements">How many numbers are announced at least.</param>
    /// <param name="delay">How long the process lives after that.</param>
    /// <returns>All that the Guest wrote to its console.</returns>
    private static async Task<string> WriteUntilKilledAsync(DiskImage[] images, int announcements, TimeSpan delay)
    {
        string[] disks = [.. images.SelectMany(static image => new[] { "--block", image.Path })];
        using Process process = Process.Start(new ProcessStartInfo(Path.Combine(DefaultGuest.Root, "lguest"),
            ["run", "--kernel", DefaultGuest.Kernel, "--initrd", DefaultGuest.Initrd, "--cmdline", "quiet", .. disks])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        using CancellationTokenRegistration kill = patience.Token.Register(process.Kill);
        var screen = new StringBuilder();
        try
        {
            await process.StandardInput.WriteAsync("""
                count() { touch $1/log; n=$(wc -l <$1/log); while :; do n=$((n+1)); echo $n >>$1/log; sync $1/log; echo SAVED $2 $n; cp /etc/passwd $1/junk; done; }
                for d in a b c d e; do mkdir /tmp/$d && mount -t ext4 /dev/lgb$d /tmp/$d; done
                for d in a b c d e; do count /tmp/$d $d & done

                """);
            await process.StandardInput.FlushAsync();
            char[] some = new char[1024];
            Task? death = null;
            while (await process.StandardOutput.ReadAsync(some) is int count and > 0)
            {
                screen.Append(some, 0, count);
                death ??= Saved().Count(screen.ToString()) >= announcements ? KillAsync() : null;
            }
            Assert.True(death != null, $"the Guest ended by itself:\n{screen}");
            await death;
            return screen.ToString();
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
        }

        async Task KillAsync()
        {
            await Task.Delay(delay);
            process.Kill();
        }
    }

    private static Task PowerOffAsync(BootedGuest guest) => EndAsync(guest, "poweroff\n");

    private static Task LeaveAsync(BootedGuest guest) => EndAsync(guest, "exit\n");

    private static async Task EndAsync(BootedGuest guest, string command)
    {
        guest.Type(command);
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    [GeneratedRegex(@"SAVED ([a-e]) (\d+)\r")]
    private static partial Regex Saved();
}
