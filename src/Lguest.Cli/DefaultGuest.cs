// The Guest that `lguest` alone boots: this repository's own kernel and initramfs. They are built once, by guest/linux/build, into a cache
// outside the checkout; this file finds that script, shows how far it is, and hands over what it made.

using System.Diagnostics;
using Spectre.Console;

namespace Lguest.Cli;

/// <summary>The files of the default Guest.</summary>
/// <param name="Kernel">Path of the kernel.</param>
/// <param name="Initrd">Path of the initramfs.</param>
internal sealed record DefaultGuest(string Kernel, string Initrd)
{
    private const string ProgressMark = "progress ";

    /// <summary>Finds the Guest, and builds it where it is missing.</summary>
    /// <exception cref="CommandException">There is no checkout around this program, or the build failed.</exception>
    public static async Task<DefaultGuest> PrepareAsync(CancellationToken cancellationToken)
    {
        string script = FindBuildScript();
        string? folder = null;
        await RunAsync(script, ["--print-path"], line => folder = line.Trim(), cancellationToken);
        var guest = new DefaultGuest(Path.Combine(folder!, "vmlinux"), Path.Combine(folder!, "initramfs.cpio"));
        if (!File.Exists(guest.Kernel) || !File.Exists(guest.Initrd))
        {
            await BuildAsync(script, cancellationToken);
        }
        return guest;
    }

    /// <summary>The checkout is above the program: in its artifacts, or in a project's build output.</summary>
    private static string FindBuildScript()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
        {
            string script = Path.Combine(folder.FullName, "guest", "linux", "build");
            if (File.Exists(script))
            {
                return script;
            }
        }
        throw new CommandException("there is no default Guest outside a checkout; name a kernel: lguest run --kernel FILE (see lguest --help)");
    }

    private static async Task BuildAsync(string script, CancellationToken cancellationToken)
    {
        if (Console.IsErrorRedirected)
        {
            Console.Error.WriteLine("lguest: building the default Guest's kernel (once; takes some minutes) ...");
            await RunAsync(script, [], static _ => { }, cancellationToken);
            return;
        }
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.MarkupLine("Building the default Guest's kernel; this is done once and takes some minutes.");
        await console.Progress()
            .Columns(new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .StartAsync(async context =>
            {
                ProgressTask task = context.AddTask("starting");
                await RunAsync(script, [], line => Show(task, line), cancellationToken);
                task.Value = task.MaxValue;
            });
    }

    private static void Show(ProgressTask task, string line)
    {
        string[] parts = line.Split(' ', 3);
        if (line.StartsWith(ProgressMark, StringComparison.Ordinal) && parts.Length == 3 && int.TryParse(parts[1], out int percent))
        {
            task.Value = percent;
            task.Description = Markup.Escape(parts[2]);
        }
    }

    /// <summary>Runs the build script with no input.</summary>
    private static async Task RunAsync(string script, string[] arguments, Action<string> onLine, CancellationToken cancellationToken)
    {
        using Process process = Process.Start(new ProcessStartInfo(script, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        }) ?? throw new CommandException($"{script} cannot be started");
        process.StandardInput.Close();
        string lastError = "";
        try
        {
            await Task.WhenAll(
                ReadLinesAsync(process.StandardOutput, onLine, cancellationToken),
                ReadLinesAsync(process.StandardError, line => lastError = line.Trim().Length > 0 ? line : lastError, cancellationToken));
            await process.WaitForExitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
        if (process.ExitCode != 0)
        {
            throw new CommandException($"the default Guest could not be built: {lastError} ({script} tells more)");
        }
    }

    private static async Task ReadLinesAsync(StreamReader reader, Action<string> onLine, CancellationToken cancellationToken)
    {
        while (await reader.ReadLineAsync(cancellationToken) is string line)
        {
            onLine(line);
        }
    }
}
