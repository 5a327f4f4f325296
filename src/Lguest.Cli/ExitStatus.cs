// What the command tells its caller when it ends; README.md has the same list.

namespace Lguest.Cli;

internal static class ExitStatus
{
    /// <summary>The Guest powered itself off, or the user left it.</summary>
    public const int Success = 0;

    /// <summary>Bad input, or the Guest died. In the original form of the command: every end of a Guest (ABI 11).</summary>
    public const int Failure = 1;

    /// <summary>Three Ctrl-C on the console (ABI 10.9).</summary>
    public const int Quit = 2;

    /// <summary>Ended by a signal: this and the signal's number.</summary>
    public const int Signal = 128;
}

/// <summary>What the user asked for cannot be done; the message is the one line that says why.</summary>
internal sealed class CommandException(string message) : Exception(message);
