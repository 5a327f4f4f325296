// Debian's kernel and its initramfs as guest/debian/build makes them, once for all tests.

using System.Diagnostics;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

internal static class DebianGuest
{
    private static readonly Lazy<string?> Build = new(static () =>
    {
        using Process process = Process.Start(new ProcessStartInfo(Path.Combine(DefaultGuest.Root, "guest", "debian", "build")) { RedirectStandardOutput = true })!;
        string[] lines = process.StandardOutput.ReadToEnd().Split('\n');
        process.WaitForExit();
        return process.ExitCode == 0 ? Array.Find(lines, static line => line.StartsWith("done: ", StringComparison.Ordinal))?[6..] : null;
    });

    /// <summary>Skips a test where the kernel cannot be had.</summary>
    public static void Require() => Assert.SkipWhen(Build.Value == null, "Debian's kernel could not be downloaded (guest/debian/build)");

    /// <summary>A PC with Debian's kernel.</summary>
    public static MachineOptions On(MachineOptions options) => options with
    {
        Platform = MachinePlatform.Pc,
        Kernel = Path.Combine(Build.Value!, "vmlinuz"),
        Initrd = Path.Combine(Build.Value!, "initramfs.cpio"),
        MemoryBytes = 256 << 20,
        // The kernel tests its ciphers for longer than all the rest takes.
        CommandLine = "console=ttyS0 cryptomgr.notests",
    };
}
