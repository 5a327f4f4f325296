// A terminal without a screen: what a program does to it can be looked at from its other end.

using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace Lguest.Cli.Tests;

/// <summary>A pseudo-terminal with one program in it, which is its session's leader.</summary>
internal sealed partial class PseudoTerminal : IDisposable
{
    private const int ReadWriteNoControlCloseOnExecute = 0x8_0102;
    private const int AttributeBytes = 60;
    private const short PollIn = 1;
    private const nuint SetWindowSize = 0x5414;

    private readonly int controller;
    private readonly StringBuilder screen = new();
    private readonly Thread reader;
    private volatile bool closed;

    /// <summary>Starts a program.</summary>
    /// <param name="command">Words of the command; the first is looked up.</param>
    public PseudoTerminal(params string[] command)
    {
        controller = OpenController(ReadWriteNoControlCloseOnExecute);
        Assert.True(controller >= 0 && Grant(controller) == 0 && Unlock(controller) == 0, "the host has no pseudo-terminals");
        byte[] name = new byte[64];
        Assert.Equal(0, GetName(controller, name, (nuint)name.Length));
        string terminal = Encoding.ASCII.GetString(name).TrimEnd('\0');

        FirstAttributes = Attributes;
        // A shell lets what it starts in the background ignore two signals of the keyboard. A terminal's programs do not.
        string[] session = ["--default-signal=HUP,INT,QUIT", "setsid", "sh", "-c", "exec \"$@\" <>\"$0\" >&0 2>&1", terminal];
        Process = Process.Start(new ProcessStartInfo("env", [.. session, .. command])
        {
            Environment = { ["TERM"] = "xterm" },
        })!;
        // The program's own descriptors keep the terminal from hanging up only once it has opened them; until then, ours does.
        reader = new Thread(Read) { IsBackground = true };
        reader.Start();
    }

    public Process Process { get; }

    /// <summary>The terminal's modes before the program.</summary>
    public byte[] FirstAttributes { get; }

    /// <summary>Everything that was written to the terminal.</summary>
    public string Screen
    {
        get
        {
            lock (screen)
            {
                return screen.ToString();
            }
        }
    }

    /// <summary>The terminal's modes, as bytes to be compared.</summary>
    public byte[] Attributes
    {
        get
        {
            byte[] attributes = new byte[AttributeBytes];
            Assert.Equal(0, GetAttributes(controller, attributes));
            return attributes;
        }
    }

    public void Type(string text)
    {
        byte[] bytes = Encoding.Latin1.GetBytes(text);
        Assert.Equal(bytes.Length, WriteDescriptor(controller, bytes, (nuint)bytes.Length));
    }

    /// <summary>Waits until the terminal shows a text (behind what it showed before).</summary>
    public async Task WaitForAsync(string text, int seconds = 60, int from = 0)
    {
        for (Stopwatch watch = Stopwatch.StartNew(); Screen.IndexOf(text, Math.Min(from, Screen.Length), StringComparison.Ordinal) < 0;)
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(seconds), $"no '{text}' within {seconds} s in: {Screen}");
            await Task.Delay(20);
        }
    }

    /// <summary>Waits until the terminal's modes satisfy a condition.</summary>
    public async Task WaitForAttributesAsync(Func<byte[], bool> condition)
    {
        for (Stopwatch watch = Stopwatch.StartNew(); !condition(Attributes);)
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30), "the terminal's modes do not change");
            await Task.Delay(20);
        }
    }

    /// <summary>Waits for the program's end.</summary>
    public async Task<int> WaitForExitAsync()
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(1));
        await Process.WaitForExitAsync(patience.Token);
        return Process.ExitCode;
    }

    /// <summary>Gives the terminal's window another size, as its user does.</summary>
    public void Resize(ushort columns, ushort rows) => Assert.Equal(0, Control(controller, SetWindowSize, [rows, columns, 0, 0]));

    /// <summary>Sends a signal to the program.</summary>
    public void Signal(int number) => Assert.Equal(0, Kill(Process.Id, number));

    /// <summary>Closes the terminal's window: the program is hung up.</summary>
    public void HangUp()
    {
        // A read that is under way would keep the terminal open.
        closed = true;
        reader.Join();
        _ = CloseDescriptor(controller);
    }

    public void Dispose()
    {
        if (!Process.HasExited)
        {
            Process.Kill(entireProcessTree: true);
        }
        if (!closed)
        {
            HangUp();
        }
        Process.Dispose();
    }

    private void Read()
    {
        byte[] buffer = new byte[4096];
        while (!closed)
        {
            var poll = new PollDescriptor { Descriptor = controller, Events = PollIn };
            bool ready = Poll(ref poll, 1, 20) > 0;
            nint count = ready ? ReadDescriptor(controller, buffer, (nuint)buffer.Length) : 0;
            if (count > 0)
            {
                lock (screen)
                {
                    screen.Append(Encoding.Latin1.GetString(buffer, 0, (int)count));
                }
            }
            else if (ready)
            {
                // Nobody has the terminal open yet, or any more.
                Thread.Sleep(10);
            }
        }
    }

    private struct PollDescriptor
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(ref PollDescriptor descriptors, nuint count, int milliseconds);

    [LibraryImport("libc", EntryPoint = "posix_openpt")]
    private static partial int OpenController(int flags);

    [LibraryImport("libc", EntryPoint = "grantpt")]
    private static partial int Grant(int descriptor);

    [LibraryImport("libc", EntryPoint = "unlockpt")]
    private static partial int Unlock(int descriptor);

    [LibraryImport("libc", EntryPoint = "ptsname_r")]
    private static partial int GetName(int descriptor, byte[] name, nuint length);

    [LibraryImport("libc", EntryPoint = "tcgetattr")]
    private static partial int GetAttributes(int descriptor, byte[] attributes);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Control(int descriptor, nuint request, ushort[] size);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint ReadDescriptor(int descriptor, byte[] buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint WriteDescriptor(int descriptor, byte[] buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int CloseDescriptor(int descriptor);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
