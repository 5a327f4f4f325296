// The Guest's terminal (ABI 10.9): what it sends to key 0 goes to a stream, and what comes in on another stream goes to the one buffer that
// it binds to key 0. Reading is ConsoleInput's business; the Guest hears of it through the Waker.

using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices;

internal sealed partial class ConsoleDevice(Stream? input, Stream? output, TimeProvider time, ILogger logger) : Device
{
    private const uint Key = 0;
    private readonly ConsoleInput source = new(input, time, logger);
    private byte[] outputBytes = new byte[256];
    private bool warnedOfMissingBuffer;

    public override DeviceType Type => DeviceType.Console;

    public override uint? OutputKey => Key;

    public override int WaitingInput => source.Queue.Count;

    /// <summary>Called, on the reader's task, when the user has typed Ctrl-C three times within about a second.</summary>
    public Action? QuitRequested
    {
        get => source.QuitRequested;
        set => source.QuitRequested = value;
    }

    // L:211 The console, the simplest device of all, and the only one that every machine has. Output: copy the bytes out of the list,
    // write them to a stream, and say that all were taken. Input: if something was typed, ask the Host for the buffer that the Guest has
    // bound, fill it, and raise the interrupt.
    //
    // If there is no buffer, the input waits. A real serial port would have lost it.
    public override uint HandleOutput(in DmaBuffer buffer, IDevicePort port)
    {
        if (outputBytes.Length < buffer.Length)
        {
            outputBytes = new byte[buffer.Length];
        }
        Span<byte> bytes = outputBytes.AsSpan(0, buffer.Length);
        buffer.CopyTo(bytes);
        if (output != null)
        {
            output.Write(bytes);
            output.Flush();
        }
        return (uint)buffer.Length;
    }

    public override void DeliverInput(IDevicePort port)
    {
        if (source.Queue.Count == 0)
        {
            return;
        }
        if (!port.TryGetBuffer(Key, out DmaBuffer buffer, out uint irq))
        {
            if (!warnedOfMissingBuffer)
            {
                warnedOfMissingBuffer = true;
                LogNoBuffer();
            }
            return;
        }
        Span<byte> bytes = new byte[Math.Min(buffer.Length, ConsoleInputQueue.Capacity)];
        int count = source.Queue.Take(bytes);
        buffer.CopyFrom(bytes[..count]);
        port.Complete(buffer, (uint)count, irq);
    }
    // :*

    public override void Start(Action wake) => source.Start(wake);

    public override void Stop() => source.Stop();

    [LoggerMessage(LogLevel.Debug, "Console input waits: the Guest has no free buffer.")]
    private partial void LogNoBuffer();
}
