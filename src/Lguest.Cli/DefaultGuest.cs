// The Guests that need no files of the user's: the one that `lguest` alone boots, which is this repository's own kernel and initramfs, and
// Debian's. A script of the checkout makes each of them once, into a cache outside the checkout; this file finds the script, shows
// how far it is, and hands over what it made.

using System.Diagnostics;
using Spectre.Console;

namespace Lguest.Cli;

/// <summary>What a script makes.</summary>
/// <param name="Script">Its path in the checkout.</param>
/// <param name="Name">What to call it.</param>
/// <param name="Work">What is being done, for the user who waits.</param>
/// <param name="KernelFile">Name of the kernel among the results.</param>
internal sealed record GuestRecipe(string Script, string Name, string Work, string KernelFile)
{
    /// <summary>The kernel that knows lguest.</summary>
    public static GuestRecipe Default { get; } =
        new("guest/linux/build", "the default Guest", "Building the default Guest's kernel; this is done once and takes some minutes.", "vmlinux");

    /// <summary>Debian's kernel for i686.</summary>
    public static GuestRecipe Debian { get; } =
        new("guest/debian/build", "the Debian Guest", "Fetching Debian's kernel; this is done once.", "vmlinuz");
}

/// <summary>The files of a Guest.</summary>
/// <param name="Kernel">Path of the kernel.</param>
/// <param name="Initrd">Path of the initramfs.</param>
internal sealed record DefaultGuest(string Kernel, string Initrd)
{
    private const string ProgressMark = "progress ";
    private const string DoneMark = "done: ";
    private const string ErrorMark = "error: ";

    /// <summary>Finds the Guest, and builds it where it is missing.</summary>
    /// <exception cref="CommandException">There is no checkout around this program, or the build failed.</exception>
    public static async Task<DefaultGuest> PrepareAsync(GuestRecipe recipe, CancellationToken cancellationToken)
    {
        using Process build = Start(FindBuildScript(recipe));
        Task<string> error = ReadErrorAsync(build);
        string? folder;
        try
        {
            // A Guest that is already there is all that the script has to say.
            folder = ReadDone(await build.StandardOutput.ReadLineAsync(cancellationToken))
                ?? await ShowProgressAsync(recipe, build.StandardOutput, cancellationToken);
            await build.WaitForExitAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            build.Kill(entireProcessTree: true);
            throw;
        }
        return build.ExitCode == 0 && folder != null
            ? new DefaultGuest(Path.Combine(folder, recipe.KernelFile), Path.Combine(folder, "initramfs.cpio"))
            : throw new CommandException($"{recipe.Name} could not be made: {await error} (run {recipe.Script} to see more)");
    }

    /// <summary>The checkout is above the program: in its artifacts, or in a project's build output.</summary>
    private static string FindBuildScript(GuestRecipe recipe)
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder != null; folder = folder.Parent)
        {
            string script = Path.Combine(folder.FullName, recipe.Script);
            if (File.Exists(script))
            {
                return script;
            }
        }
        throw new CommandException($"{recipe.Name} cannot be made outside a checkout; name a kernel: lguest run --kernel FILE (see lguest --help)");
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

    private static async Task<string?> ShowProgressAsync(GuestRecipe recipe, StreamReader output, CancellationToken cancellationToken)
    {
        if (Console.IsErrorRedirected)
        {
            Standard.WriteError(recipe.Work);
            return await ReadToDoneAsync(output, static _ => { }, cancellationToken);
        }
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.WriteLine(recipe.Work);
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
