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
    private const string DoneMark = "done: ";
    private const string ErrorMark = "error: ";

    /// <summary>Finds the Guest, and builds it where it is missing.</summary>
    /// <exception cref="CommandException">There is no checkout around this program, or the build failed.</exception>
    public static async Task<DefaultGuest> PrepareAsync(CancellationToken cancellationToken)
    {
        using Process build = Start(FindBuildScript());
        Task<string> error = ReadErrorAsync(build);
        string? folder;
        try
        {
            // A Guest that is already there is all that the script has to say.
            folder = ReadDone(await build.StandardOutput.ReadLineAsync(cancellationToken))
                ?? await ShowProgressAsync(build.StandardOutput, cancellationToken);
            await build.WaitForExitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            build.Kill(entireProcessTree: true);
            throw;
        }
        return build.ExitCode == 0 && folder != null
            ? new DefaultGuest(Path.Combine(folder, "vmlinux"), Path.Combine(folder, "initramfs.cpio"))
            : throw new CommandException($"the default Guest could not be built: {await error} (run guest/linux/build to see more)");
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

    private static Process Start(string script)
    {
        Process process = Process.Start(new ProcessStartInfo(script)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        }) ?? throw new CommandException($"{script} cannot be started");
        process.StandardInput.Close();
        return process;
    }

    private static async Task<string?> ShowProgressAsync(StreamReader output, CancellationToken cancellationToken)
    {
        if (Console.IsErrorRedirected)
        {
            Standard.WriteError("building the default Guest's kernel (once; takes some minutes) ...");
            return await ReadToDoneAsync(output, static _ => { }, cancellationToken);
        }
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.WriteLine("Building the default Guest's kernel; this is done once and takes some minutes.");
        return await console.Progress()
            .Columns(new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .StartAsync(context =>
            {
                ProgressTask task = context.AddTask("starting");
                return ReadToDoneAsync(output, line => Show(task, line), cancellationToken);
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

    private static async Task<string?> ReadToDoneAsync(StreamReader output, Action<string> show, CancellationToken cancellationToken)
    {
        while (await output.ReadLineAsync(cancellationToken) is string line)
        {
            show(line);
            if (ReadDone(line) is string folder)
            {
                return folder;
            }
        }
        return null;
    }

    private static string? ReadDone(string? line) => line?.StartsWith(DoneMark, StringComparison.Ordinal) == true ? line[DoneMark.Length..] : null;

    private static async Task<string> ReadErrorAsync(Process build)
    {
        string error = "";
        while (await build.StandardError.ReadLineAsync() is string line)
        {
            if (error.Length == 0 || line.StartsWith(ErrorMark, StringComparison.Ordinal))
            {
                error = line.Replace(ErrorMark, "", StringComparison.Ordinal);
            }
        }
        return error;
    }
}
