// A Guest in another process: this test program, started once more. It lives until its Guest has done its work, or until somebody kills it,
// and that is what it is for.

using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace Lguest.Host.Tests;

/// <summary>A child process with one <see cref="TrafficGuest"/>.</summary>
internal sealed partial class PeerProcess : IDisposable
{
    /// <summary>First argument of the child.</summary>
    public const string Verb = "--peer";

    private const int Stop = 19;
    private const int Continue = 18;

    private readonly Process process;

    /// <summary>Starts a Guest elsewhere.</summary>
    /// <param name="path">The file that it shares.</param>
    /// <param name="own">Slot on which it receives.</param>
    /// <param name="peer">Slot to which it sends.</param>
    /// <param name="messages">How many it sends, and how many it waits for.</param>
    /// <param name="ordered">Each message must follow the one before.</param>
    public PeerProcess(string path, uint own, uint peer, uint messages, bool ordered)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, [Verb, path, $"{own}", $"{peer}", $"{messages}", $"{ordered}"])
        {
            RedirectStandardOutput = true,
            RedirectStandardInput = true,
        };
        process = Process.Start(start)!;
    }

    /// <summary>Waits for its end, and returns how many messages it received.</summary>
    public async Task<uint> WaitAsync(CancellationToken cancellation)
    {
        string said = await process.StandardOutput.ReadToEndAsync(cancellation);
        await process.WaitForExitAsync(cancellation);
        return uint.Parse(said, CultureInfo.InvariantCulture);
    }

    /// <summary>kill -9: it ends wherever it is, and cleans nothing up.</summary>
    public void Kill()
    {
        process.Kill();
        process.WaitForExit();
    }

    /// <summary>SIGSTOP: it is there and does nothing.</summary>
    public void Freeze() => Assert.Equal(0, Signal(process.Id, Stop));

    /// <summary>SIGCONT.</summary>
    public void Thaw() => Assert.Equal(0, Signal(process.Id, Continue));

    public void Dispose()
    {
        Kill();
        process.Dispose();
    }

    /// <summary>The child.</summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        // A parent that is gone has closed its end: nothing is left behind, whatever became of the tests.
        _ = Task.Factory.StartNew(
            static () =>
            {
                _ = Console.In.ReadToEnd();
                Environment.Exit(1);
            },
            TaskCreationOptions.LongRunning);
        using var network = new GuestNetwork(path: arguments[0]);
        uint[] numbers = [.. arguments[1..4].Select(static text => uint.Parse(text, CultureInfo.InvariantCulture))];
        GuestOnNetwork member = TrafficGuest.Join(network, numbers[0], numbers[1], numbers[2], bool.Parse(arguments[4]));
        await TrafficGuest.Run(member);
        Console.Write(member.Guest.Word(TrafficGuest.Received));
        return 0;
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);
}
