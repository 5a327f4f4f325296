// A console at which nobody types by the clock: a line is typed when the one before has been executed, and handed to the Guest when
// whoever runs it says so.

using System.Text;
using Lguest.Launcher.Devices;

namespace Lguest.LockStep;

/// <summary>A console with lines to type.</summary>
/// <param name="lines">The lines, without their ends.</param>
/// <param name="shown">Called with what the Guest writes; null for nobody.</param>
internal sealed class TypedConsole(IEnumerable<string> lines, Action<string>? shown) : Device
{
    private const string Prompt = ":~# ";
    private const string End = "END\r\n";

    private readonly Queue<string> lines = new(lines);
    private readonly StringBuilder screen = new();
    private byte[] typed = [];
    private string awaited = Prompt;
    private int from;

    /// <summary>The console.</summary>
    public override DeviceType Type => DeviceType.Console;

    public override uint? OutputKey => 0;

    // Nothing that a port should hand over by itself.
    public override int WaitingInput => 0;

    /// <summary>The last line has been executed.</summary>
    public bool IsFinished { get; private set; }

    /// <summary>Everything that the Guest has written.</summary>
    public string Screen => screen.ToString();

    public override uint HandleOutput(in DmaBuffer buffer, IDevicePort port)
    {
        byte[] bytes = new byte[buffer.Length];
        buffer.CopyTo(bytes);
        string text = Encoding.Latin1.GetString(bytes);
        screen.Append(text);
        shown?.Invoke(text);
        if (screen.ToString(from, screen.Length - from).Contains(awaited, StringComparison.Ordinal))
        {
            from = screen.Length;
            awaited = End;
            IsFinished = !lines.TryDequeue(out string? line);
            // The shell echoes what is typed: only its quotes make the mark that is waited for.
            typed = IsFinished ? [] : Encoding.Latin1.GetBytes($"{line}; echo E''ND\n");
        }
        return (uint)bytes.Length;
    }

    public override void DeliverInput(IDevicePort port)
    {
        if (typed.Length > 0 && port.TryGetBuffer(0, out DmaBuffer buffer, out uint irq))
        {
            int count = Math.Min(buffer.Length, typed.Length);
            buffer.CopyFrom(typed.AsSpan(0, count));
            typed = typed[count..];
            port.Complete(buffer, (uint)count, irq);
        }
    }

    public override void Start(Action wake)
    {
    }

    public override void Stop()
    {
    }
}
