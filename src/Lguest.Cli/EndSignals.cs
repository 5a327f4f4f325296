// Being asked to end is normal for a program that has somebody's terminal: every signal that asks for it goes through here, so that the
// terminal is given back and the Guest stopped before the process ends.

using System.Runtime.InteropServices;

namespace Lguest.Cli;

/// <summary>Turns the signals that end a program into a cancellation.</summary>
internal sealed class EndSignals : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    private readonly CancellationTokenSource cancellation = new();
    private readonly PosixSignalRegistration[] registrations;
    private int number;

    public EndSignals()
    {
        registrations =
        [
            Register(PosixSignal.SIGHUP, 1),
            Register(PosixSignal.SIGINT, 2),
            Register(PosixSignal.SIGQUIT, 3),
            Register(PosixSignal.SIGTERM, 15),
        ];
    }

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => cancellation.Token;

    /// <summary>The exit status that says which signal came; null while none has.</summary>
    public int? ExitStatus => number == 0 ? null : Cli.ExitStatus.Signal + number;

    /// <summary>Waits a while for a signal.</summary>
    /// <returns>The exit status that says which one came; null when none did.</returns>
    public async Task<int?> WaitAsync(TimeSpan patience)
    {
        try
        {
            await Task.Delay(patience, Token);
        }
        catch (OperationCanceledException)
        {
            // One has come.
        }
        return ExitStatus;
    }

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in registrations)
        {
            registration.Dispose();
        }
        cancellation.Dispose();
    }

    private PosixSignalRegistration Register(PosixSignal signal, int signalNumber) => PosixSignalRegistration.Create(signal, context =>
    {
        context.Cancel = true;
        if (Interlocked.CompareExchange(ref number, signalNumber, 0) != 0)
        {
            return;
        }
        cancellation.Cancel();
        // Output to a terminal that takes no more would hold the Guest's thread, and with it us, for ever.
        _ = Task.Delay(Patience).ContinueWith(_ => Environment.Exit(Cli.ExitStatus.Signal + signalNumber), TaskScheduler.Default);
    });
}
