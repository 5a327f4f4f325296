// Two engines, one Guest: what a program computes, and what it can see of the kernel under it, must not depend on the engine. Times and
// places that the kernel draws at random are left out; everything else is compared letter by letter.

using Lguest.Launcher;
using Lguest.X86;

namespace Lguest.Boot.Tests;

public class EngineTests
{
    private static readonly string[] Commands =
    [
        // What the processor and the kernel say they are.
        "grep -v -i -e mhz -e bogomips /proc/cpuinfo",
        "cat /proc/filesystems /proc/devices /proc/misc /proc/mounts /proc/cmdline; cat /proc/iomem",
        "grep -e MemTotal -e SwapTotal -e PageTables.*:\\ *0 /proc/meminfo; cat /proc/sys/kernel/ostype /proc/sys/kernel/osrelease",
        "ls -lR /bin /sbin /etc | sort | grep -v total | awk '{ print $1, $2, $5, $NF }' | sha256sum",

        // Integers: hashes and sums of three kinds, 64-bit arithmetic in the shell, compression and its undoing.
        "for f in md5sum sha512sum cksum; do $f /bin/busybox; done",
        "seq 1 5000 | awk '{ s = (s * 31 + $1) % 1000003 } END { print s }'; echo $((0x7fffffffffffffff / 3)) $((-7 / 2)) $((-7 % 3)) $((1 << 40)) $((12345678901 * 98765))",
        "gzip -c /bin/busybox | gunzip -c | cmp - /bin/busybox && echo same",
        "i=0; x=1; while [ $i -lt 800 ]; do x=$(((x * 1103515245 + 12345) & 0x7fffffff)); i=$((i + 1)); done; echo $x",

        // Floating point, to the last bit of what is printed.
        """awk 'BEGIN { x = 0.5; for (i = 0; i < 5000; i++) { x = 3.9 * x * (1 - x); s += x / (i + 1.5) }; printf "%.17g %.17g\n", x, s }'""",
        """awk 'BEGIN { for (i = -40; i < 40; i++) printf "%.17g %d %g ", i / 7, i / 7, 10 ^ i; print 1e308 * 10, -1e308 * 10, 2 ^ 0.5, int(-3.7), 1e16 + 1 }'""",
        """awk 'BEGIN { print sin(1), cos(1), atan2(1, 2), exp(1), log(10), sqrt(2) }' 2>&1""",

        // Processes, signals and faults.
        "for s in HUP QUIT ILL ABRT BUS FPE KILL USR1 SEGV PIPE ALRM TERM; do sh -c \"kill -$s \\$\\$\" 2>/dev/null; echo $s $?; done",
        "n=0; trap 'n=$((n + 1))' USR1; for i in 1 2 3 4 5 6 7 8 9 10; do kill -USR1 $$; done; echo $n",
        "i=0; while [ $i -lt 50 ]; do (exit $i) || s=$((s + $?)); i=$((i + 1)); done; echo $s; seq 1 3000 | sort -r | uniq | wc -l | tr -d ' '",
        "seq 1 20000 | sed -n 's/\\(.*\\)7\\(.*\\)/\\2-\\1/p' | sort | tr 0-9 a-j | sha256sum; echo 'abc' | tr a-c x-z | rev",
    ];

    [Fact]
    public async Task AGuestCannotTellOneEngineFromTheOther()
    {
        Assert.SkipUnless(Engines.CanTranslate(out string? whyNot), whyNot ?? "");
        string[] interpreted = await RunAsync(Engine.Interpreter);
        string[] translated = await RunAsync(Engine.Translator);
        for (int i = 0; i < Commands.Length; i++)
        {
            Assert.Equal($"{Commands[i]}\n{interpreted[i]}", $"{Commands[i]}\n{translated[i]}");
        }
    }

    private static async Task<string[]> RunAsync(Engine engine)
    {
        await using BootedGuest guest = await BootedGuest.StartAsync(engine);
        string[] answers = new string[Commands.Length];
        for (int i = 0; i < Commands.Length; i++)
        {
            answers[i] = await guest.ExecuteAsync(Commands[i]);
            Assert.NotEqual("", answers[i]);
        }
        return answers;
    }
}
