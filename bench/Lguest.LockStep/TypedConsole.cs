// A console at which nobody types by the clock: a line is typed when the prompt has been shown, and handed to the Guest when whoever
// runs it says so.

using System.Text;
using Lguest.Launcher.Devices;

namespace Lguest.LockStep;

/// <summary>A console with lines to type.</summary>
/// <param name="lines">The lines, without their ends.</param>
/// <param name="shown">Called with what the Guest writes; null for nobody.</param>
internal sealed class TypedConsole(IEnumerable<string> lines, Action<string>? shown) : Device
{
    private const string Prompt = ":~# ";

    private readonly Queue<string> lines = new(lines);
    private readonly StringBuilder screen = new();
    private byte[] typed = [];

    /// <summary>The console.</summary>
    public override DeviceType Type => DeviceType.Console;

    public override uint? OutputKey => 0;

    public override int WaitingInput => typed.Length;

    /// <summary>The Guest waits at a prompt and there is nothing left to type.</summary>
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
        int tail = Math.Min(screen.Length, Prompt.Length);
        if (screen.ToString(screen.Length - tail, tail) == Prompt)
        {
            IsFinished = !lines.TryDequeue(out string? line);
            typed = IsFinished ? [] : Encoding.Latin1.GetBytes(line + "\n");
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
