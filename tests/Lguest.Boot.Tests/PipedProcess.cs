// A program between pipes: what a script does with lguest.

using System.Diagnostics;

namespace Lguest.Boot.Tests;

internal static class PipedProcess
{
    /// <summary>Runs a program to its end; kills it when that takes unreasonably long.</summary>
    /// <param name="program">File or name.</param>
    /// <param name="arguments">Words of the command line.</param>
    /// <param name="input">Standard input; it ends there.</param>
    public static async Task<(int Status, string Output, string Errors)> RunAsync(string program, string[] arguments, string input)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(4));
        using CancellationTokenRegistration kill = patience.Token.Register(process.Kill);
        Task<string> output = process.StandardOutput.ReadToEndAsync(CancellationToken.None);
        Task<string> errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        await process.StandardInput.WriteAsync(input.AsMemory(), patience.Token);
        process.StandardInput.Close();
        await process.WaitForExitAsync(CancellationToken.None);
        return (process.ExitCode, (await output).Replace("\r\n", "\n"), await errors);
    }
}
