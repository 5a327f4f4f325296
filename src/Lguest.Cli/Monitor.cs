// Ctrl-A c: a prompt beside the running Guest, for looking at it from outside.

using System.Text;
using Lguest.Launcher;

namespace Lguest.Cli;

/// <summary>A line reader with a few commands.</summary>
/// <param name="screen">Where it writes.</param>
/// <param name="machine">The machine that runs the Guest.</param>
/// <param name="leave">Ends the Guest.</param>
internal sealed class Monitor(Stream screen, Func<Machine> machine, Action leave)
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
        Write(IsActive ? "\nMonitor: info, pause, resume, quit, help; Ctrl-A c goes back to the Guest.\n(lguest) " : "\n");
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
                Write(StatisticsText.Describe(machine()));
                break;
            case "pause":
                _ = machine().PauseAsync();
                break;
            case "resume":
                machine().Resume();
                break;
            case "quit":
                leave();
                break;
            case "help":
                Write("info    what the Guest has cost so far\npause   stop the Guest for a while\nresume  let it run on\nquit    leave (as Ctrl-A x)\nhelp    this list\n");
                break;
            default:
                Write($"{command}: unknown; try help\n");
                break;
        }
    }

    private void Write(string text) => screen.Write(Encoding.ASCII.GetBytes(text));
}
