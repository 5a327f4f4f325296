// Lines for the user. The runtime's Console would take hold of the terminal at its first line, and that is ours to lend to the Guest.

using System.Text;
using Lguest.Platform;

namespace Lguest.Cli;

internal static class Standard
{
    private static readonly Stream Output = DescriptorStream.OpenOutput();
    private static readonly Stream Error = DescriptorStream.OpenError();

    /// <summary>Writes text to standard output.</summary>
    public static void Write(string text) => Output.Write(Encoding.UTF8.GetBytes(text));

    /// <summary>Writes a message to standard error, with the program's name in front; nobody may be there to read it.</summary>
    public static void WriteError(string message)
    {
        try
        {
            Error.Write(Encoding.UTF8.GetBytes($"lguest: {Printable(message)}\n"));
        }
        catch (IOException)
        {
            // There is no better place to say that standard error is gone.
        }
    }

    /// <summary>A Guest chooses its last words: whatever could steer the terminal becomes a question mark.</summary>
    private static string Printable(string message) => string.Concat(message.Select(static c => char.IsControl(c) ? '?' : c));
}
