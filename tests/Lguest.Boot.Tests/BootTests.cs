// A real Linux boots, answers, and ends (the whole of the ABI at once).

using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class BootTests
{
    private static readonly string[] Complaints = ["WARNING:", "BUG:", "Oops", "Kernel panic", "Call Trace", "Unable to handle", "rcu_sched", "soft lockup"];

    [Fact]
    [Trait("Engine", "each")]
    public async Task TheKernelBootsToItsShellAndPowersOff()
    {
        await using BootedGuest guest = await BootedGuest.StartAsync();
        foreach (string marker in new[] { "Linux version 6.12", "Kernel command line:", "Freeing unused kernel", "Run /init as init process", "lguest: init" })
        {
            Assert.Contains(marker, guest.Screen);
        }
        foreach (string complaint in Complaints)
        {
            Assert.DoesNotContain(complaint, guest.Screen);
        }

        Assert.StartsWith("Linux", await guest.ExecuteAsync("uname -a"));
        Assert.Contains("i686", await guest.ExecuteAsync("uname -m"));
        Assert.Contains("busybox", await guest.ExecuteAsync("ls /bin"));
        string interrupts = await guest.ExecuteAsync("cat /proc/interrupts");
        Assert.Matches(@"(?m)^\s*0:\s+[1-9]", interrupts);
        Assert.Matches(@"(?m)^\s*1:\s+[1-9]", interrupts);
        string processor = await guest.ExecuteAsync("cat /proc/cpuinfo");
        Assert.Matches(@"flags\s+:.*\bfpu\b.*\bcx8\b.*\bcmov\b.*\bmmx\b.*\bfxsr\b.*\bsse\b.*\bsse2\b", processor);
        Assert.Matches(@"fpu\s+: yes", processor);

        guest.Type("poweroff\n");
        Assert.Equal(new MachineResult(MachineEnd.PowerOff, "CRASH: Power down"), await guest.WaitForEndAsync());
    }

    [Fact]
    [Trait("Engine", "each")]
    public async Task ShellScriptsComputeWhatTheyShould()
    {
        await using BootedGuest guest = await BootedGuest.StartAsync();

        // Files and pipes.
        await guest.WriteFileAsync("/tmp/words", "pear\napple\nfig\napple");
        Assert.Equal("2 apple|1 fig|1 pear\n", await guest.ExecuteAsync(
            "sort /tmp/words | uniq -c | sed 's/^ *//' | tr '\\n' '|' | sed 's/|$//'; echo"));
        Assert.Equal("4\n", await guest.ExecuteAsync("mkdir -p /tmp/a/b && cp /tmp/words /tmp/a/b/ && mv /tmp/a/b/words /tmp/a/w && cat /tmp/a/w | wc -l | tr -d ' '; rm -r /tmp/a"));

        // 200 forks.
        Assert.Equal("20100\n", await guest.ExecuteAsync("n=0; i=0; while [ $i -lt 200 ]; do i=$((i+1)); n=$((n+$(/bin/echo $i))); done; echo $n"));

        // Floating point, of which busybox's awk has the four operations: a sum, a square root by Newton, e by its series.
        double sum = 0, root = 1, term = 1, e = 1;
        for (int i = 1; i <= 2000; i++)
        {
            sum += i / (i * 1.5 + 0.25);
        }
        for (int i = 1; i <= 40; i++)
        {
            root = (root + (sum / root)) / 2;
            term /= i;
            e += term;
        }
        Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"{sum:F9} {root:F9} {e:F9}\n"), await guest.ExecuteAsync(
            "awk 'BEGIN { r = t = e = 1; for (i = 1; i <= 2000; i++) s += i / (i * 1.5 + 0.25); "
            + """for (i = 1; i <= 40; i++) { r = (r + s / r) / 2; t /= i; e += t }; printf "%.9f %.9f %.9f\n", s, r, e }'"""));

        // Bytes, hashed on both sides.
        Assert.Equal(Hash(DefaultGuest.ReadInitrdFile("bin/busybox")), Sum(await guest.ExecuteAsync("sha256sum /bin/busybox")));
        Assert.Equal(Hash(new byte[512 * 1024]), Sum(await guest.ExecuteAsync("dd if=/dev/zero bs=1024 count=512 2>/dev/null | sha256sum")));
        Assert.Equal(Hash(Encoding.ASCII.GetBytes(string.Concat(Enumerable.Range(1, 20000).Select(static i => $"{i}\n")))),
            Sum(await guest.ExecuteAsync("seq 1 20000 | dd bs=777 2>/dev/null | sha256sum")));
    }

    [Fact]
    public async Task TwentyFourMebibytesAreEnough()
    {
        await using BootedGuest guest = await BootedGuest.StartAsync(24);
        Assert.Matches("MemTotal: +[12][0-9]{4} kB", await guest.ExecuteAsync("cat /proc/meminfo"));
        guest.Type("poweroff -f\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }

    [Fact]
    public async Task AMinuteOfForksMapsSignalsAndTimersLeavesTheKernelLogClean()
    {
        await using BootedGuest guest = await BootedGuest.StartAsync();
        await guest.WriteFileAsync("/tmp/stress", """
            end=$(($(date +%s) + 60))
            alarms=0
            trap 'alarms=$((alarms + 1))' ALRM
            rounds=0
            while [ $(date +%s) -lt $end ]; do
            rounds=$((rounds + 1))
            (usleep 20000; kill -ALRM $$) &
            for i in 1 2 3 4 5 6 7 8; do (true) & done
            dd if=/dev/zero of=/tmp/map bs=64k count=16 2>/dev/null
            gzip -c /tmp/map | gunzip -c | cmp - /tmp/map || echo CORRUPT
            sort -r /etc/passwd /proc/cpuinfo >/tmp/sorted
            sleep 100 & kill -9 $!; wait $!
            timeout -s INT 1 sh -c 'while :; do :; done' & usleep 50000; kill $! 2>/dev/null
            awk 'BEGIN { x = 1; for (i = 0; i < 3000; i++) x = x * 1.0001; if (x < 1.3498 || x > 1.3499) print "CORRUPT" }'
            wait
            done
            rm -f /tmp/map /tmp/sorted
            echo rounds $rounds alarms $alarms
            """);
        string result = await guest.ExecuteAsync("sh /tmp/stress 2>/dev/null", seconds: 300);
        Assert.Matches("rounds [1-9][0-9]* alarms [1-9]", result);
        Assert.DoesNotContain("CORRUPT", result);

        string log = await guest.ExecuteAsync("dmesg");
        foreach (string complaint in Complaints)
        {
            Assert.DoesNotContain(complaint, log);
            Assert.DoesNotContain(complaint, guest.Screen);
        }
        guest.Type("poweroff\n");
        Assert.Equal("CRASH: Power down", (await guest.WaitForEndAsync()).Reason);
    }

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private static string Sum(string line) => Regex.Match(line, "[0-9a-f]{64}").Value;
}
