// Who takes part in the comparison: for each platform ours and QEMU with the same work, and on a PC two that are only there to look at. All
// that differs between machines stands here, as command lines.

using System.Diagnostics;

namespace Lguest.Bench;

/// <summary>A machine of the comparison, as a process whose standard input and output are its console.</summary>
/// <param name="Name">The column of the table.</param>
/// <param name="Program">Path, or the name of a program that is looked for in the path.</param>
/// <param name="Arguments">Of the program.</param>
internal sealed record Peer(string Name, string Program, IReadOnlyList<string> Arguments)
{
    public const string Lguest = "lguest";
    public const string Qemu = "QEMU";

    private const string Megabytes = "256";

    /// <summary>How to get the program, for one who does not have it.</summary>
    public string Remedy { get; private init; } = "";

    /// <summary>Not part of any goal: one round is enough.</summary>
    public bool IsReference { get; private init; }

    /// <summary>Whether the program is there.</summary>
    public bool IsInstalled => IsInPath(Program);

    /// <summary>What the program says that it is.</summary>
    public string Version
    {
        get
        {
            using Process process = Process.Start(new ProcessStartInfo(Program, "--version") { RedirectStandardOutput = true })!;
            return process.StandardOutput.ReadToEnd().Split('\n')[0];
        }
    }

    /// <summary>Machines with the kernel that knows lguest, and with one of the same sources that does not.</summary>
    /// <param name="built">What <c>guest/benchmark/build lguest</c> has made.</param>
    /// <param name="engine">Options of ours.</param>
    public static IReadOnlyList<Peer> OnLguest(string built, IEnumerable<string> engine) =>
    [
        OfOurs(Path.Combine(built, "lguest-vmlinux"), Initramfs(built), engine),
        OfQemu(Path.Combine(built, "vmlinux"), Initramfs(built), "console=ttyS0 tsc=reliable"),
    ];

    /// <summary>Machines with one kernel, initramfs and command line; and User-mode Linux, whose kernel is a program of the host.</summary>
    /// <param name="built">What <c>guest/benchmark/build pc</c> has made.</param>
    /// <param name="engine">Options of ours.</param>
    public static IReadOnlyList<Peer> OnPc(string built, IEnumerable<string> engine)
    {
        string kernel = Path.Combine(built, "vmlinuz");
        // QEMU's processor has weaknesses that kernels work around at some expense, ours has none: all shall do the same.
        const string CommandLine = "console=ttyS0 cryptomgr.notests noisapnp tsc=reliable mitigations=off";
        return
        [
            OfOurs(kernel, Initramfs(built), [.. engine, "--platform", "pc", "--cmdline", CommandLine]),
            OfQemu(kernel, Initramfs(built), CommandLine),
            new("v86", MakeV86(), [Megabytes, kernel, Initramfs(built), CommandLine]) { IsReference = true, Remedy = "apt-get install nodejs npm" },
            // It wants a disk unless it is told of a root, even of none.
            new("User-mode Linux", "linux.uml", [$"mem={Megabytes}M", $"initrd={Path.Combine(built, "uml.cpio")}", "root=", "con0=fd:0,fd:1", "con=none", "quiet"])
            {
                IsReference = true,
                Remedy = "apt-get install user-mode-linux",
            },
        ];
    }

    private static string Initramfs(string built) => Path.Combine(built, "initramfs.cpio");

    private static Peer OfOurs(string kernel, string initramfs, IEnumerable<string> options) =>
        new(Lguest, Path.Combine(GuestScript.Root, "artifacts", "lguest", "lguest"), ["run", "--memory", Megabytes, "--kernel", kernel, "--initrd", initramfs, .. options]);

    private static Peer OfQemu(string kernel, string initramfs, string commandLine) => new(Qemu, "qemu-system-i386",
    [
        "-machine", "pc", "-accel", "tcg,thread=single", "-m", Megabytes, "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
        "-kernel", kernel, "-initrd", initramfs, "-append", commandLine,
    ])
    {
        Remedy = "apt-get install qemu-system-x86",
    };

    /// <returns>The program that the script has made, or one that is not there.</returns>
    private static string MakeV86()
    {
        string? folder = IsInPath("node") && IsInPath("npm") ? GuestScript.Make("benchmark/v86", []) : null;
        return Path.Combine(folder ?? "", "v86.mjs");
    }

    private static bool IsInPath(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
        .Any(folder => File.Exists(Path.Combine(folder, program)));
}
