// A Guest at its shell prompt, the default one or Debian's, for benchmarks that let it work.

using System.Diagnostics;
using System.IO.Pipelines;
using System.Text;
using Lguest.Launcher;

namespace Lguest.Bench;

/// <summary>A Guest and somebody who types at its console.</summary>
internal sealed class BenchGuest : IAsyncDisposable
{
    private const string Prompt = ":~# ";

    private readonly Pipe keyboard = new();
    private readonly Screen screen = new();
    private readonly Task prompt;
    private readonly Task<MachineResult> run;

    private BenchGuest(MachineOptions options)
    {
        Machine = new Machine(options with { ConsoleInput = keyboard.Reader.AsStream(), ConsoleOutput = screen });
        prompt = screen.WaitFor(Prompt);
        run = Machine.RunAsync();
    }

    public Machine Machine { get; }

    /// <summary>Everything that the Guest has written to its console.</summary>
    public string Shown => screen.Text;

    /// <summary>Forgets what the Guest has written so far. Nobody may be waiting for it.</summary>
    public void ForgetShown() => screen.Clear();

    /// <summary>Asks the checkout's build script where the Guest is; says so and gives null when it is not built.</summary>
    public static string? FindFolder() => FindFolder("linux", "vmlinux");

    /// <summary>The same for a Guest of one's choice.</summary>
    /// <param name="recipe">The folder of <c>guest</c> that has the script.</param>
    /// <param name="kernel">The kernel's file name.</param>
    public static string? FindFolder(string recipe, string kernel)
    {
        string path = GuestScript.Find($"{recipe}/build");
        if (File.Exists(Path.Combine(path, kernel)))
        {
            return path;
        }
        Console.Error.WriteLine($"bench: this Guest is not built yet; guest/{recipe}/build makes it");
        return null;
    }

    /// <summary>Boots to the prompt.</summary>
    public static Task<BenchGuest> StartAsync(string folder, params IReadOnlyList<DeviceOptions> devices) => StartAsync(folder, Engine.Auto, devices);

    /// <summary>Boots to the prompt with an engine of choice.</summary>
    public static Task<BenchGuest> StartAsync(string folder, Engine engine, params IReadOnlyList<DeviceOptions> devices) => StartAsync(new MachineOptions
    {
        Kernel = Path.Combine(folder, "vmlinux"),
        Initrd = Path.Combine(folder, "initramfs.cpio"),
        Devices = devices,
        Engine = engine,
    });

    /// <summary>A PC with Debian's kernel.</summary>
    /// <param name="folder">Where the kernel and its initramfs are.</param>
    public static MachineOptions Debian(string folder) => new()
    {
        Platform = MachinePlatform.Pc,
        Kernel = Path.Combine(folder, "vmlinuz"),
        Initrd = Path.Combine(folder, "initramfs.cpio"),
        MemoryBytes = 256 << 20,
        CommandLine = "console=ttyS0 cryptomgr.notests noisapnp quiet",
    };

    /// <summary>Boots a machine of any kind to the prompt; its console is the bench's.</summary>
    public static async Task<BenchGuest> StartAsync(MachineOptions options)
    {
        var guest = new BenchGuest(options);
        await guest.WaitForAsync(guest.prompt);
        return guest;
    }

    /// <summary>Executes a command.</summary>
    /// <returns>What it took, with the shell's work and the console's.</returns>
    public async Task<TimeSpan> ExecuteAsync(string command)
    {
        // The shell echoes what is typed: only its quotes make the mark that is looked for.
        Task end = screen.WaitFor("DONE\r\n");
        var watch = Stopwatch.StartNew();
        await keyboard.Writer.WriteAsync(Encoding.ASCII.GetBytes($"{command}; echo DO''NE\n"));
        await WaitForAsync(end);
        return watch.Elapsed;
    }

    public async ValueTask DisposeAsync() => await Machine.DisposeAsync();

    private async Task WaitForAsync(Task marker)
    {
        if (await Task.WhenAny(marker, run).WaitAsync(TimeSpan.FromMinutes(3)) == run)
        {
            throw new InvalidOperationException($"The Guest has ended: {await run}\n{screen.Text}");
        }
    }
}
