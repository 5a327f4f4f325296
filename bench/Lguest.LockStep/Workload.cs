// What the Guests do once they have booted: everything that an engine could get wrong, and no more of it than needed.

namespace Lguest.LockStep;

/// <summary>Lines for the shell: some 300 million instructions, or four times as many.</summary>
internal static class Workload
{
    public static readonly string[] Short =
    [
        // Forks, pipes, signals, faults.
        "i=0; while [ $i -lt 30 ]; do (exit $i) || s=$((s + $?)); i=$((i + 1)); done; echo $s",
        "seq 1 2000 | sed -n 's/\\(.*\\)7\\(.*\\)/\\2-\\1/p' | sort | tr 0-9 a-j | uniq | wc",
        "n=0; trap 'n=$((n + 1))' USR1; for i in 1 2 3 4 5 6 7 8 9 10; do kill -USR1 $$; done; echo $n",
        "for s in HUP ILL ABRT FPE KILL SEGV TERM; do sh -c \"kill -$s \\$\\$\" 2>/dev/null; echo $s $?; done",
        "sh -c 'trap \"echo alarm\" ALRM; (sleep 1; kill -ALRM $$) & wait; wait'",

        // Floating point.
        "awk 'BEGIN { x = 0.5; for (i = 0; i < 3000; i++) { x = 3.9 * x * (1 - x); s += x / (i + 1.5) }; printf \"%.17g %.17g\\n\", x, s }'",
        "awk 'BEGIN { for (i = -30; i < 30; i++) printf \"%.17g %d %g \", i / 7, i / 7, 10 ^ i; print sin(1), cos(1), atan2(1, 2), exp(1), log(10) }'",
        "awk 'BEGIN { for (i = 0; i < 2000; i++) print i * 7919 % 2003, i * i / 7 }' >/tmp/a & awk 'BEGIN { for (i = 0; i < 20000; i++) x += 1 / (i + 1); print x }'; wait; wc /tmp/a",

        // Compression and sums.
        "sort -n /tmp/a | gzip -9 | gunzip -c | sha256sum",

        // The kernel's own work.
        "cat /proc/cpuinfo /proc/meminfo /proc/interrupts; ls -lR /proc/1 /sys/devices 2>/dev/null | wc; dd if=/dev/zero of=/tmp/b bs=1 count=2000 2>/dev/null; rm /tmp/a /tmp/b",
    ];

    public static readonly string[] Long =
    [
        .. Short,
        "gzip -c /bin/busybox | gunzip -c | cmp - /bin/busybox && echo same",
        "md5sum /bin/busybox; sha512sum /bin/busybox; cksum /bin/busybox",
    ];
}
