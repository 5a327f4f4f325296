// A Guest at work: a machine, somebody who types at its console, and a record of what it shows.

using System.Diagnostics;
using System.IO.Pipelines;
using System.Text;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

internal sealed class BootedGuest : IAsyncDisposable
{
    private const string Prompt = "# ";

    private readonly Pipe keyboard = new();
    private readonly ScreenStream screen = new();
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
    public static Task<BootedGuest> StartAsync(Func<MachineOptions, MachineOptions> change) => StartAsync(new BootedGuest(change(Default)));

    private static async Task<BootedGuest> StartAsync(BootedGuest guest)
    {
        try
        {
            await guest.WaitForAsync(Prompt, 0, TimeSpan.FromMinutes(3));
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
        Stopwatch watch = Stopwatch.StartNew();
        while (screen.IndexOf(text, from) < 0)
        {
            Assert.False(run.IsCompleted, $"the Guest has ended: {(run.IsCompletedSuccessfully ? run.Result.Reason : run.Exception?.Message)}\n{Screen}");
            Assert.True(watch.Elapsed < patience, $"no '{text}' within {patience}:\n{Screen[from..]}");
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
    }

    private sealed class ScreenStream : Stream
    {
        private readonly StringBuilder text = new();

        public string Text
        {
            get
            {
                lock (text)
                {
                    return text.ToString();
                }
            }
        }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public int IndexOf(string value, int from)
        {
            lock (text)
            {
                return text.Length <= from ? -1 : text.ToString(from, text.Length - from).IndexOf(value, StringComparison.Ordinal);
            }
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            lock (text)
            {
                text.Append(Encoding.Latin1.GetString(buffer));
            }
        }
    }
}
