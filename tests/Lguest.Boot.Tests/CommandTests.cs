// `./lguest`, the README's first command, with and without a terminal.

using System.Diagnostics;
using System.Runtime.InteropServices;
using Lguest.Cli.Tests;

namespace Lguest.Boot.Tests;

public class CommandTests
{
    private const uint LineModes = 0x1 | 0x2 | 0x8;

    private static readonly string Command = Path.Combine(DefaultGuest.Root, "lguest");

    [Fact]
    public async Task AScriptOnStandardInputRunsAndEnds()
    {
        (int status, string output, string errors) = await PipeAsync("uname -r; echo $((6*7)); poweroff -f\n");
        Assert.Equal(0, status);
        Assert.Matches(@"(?m)^6\.12\.", output);
        Assert.Matches(@"(?m)^42", output);
        Assert.Equal("", errors);
    }

    [Fact]
    public async Task ALongScriptIsNotLost()
    {
        // More than any buffer on the way holds, and all of it is there before the Guest is.
        string script = string.Concat(Enumerable.Range(0, 3000).Select(static i => $"echo line {i} >>/tmp/lines\n"));
        (int status, string output, _) = await PipeAsync(script + "wc -l /tmp/lines; poweroff -f\n");
        Assert.Equal(0, status);
        Assert.Contains("3000 /tmp/lines", output);
    }

    /// <summary>What the user adds to the command line counts, at a serial port and at the virtio console.</summary>
    [Theory]
    [InlineData("/dev/ttyS0")]
    [InlineData("/dev/hvc0", "--cmdline", "console=hvc0")]
    public async Task DebiansShellIsAtTheConsoleThatWasAskedFor(string console, params string[] options)
    {
        (int status, string output, string errors) = await PipedProcess.RunAsync(Command, ["debian", .. options], "echo at $(tty); poweroff -f\n");
        Assert.Equal((0, ""), (status, errors));
        Assert.Matches($"(?m)^at {console}\r?$", output);
    }

    [Fact]
    public async Task AtATerminalTheShellAnswersAndTheTerminalComesBack()
    {
        using PseudoTerminal terminal = await AtPromptAsync();
        terminal.Type("echo $((6*7))\r");
        await terminal.WaitForAsync("\n42\r");
        terminal.Type("poweroff\r");
        await EndAsync(terminal, 0);
    }

    [Fact]
    public async Task ControlAXLeavesAtOnce()
    {
        using PseudoTerminal terminal = await AtPromptAsync();
        terminal.Type("\u0001x");
        await EndAsync(terminal, 0);
    }

    [Fact]
    public async Task ASignalEndsTheGuest()
    {
        using PseudoTerminal terminal = await AtPromptAsync();
        terminal.Signal(15);
        await EndAsync(terminal, 128 + 15);
    }

    [Fact]
    public async Task AClosedWindowEndsTheGuest()
    {
        using PseudoTerminal terminal = await AtPromptAsync();
        terminal.HangUp();
        Assert.Equal(128 + 1, await terminal.WaitForExitAsync());
    }

    [Fact]
    public async Task ControlCInterruptsAProgramInTheGuest()
    {
        using PseudoTerminal terminal = await AtPromptAsync();
        terminal.Type("sleep 1000\r");
        await terminal.WaitForAsync("sleep 1000\r");
        await Task.Delay(2000, TestContext.Current.CancellationToken);
        int shown = terminal.Screen.Length;
        terminal.Type("\u0003");
        await terminal.WaitForAsync("# ", from: shown);
        terminal.Type("poweroff\r");
        await EndAsync(terminal, 0);
    }

    [Fact]
    public async Task AnIdleGuestCostsAlmostNothing()
    {
        using PseudoTerminal terminal = await AtPromptAsync();
        await Task.Delay(TimeSpan.FromSeconds(3), TestContext.Current.CancellationToken);
        using Process process = Process.GetProcessById(terminal.Process.Id);
        TimeSpan before = process.TotalProcessorTime;
        await Task.Delay(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        process.Refresh();
        Assert.InRange((process.TotalProcessorTime - before).TotalSeconds, 0, 0.3);
    }

    private static Task<(int Status, string Output, string Errors)> PipeAsync(string input) => PipedProcess.RunAsync(Command, [], input);

    private static async Task<PseudoTerminal> AtPromptAsync()
    {
        var terminal = new PseudoTerminal(Command);
        await terminal.WaitForAsync("# ", seconds: 120);
        Assert.Equal(0u, MemoryMarshal.Cast<byte, uint>(terminal.Attributes)[3] & LineModes);
        Assert.NotEqual(terminal.FirstAttributes, terminal.Attributes);
        return terminal;
    }

    private static async Task EndAsync(PseudoTerminal terminal, int status)
    {
        Assert.Equal(status, await terminal.WaitForExitAsync());
        Assert.Equal(terminal.FirstAttributes, terminal.Attributes);
    }
}
