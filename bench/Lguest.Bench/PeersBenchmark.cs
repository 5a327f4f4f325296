// What a Guest costs beside the same Linux on another emulator, QEMU with TCG, and beside the host itself: CPU seconds for the same work.
// Everybody gets the same initramfs, as much memory, and kernels of one source and one config; docs/performance.md tells what differs.

using System.Diagnostics;
using System.Globalization;

namespace Lguest.Bench;

/// <summary>Runs machines in turn, and prints a table of medians in Markdown.</summary>
internal static class PeersBenchmark
{
    private const string Usage = "usage: bench peers [ROUNDS] [--engine NAME]";
    private const string Qemu = "qemu-system-i386";
    private const int MostRounds = 99;

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 for bad arguments, when something is missing, and when machines come to different results.</returns>
    public static async Task<int> RunAsync(ReadOnlyMemory<string> arguments)
    {
        int rounds = 3;
        string[] engine = [];
        for (; !arguments.IsEmpty; arguments = arguments[1..])
        {
            if (arguments.Span is ["--engine", string name, ..])
            {
                engine = ["--engine", name];
                arguments = arguments[1..];
            }
            else if (!int.TryParse(arguments.Span[0], out rounds) || rounds is < 1 or > MostRounds)
            {
                Console.Error.WriteLine($"bench: '{arguments.Span[0]}' is not understood; {Usage}");
                return 1;
            }
        }
        if (!IsInPath(Qemu))
        {
            Console.Error.WriteLine($"bench: there is no {Qemu} to compare with; apt-get install qemu-system-x86");
            return 1;
        }
        if (FindCheckout() is not string checkout || Build(checkout) is not string built)
        {
            return 1;
        }
        try
        {
            return await CompareAsync(checkout, built, engine, rounds);
        }
        catch (InvalidOperationException problem)
        {
            Console.Error.WriteLine($"bench: {problem.Message}");
            return 1;
        }
    }

    private static async Task<int> CompareAsync(string checkout, string built, string[] engine, int rounds)
    {
        string initramfs = Path.Combine(built, "initramfs.cpio");
        string[] lguest =
        [
            "run", "--memory", "256M", "--kernel", Path.Combine(built, "lguest-vmlinux"), "--initrd", initramfs, .. engine,
        ];
        string[] qemu =
        [
            "-machine", "pc", "-accel", "tcg,thread=single", "-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
            "-kernel", Path.Combine(built, "vmlinux"), "-initrd", initramfs, "-append", "console=ttyS0 tsc=reliable",
        ];
        var table = new PeerTable();
        for (int round = 1; round <= rounds; round++)
        {
            Console.Error.WriteLine($"bench: round {round} of {rounds}");
            await MeasureAsync(table, PeerTable.Lguest, Path.Combine(checkout, "artifacts", "lguest", "lguest"), lguest);
            await MeasureAsync(table, PeerTable.Qemu, Qemu, qemu);
            MeasureNatively(table, built);
        }
        Console.WriteLine($"CPU seconds, medians of {rounds} rounds, on {ProcessorModel()}; {string.Join(' ', ["lguest", .. engine])} and {FirstLine(Qemu, "--version")}");
        Console.WriteLine();
        return table.Print() ? 0 : 1;
    }

    private static async Task MeasureAsync(PeerTable table, string column, string program, string[] arguments)
    {
        (PeerMachine machine, double boot) = await PeerMachine.BootAsync(program, arguments);
        using (machine)
        {
            table.Add(PeerWorkload.Boot, column, boot, "");
            await machine.ExecuteAsync($"cd /tmp; {PeerWorkload.Prepare}");
            foreach (PeerWorkload workload in PeerWorkload.All)
            {
                (string printed, double seconds) = await machine.ExecuteAsync(workload.Command);
                table.Add(workload.Name, column, seconds, printed);
            }
        }
    }

    private static void MeasureNatively(PeerTable table, string built)
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("lguest-bench-");
        try
        {
            RunNatively(folder.FullName, PeerWorkload.Prepare);
            foreach (PeerWorkload workload in PeerWorkload.All)
            {
                if (workload.NativeCommand(built) is string command)
                {
                    (string printed, double seconds) = RunNatively(folder.FullName, command);
                    table.Add(workload.Name, PeerTable.Native, workload.NativeSeconds(seconds), printed);
                }
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    /// <summary>Lets the host's shell execute a command.</summary>
    /// <returns>What it has printed, and the CPU seconds of all that it consists of.</returns>
    private static (string Printed, double Seconds) RunNatively(string folder, string command)
    {
        using Process shell = Process.Start(new ProcessStartInfo("bash", ["-c", $"TIMEFORMAT='%3U %3S'; time {{ {command}; }}"])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string printed = shell.StandardOutput.ReadToEnd().Trim();
        string times = shell.StandardError.ReadToEnd();
        double[] parts = [.. times.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)
            .Select(part => double.TryParse(part, CultureInfo.InvariantCulture, out double seconds) ? seconds
                : throw new InvalidOperationException($"'{command}' failed: {times}"))];
        return (printed, parts.Sum());
    }

    /// <summary>Brings kernels, initramfs and programs, and the lguest command, up to date.</summary>
    /// <returns>The folder of all but the command, or null when that failed; the reason has been printed.</returns>
    private static string? Build(string checkout)
    {
        string? last = null;
        using (Process build = Process.Start(new ProcessStartInfo(Path.Combine(checkout, "guest", "benchmark", "build")) { RedirectStandardOutput = true })!)
        {
            while (build.StandardOutput.ReadLine() is string line)
            {
                Console.Error.WriteLine($"bench: {last = line}");
            }
        }
        const string Done = "done: ";
        if (last?.StartsWith(Done, StringComparison.Ordinal) != true)
        {
            return null;
        }
        // The script publishes the command; what it starts then is only told to say how it is used.
        using Process command = Process.Start(new ProcessStartInfo(Path.Combine(checkout, "lguest"), "--help") { RedirectStandardOutput = true })!;
        command.StandardOutput.ReadToEnd();
        command.WaitForExit();
        return command.ExitCode == 0 ? last[Done.Length..] : null;
    }

    private static string? FindCheckout()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "guest", "benchmark", "build")))
            {
                return folder.FullName;
            }
        }
        Console.Error.WriteLine("bench: peers needs a checkout, with guest/benchmark");
        return null;
    }

    private static bool IsInPath(string program) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
        .Any(folder => File.Exists(Path.Combine(folder, program)));

    private static string ProcessorModel() => File.ReadLines("/proc/cpuinfo")
        .First(static line => line.StartsWith("model name", StringComparison.Ordinal)).Split(": ", 2)[1];

    private static string FirstLine(string program, string argument)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, argument) { RedirectStandardOutput = true })!;
        return process.StandardOutput.ReadToEnd().Split('\n')[0];
    }
}
