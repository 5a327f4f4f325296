// The lguest command as its users meet it: a process with arguments, standard streams and an exit status.

using System.Diagnostics;

namespace Lguest.Cli.Tests;

internal sealed record CommandResult(int ExitStatus, string Output, string Errors);

internal static class CommandProcess
{
    /// <summary>The program beside these tests.</summary>
    public static string Program { get; } = Path.Combine(AppContext.BaseDirectory, "lguest.dll");

    /// <summary>Runs the command without a terminal.</summary>
    /// <param name="input">Standard input; it ends there.</param>
    /// <param name="arguments">Words of the command line.</param>
    public static async Task<CommandResult> RunAsync(string input, params string[] arguments)
    {
        using Process process = Start(arguments);
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        return await EndAsync(process);
    }

    /// <summary>Starts the command without a terminal and leaves its input open.</summary>
    public static Process Start(params string[] arguments) => Process.Start(new ProcessStartInfo("dotnet", [Program, .. arguments])
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
    })!;

    /// <summary>Waits for the end of a process that was started; kills it when that takes unreasonably long.</summary>
    public static async Task<CommandResult> EndAsync(Process process)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(TimeSpan.FromMinutes(2));
        using CancellationTokenRegistration kill = patience.Token.Register(process.Kill);
        Task<string> output = process.StandardOutput.ReadToEndAsync(patience.Token);
        Task<string> errors = process.StandardError.ReadToEndAsync(patience.Token);
        await process.WaitForExitAsync(patience.Token);
        return new CommandResult(process.ExitCode, await output, await errors);
    }
}
