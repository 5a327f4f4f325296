// Debian's kernels and their initramfs as guest/debian/build makes them. They are a download: where they cannot be had, a test is skipped and
// says so.

using Lguest.Launcher;

namespace Lguest.Boot.Tests;

internal static class DebianGuest
{
    /// <summary>The kernel tests its ciphers for longer than all the rest takes.</summary>
    public const string CommandLine = "console=ttyS0 cryptomgr.notests noisapnp";

    /// <summary>A PC with one of Debian's kernels.</summary>
    /// <param name="options">What it has besides.</param>
    /// <param name="flavour">Which kernel.</param>
    public static MachineOptions On(MachineOptions options, string flavour = "686")
    {
        string folder = MadeGuest.Make("debian/build", flavour);
        return options with
        {
            Platform = MachinePlatform.Pc,
            Kernel = Path.Combine(folder, "vmlinuz"),
            Initrd = Path.Combine(folder, "initramfs.cpio"),
            MemoryBytes = 256 << 20,
            CommandLine = CommandLine,
        };
    }
}
