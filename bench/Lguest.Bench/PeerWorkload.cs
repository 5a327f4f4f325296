// What a Guest has to do in the comparison with another emulator. All that is compared stands here, as one table.

namespace Lguest.Bench;

/// <summary>A piece of work for a shell, the same in every machine.</summary>
/// <param name="Name">What the table of results calls it.</param>
/// <param name="Command">What is measured. What it prints must be the same everywhere.</param>
internal sealed record PeerWorkload(string Name, string Command)
{
    /// <summary>How often the host itself does the work while the Guest does it once: it is too quick for a clock.</summary>
    public const int NativeTimes = 10;

    /// <summary>The ratio of CPU seconds to QEMU's that we want to reach, or less.</summary>
    public const double PeerGoal = 0.5;

    /// <summary>The boot, which is no command: a machine begins with it.</summary>
    public const string Boot = "boot to the prompt";

    /// <summary>Makes the files that are worked on, in the current folder, before anything is measured.</summary>
    public const string Prepare = "dd if=/dev/zero of=zeroes bs=1M count=64 2>/dev/null; seq 10000000 11864134 >text";

    /// <summary>The part of the native speed that we want to reach, or null if the work is not done natively.</summary>
    public double? NativeGoal { get; private init; }

    /// <summary>All work, in the order in which it is done.</summary>
    public static IReadOnlyList<PeerWorkload> All { get; } =
    [
        new("sha256sum of 64 MiB", "sha256sum <zeroes") { NativeGoal = 0.5 },
        new("gzip -9 of 16 MiB", "gzip -9 <text | wc -c") { NativeGoal = 0.5 },
        new("500 programs started", "i=0; while [ $i -lt 500 ]; do /bin/true; i=$((i+1)); done"),
        new("200,000 reads and writes", "dd if=/dev/zero of=/dev/null bs=1 count=100000 2>/dev/null"),
        new("awk loop", "awk 'BEGIN { for (i = 0; i < 150000; i++) s = (s * 7 + i) % 65521; print s }'"),
        Part("integer", 0.6),
        Part("x87", 0.7),
        Part("sse2", 0.6),
        Part("stride4", 0.5),
        Part("stride64", 0.5),
        Part("stride4160", 0.5),
        Part("calls", 0.6),
    ];

    /// <summary>The command for the host's shell, or null if the work is not done natively.</summary>
    /// <param name="folder">Where the programs are.</param>
    public string? NativeCommand(string folder) => NativeGoal == null ? null
        : IsPart ? $"{folder}/{Command} {NativeTimes}"
        : $"{folder}/busybox {Command}";

    /// <summary>The seconds of the work, of the seconds that the native command took.</summary>
    public double NativeSeconds(double seconds) => IsPart ? seconds / NativeTimes : seconds;

    private bool IsPart => Command.StartsWith("benchmark ", StringComparison.Ordinal);

    private static PeerWorkload Part(string name, double goal) => new($"benchmark {name}", $"benchmark {name}") { NativeGoal = goal };
}
