// What the machine has to say: warnings always, on standard error; the rest on standard output and only with --verbose, where the
// original Launcher printed it.

using Microsoft.Extensions.Logging;

namespace Lguest.Cli;

// L:120 And there is the verbose switch, -v. It shows what a machine was built of and each list that goes through its devices: the first
// thing to try when a Guest says nothing.
internal sealed class ConsoleLogger(bool verbose) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => verbose || logLevel >= LogLevel.Warning;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel))
        {
            return;
        }
        string message = formatter(state, exception);
        if (logLevel >= LogLevel.Warning)
        {
            Standard.WriteError(message);
        }
        else
        {
            Standard.Write($"lguest: {message}\n");
        }
    }
}
