// A Guest at work: a machine, somebody who types at its console, and a record of what it shows.

using System.IO.Pipelines;
using System.Text;
using Lguest.Bench;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

internal sealed class BootedGuest : IAsyncDisposable
{
    private const string Prompt = "# ";
    private const string Greeting = "Linux in lguest.";
    private static readonly TimeSpan BootPatience = TimeSpan.FromMinutes(3);

    private readonly Pipe keyboard = new();
    private readonly Screen screen = new();
    private readonly Machine machine;
    private readonly Task<MachineResult> run;
    private int commands;

    private BootedGuest(MachineOptions options)
    {
        machine = new Machine(options with { ConsoleInput = keyboard.Reader.AsStream(), ConsoleOutput = screen });
        run = machine.RunAsync(TestContext.Current.CancellationToken);
    }

    private static MachineOptions Default => new()
    {
        Kernel = DefaultGuest.Kernel,
        Initrd = DefaultGuest.Initrd,
        Engine = DefaultGuest.Engine,
    };

    /// <summary>Everything that the Guest has written to its console.</summary>
    public string Screen => screen.Text;

    /// <summary>Boots the Guest to its shell prompt.</summary>
    public static Task<BootedGuest> StartAsync(int mebibytes = 64) => StartAsync(mebibytes, "");

    /// <summary>Boots a Guest with devices besides its console.</summary>
    public static Task<BootedGuest> StartAsync(int mebibytes, string commandLine, params IReadOnlyList<DeviceOptions> devices) =>
        StartAsync(new BootedGuest(Default with { MemoryBytes = (long)mebibytes << 20, CommandLine = commandLine, Devices = devices }));

    /// <summary>Boots a Guest on an engine, whichever this run is about.</summary>
    public static Task<BootedGuest> StartAsync(Engine engine) => StartAsync(new BootedGuest(Default with { Engine = engine }));

    /// <summary>Boots a Guest on a machine of any kind.</summary>
    /// <param name="change">Makes it of the default one.</param>
    /// <param name="prompt">What it shows when it waits for an answer.</param>
    public static Task<BootedGuest> StartAsync(Func<MachineOptions, MachineOptions> change, string prompt = Prompt) =>
        StartAsync(new BootedGuest(change(Default)), prompt);

    private static async Task<BootedGuest> StartAsync(BootedGuest guest, string prompt = Prompt)
    {
        try
        {
            await guest.WaitForAsync(prompt, 0, BootPatience);
            return guest;
        }
        catch
        {
            await guest.DisposeAsync();
            throw;
        }
    }

    /// <summary>Types a command and waits until the shell has executed it.</summary>
    /// <returns>What it wrote, lines ended by <c>\n</c>.</returns>
    public async Task<string> ExecuteAsync(string command, int seconds = 120)
    {
        int from = Screen.Length;
        int number = ++commands;
        // The shell echoes what is typed: only its arithmetic makes the marks that are looked for.
        Type($"echo BEGIN-$(({number}+0)); {command}; echo END-$(({number}+0))\n");
        await WaitForAsync($"END-{number}\r\n", from, TimeSpan.FromSeconds(seconds));
        string shown = Screen[from..];
        string begin = $"BEGIN-{number}\r\n";
        int start = shown.IndexOf(begin, StringComparison.Ordinal) + begin.Length;
        int end = shown.IndexOf($"END-{number}\r\n", StringComparison.Ordinal);
        return shown[start..end].Replace("\r\n", "\n");
    }

    /// <summary>Types a line and waits for what the Guest says to it, which must differ from the line itself.</summary>
    public Task AnswerAsync(string line, string expected)
    {
        int from = Screen.Length;
        Type(line + "\n");
        return WaitForAsync(expected, from, TimeSpan.FromMinutes(1));
    }

    /// <summary>Reboots the Guest to its shell prompt.</summary>
    public async Task RebootAsync()
    {
        int from = Screen.Length;
        Type("reboot -f\n");
        await WaitForAsync(Greeting, from, BootPatience);
        await WaitForAsync(Prompt, Screen.LastIndexOf(Greeting, StringComparison.Ordinal), BootPatience);
    }

    /// <summary>Changes the size of the Guest's terminal.</summary>
    public void Resize(ushort columns, ushort rows) => machine.ResizeConsole(columns, rows);

    /// <summary>Fails if the kernel has found anything wrong with itself or the machine.</summary>
    public async Task AssertKernelIsContentAsync() => Assert.Equal("", await ExecuteAsync("dmesg | grep -e WARN -e BUG -e Oops -e 'Call Trace'"));

    /// <summary>Makes a file in the Guest.</summary>
    public async Task WriteFileAsync(string path, string text)
    {
        foreach (string line in text.ReplaceLineEndings("\n").TrimEnd('\n').Split('\n'))
        {
            await ExecuteAsync($"echo '{line.Replace("'", "'\\''")}' >>{path}");
        }
    }

    public void Type(string text) => keyboard.Writer.WriteAsync(Encoding.Latin1.GetBytes(text)).AsTask().GetAwaiter().GetResult();

    /// <summary>Waits for the Guest's end.</summary>
    public Task<MachineResult> WaitForEndAsync() => run.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);

    public async ValueTask DisposeAsync() => await machine.DisposeAsync();

    private async Task WaitForAsync(string text, int from, TimeSpan patience)
    {
        Task shown = screen.WaitFor(text, from);
        try
        {
            await Task.WhenAny(shown, run).WaitAsync(patience, TestContext.Current.CancellationToken);
        }
        catch (TimeoutException)
        {
            Assert.Fail($"no '{text}' within {patience}:\n{Screen[from..]}");
        }
        Assert.True(shown.IsCompleted, $"the Guest has ended: {(run.IsCompletedSuccessfully ? run.Result.Reason : run.Exception?.Message)}\n{Screen}");
    }
}
