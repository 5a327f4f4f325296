// A machine of the comparison: a process whose standard input and output are the console of a Linux. Whatever the process is, it is
// measured in one way, by the kernel's count of its CPU time.

using System.Diagnostics;
using System.Text;

namespace Lguest.Bench;

/// <summary>A Linux at its shell prompt, in a process of its own.</summary>
internal sealed class PeerMachine : IDisposable
{
    private const string FirstPrompt = ":~# ";
    private const string Prompt = "# ";
    private const string Start = "STA''RT";
    private const string End = "E''ND";

    /// <summary>Longer than the slowest engine needs for anything.</summary>
    private static readonly TimeSpan patience = TimeSpan.FromMinutes(5);

    private readonly Process process;
    private readonly StringBuilder shown = new();
    private readonly byte[] buffer = new byte[4096];

    private PeerMachine(Process process) => this.process = process;

    /// <summary>Boots to the prompt.</summary>
    /// <returns>The machine, and the CPU seconds of its process so far.</returns>
    /// <exception cref="InvalidOperationException">It does not come so far.</exception>
    public static async Task<(PeerMachine Machine, double Seconds)> BootAsync(string program, IEnumerable<string> arguments)
    {
        var information = new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true };
        var machine = new PeerMachine(Process.Start(information)!);
        try
        {
            await machine.WaitForAsync(FirstPrompt);
            return (machine, machine.ProcessorSeconds);
        }
        catch
        {
            machine.Dispose();
            throw;
        }
    }

    /// <summary>Executes a command.</summary>
    /// <returns>What it has printed, and the CPU seconds that the process has taken in the meantime.</returns>
    /// <exception cref="InvalidOperationException">The machine has ended, or takes too long.</exception>
    public async Task<(string Printed, double Seconds)> ExecuteAsync(string command)
    {
        // The shell echoes what is typed: only its quotes make the marks that are looked for. The command waits for a key, so that neither
        // its echo nor the time until we have seen the mark is counted.
        await TypeAsync($"echo {Start}; read key; {command}; echo {End}\n");
        await WaitForAsync(Unquoted(Start) + "\r\n");
        double before = ProcessorSeconds;
        await TypeAsync("\n");
        string printed = await WaitForAsync(Unquoted(End) + "\r\n");
        double seconds = ProcessorSeconds - before;
        await WaitForAsync(Prompt);
        return (printed.Trim(), seconds);
    }

    public void Dispose()
    {
        process.Kill(entireProcessTree: true);
        process.WaitForExit();
        process.Dispose();
    }

    private static string Unquoted(string text) => text.Replace("'", "", StringComparison.Ordinal);

    private double ProcessorSeconds => ProcessorTime.OfTree(process.Id);

    private async Task TypeAsync(string text)
    {
        await process.StandardInput.WriteAsync(text);
        await process.StandardInput.FlushAsync();
    }

    /// <summary>Waits for words on the console.</summary>
    /// <returns>What was shown before them.</returns>
    private async Task<string> WaitForAsync(string words)
    {
        using var late = new CancellationTokenSource(patience);
        try
        {
            while (true)
            {
                string text = shown.ToString();
                int at = text.IndexOf(words, StringComparison.Ordinal);
                if (at >= 0)
                {
                    shown.Remove(0, at + words.Length);
                    return text[..at];
                }
                int count = await process.StandardOutput.BaseStream.ReadAsync(buffer, late.Token);
                if (count == 0)
                {
                    throw new InvalidOperationException($"The machine has ended.\n{text}");
                }
                shown.Append(Encoding.Latin1.GetString(buffer, 0, count));
            }
        }
        catch (OperationCanceledException)
        {
            throw new InvalidOperationException($"The machine has not said '{words.Trim()}' for {patience.TotalMinutes} minutes.\n{shown}");
        }
    }
}
