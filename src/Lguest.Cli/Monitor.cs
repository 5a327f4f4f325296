// Ctrl-A c: a prompt beside the running Guest, for looking at it from outside.

using System.Text;

namespace Lguest.Cli;

/// <summary>A line reader with three commands.</summary>
/// <param name="screen">Where it writes.</param>
/// <param name="describe">Says what the Guest has cost so far; lines end with <c>\n</c>.</param>
/// <param name="leave">Ends the Guest.</param>
internal sealed class Monitor(Stream screen, Func<string> describe, Action leave)
{
    private const byte Delete = 0x7F;
    private const byte Backspace = 8;

    private readonly StringBuilder line = new();

    /// <summary>Whether the keys go to the monitor.</summary>
    public bool IsActive { get; private set; }

    /// <summary>Takes the keyboard, or gives it back to the Guest.</summary>
    public void Toggle()
    {
        IsActive = !IsActive;
        line.Clear();
        Write(IsActive ? "\nMonitor: info, quit, help; Ctrl-A c goes back to the Guest.\n(lguest) " : "\n");
    }

    /// <summary>Takes one key.</summary>
    public void Type(byte key)
    {
        switch (key)
        {
            case (byte)'\r' or (byte)'\n':
                Write("\n");
                Execute(line.ToString().Trim());
                line.Clear();
                Write("(lguest) ");
                break;
            case Delete or Backspace when line.Length > 0:
                line.Length--;
                Write("\b \b");
                break;
            case >= (byte)' ' and < Delete:
                line.Append((char)key);
                Write(((char)key).ToString());
                break;
        }
    }

    private void Execute(string command)
    {
        switch (command)
        {
            case "":
                break;
            case "info":
                Write(describe());
                break;
            case "quit":
                leave();
                break;
            case "help":
                Write("info   what the Guest has cost so far\nquit   leave (as Ctrl-A x)\nhelp   this list\n");
                break;
            default:
                Write($"{command}: unknown; try help\n");
                break;
        }
    }

    private void Write(string text) => screen.Write(Encoding.ASCII.GetBytes(text));
}
