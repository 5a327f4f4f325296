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

        byte[] written = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(1, 100_000).Select(static i => $"{i}\n")));
        await using (BootedGuest guest = await BootedGuest.StartAsync(64, "root=/dev/lgba rw quiet", new BlockDeviceOptions(root.Path)))
        {
            Assert.Matches(@"(?m)^/dev/(root|lgba) / ext4 rw", await guest.ExecuteAsync("cat /proc/mounts"));
            await guest.ExecuteAsync("seq 1 100000 >/root/numbers; mkdir /root/many; for i in $(seq 200); do echo $i >/root/many/$i; done; rm /root/many/1?");
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
                "mount -t ext4 /dev/lgbb /mnt && seq 1 100000 >/mnt/numbers && umount /mnt && mount -t ext4 /dev/lgbb /mnt && seq 1 100000 | cmp - /mnt/numbers && echo kept; umount /mnt"));
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
        using DiskImage image = DiskImage.WithExt4(16);
        int last = 0;
        for (int round = 0; round < rounds; round++)
        {
            int announced = await WriteUntilKilledAsync(image, last, TimeSpan.FromMilliseconds(random.Next(500)));
            image.Recover();
            image.AssertClean();
            string[] numbers = image.ReadFile("/log").Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(Enumerable.Range(1, numbers.Length).Select(static number => $"{number}"), numbers);
            Assert.True(numbers.Length >= announced, $"seed {seed}, round {round}: {announced} was announced, {numbers.Length} is the last on the image");
            last = numbers.Length;
        }
        Assert.True(last > rounds, $"only {last} numbers in {rounds} rounds");
    }

    /// <summary>Boots a Guest that goes on counting into a file, each number safe on the disk before it is announced, and kills its process.</summary>
    /// <returns>The last number that was announced, or where it started.</returns>
    private static async Task<int> WriteUntilKilledAsync(DiskImage image, int start, TimeSpan life)
    {
        using Process process = Process.Start(new ProcessStartInfo(Path.Combine(DefaultGuest.Root, "lguest"),
            ["run", "--kernel", DefaultGuest.Kernel, "--initrd", DefaultGuest.Initrd, "--block", image.Path])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(3));
        using CancellationTokenRegistration kill = patience.Token.Register(process.Kill);
        try
        {
            await process.StandardInput.WriteAsync($"n={start}; mount -t ext4 /dev/lgba /mnt; touch /mnt/junk; echo REA''DY\n"
                + "while :; do n=$((n+1)); echo $n >>/mnt/log; sync /mnt/log; echo SAVED $n; cp /etc/passwd /mnt/junk; done\n");
            await process.StandardInput.FlushAsync();
            var screen = new StringBuilder();
            char[] some = new char[1024];
            Task? death = null;
            while (await process.StandardOutput.ReadAsync(some) is int count and > 0)
            {
                screen.Append(some, 0, count);
                death ??= screen.ToString().Contains("READY\r\n", StringComparison.Ordinal) ? KillAsync() : null;
            }
            Assert.True(death != null, $"the Guest ended by itself:\n{screen}");
            await death;
            return Saved().Matches(screen.ToString()).Select(static match => int.Parse(match.Groups[1].Value)).LastOrDefault(start);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
        }

        async Task KillAsync()
        {
            await Task.Delay(life);
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

    [GeneratedRegex(@"SAVED (\d+)\r")]
    private static partial Regex Saved();
}
