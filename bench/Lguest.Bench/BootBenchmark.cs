// Boots the default Guest to its shell prompt and says what that took: seconds, instructions, exits by kind, memory.

using System.Diagnostics;
using System.Text;
using Lguest.Host;
using Lguest.Launcher;

namespace Lguest.Bench;

/// <summary>The boot of the default Guest, several times in one process: the first round pays for compiling the Host.</summary>
internal static class BootBenchmark
{
    private const int Rounds = 3;
    private const long MemoryBytes = 64 << 20;

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 when there is no Guest to boot.</returns>
    public static async Task<int> RunAsync()
    {
        string? folder = FindGuest();
        if (folder is null)
        {
            Console.Error.WriteLine("bench: the default Guest is not built yet; guest/linux/build makes it");
            return 1;
        }
        for (int round = 1; round <= Rounds; round++)
        {
            await BootAsync(folder, round);
        }
        return 0;
    }

    private static async Task BootAsync(string folder, int round)
    {
        var console = new PromptStream(":~# ");
        TimeSpan cpuBefore = Process.GetCurrentProcess().TotalProcessorTime;
        var watch = Stopwatch.StartNew();
        await using var machine = new Machine(new MachineOptions
        {
            Kernel = Path.Combine(folder, "vmlinux"),
            Initrd = Path.Combine(folder, "initramfs.cpio"),
            MemoryBytes = MemoryBytes,
            ConsoleOutput = console,
        });
        using var stop = new CancellationTokenSource();
        Task<MachineResult> run = machine.RunAsync(stop.Token);
        stop.CancelAfter(TimeSpan.FromMinutes(1));
        Task first = await Task.WhenAny(console.Prompt, run);
        if (first == run)
        {
            Console.Error.WriteLine($"bench: the Guest ended before its prompt: {await run}");
            return;
        }
        watch.Stop();
        MachineStatistics statistics = machine.Statistics;
        Process process = Process.GetCurrentProcess();
        double cpu = (process.TotalProcessorTime - cpuBefore).TotalSeconds;
        Console.WriteLine($"boot {round}: {watch.Elapsed.TotalSeconds:F2} s, {cpu:F2} s CPU, {statistics.Instructions / 1e6:F1} M instructions, "
            + $"{statistics.Instructions / cpu / 1e6:F1} MIPS of CPU time, {process.WorkingSet64 >> 20} MiB resident ({MemoryBytes >> 20} MiB Guest)");
        if (round == Rounds)
        {
            PrintCounts("exits by trap", statistics.ExitsByTrap, static number => number.ToString());
            PrintCounts("hypercalls", statistics.HypercallsByNumber, static number => ((Hypercall)number).ToString());
            Console.WriteLine($"page faults: {statistics.PageFaults}");
        }
        await stop.CancelAsync();
        await run;
    }

    private static void PrintCounts(string title, IReadOnlyList<long> counts, Func<int, string> name)
    {
        IEnumerable<string> parts = counts.Index().Where(static pair => pair.Item != 0).Select(pair => $"{name(pair.Index)} {pair.Item}");
        Console.WriteLine($"{title}: {string.Join(", ", parts)}");
    }

    /// <summary>Asks the checkout's build script where the Guest is.</summary>
    private static string? FindGuest()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
        {
            string script = Path.Combine(folder.FullName, "guest", "linux", "build");
            if (File.Exists(script))
            {
                using Process process = Process.Start(new ProcessStartInfo(script, "--print-path") { RedirectStandardOutput = true })!;
                string path = process.StandardOutput.ReadToEnd().Trim();
                return File.Exists(Path.Combine(path, "vmlinux")) ? path : null;
            }
        }
        return null;
    }

    /// <summary>A console that waits for a prompt.</summary>
    private sealed class PromptStream(string prompt) : Stream
    {
        private readonly TaskCompletionSource found = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly StringBuilder text = new();

        public Task Prompt => found.Task;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override void Write(byte[] buffer, int offset, int count)
        {
            text.Append(Encoding.Latin1.GetString(buffer, offset, count));
            if (text.ToString().Contains(prompt, StringComparison.Ordinal))
            {
                found.TrySetResult();
            }
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
