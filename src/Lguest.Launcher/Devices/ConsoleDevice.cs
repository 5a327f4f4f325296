// The Guest's terminal (ABI 10.9): what it sends to key 0 goes to a stream, and what comes in on another stream goes to the one buffer that
// it binds to key 0. Reading is nobody's business but the reader's: a task of its own waits for input, and the Guest hears of it through
// the Waker.

using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices;

internal sealed partial class ConsoleDevice(Stream? input, Stream? output, TimeProvider time, ILogger logger) : Device
{
    private const uint Key = 0;
    private const byte ControlC = 3;
    private const int QuitCount = 3;

    private readonly ConsoleInputQueue queue = new();
    private readonly CancellationTokenSource stopping = new();
    private Task reader = Task.CompletedTask;
    private byte[] outputBytes = new byte[256];
    private int quitPresses;
    private long firstPressSecond;
    private bool warnedOfMissingBuffer;

    public override DeviceType Type => DeviceType.Console;

    public override uint? OutputKey => Key;

    public override int WaitingInput => queue.Count;

    /// <summary>Called, on the reader's task, when the user has typed Ctrl-C three times within about a second.</summary>
    public Action? QuitRequested { get; set; }

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
        if (queue.Count == 0)
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
        int count = queue.Take(bytes);
        buffer.CopyFrom(bytes[..count]);
        port.Complete(buffer, (uint)count, irq);
    }
    // :*

    public override void Start(Action wake)
    {
        if (input != null)
        {
            reader = Task.Run(() => ReadAsync(input, wake));
        }
    }

    public override void Stop()
    {
        stopping.Cancel();
        reader.Wait();
        stopping.Dispose();
    }

    // L:212 Somebody has to wait for the keyboard, and it must not be the Guest's thread. A task does nothing else: it reads, puts what
    // it got into a queue, and calls the Waker. When the queue is full it stops reading, so that a file that is piped into a Guest does
    // not have to fit into memory.
    //
    // Three Ctrl-C within a second end the Guest even if it does not listen any more. They are counted here, because here they arrive.
    private async Task ReadAsync(Stream source, Action wake)
    {
        byte[] buffer = new byte[1024];
        try
        {
            while (true)
            {
                // Some streams cannot cancel a read (a terminal's, for one); then the read is left behind.
                int count = await source.ReadAsync(buffer, stopping.Token).AsTask().WaitAsync(stopping.Token).ConfigureAwait(false);
                if (count == 0)
                {
                    LogInputClosed();
                    return;
                }
                CountQuitPresses(buffer.AsSpan(0, count));
                Task room = queue.AddAsync(buffer.AsSpan(0, count));
                wake();
                await room.WaitAsync(stopping.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The machine has ended.
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException or UnauthorizedAccessException)
        {
            LogInputFailed(error.Message);
        }
    }

    private void CountQuitPresses(ReadOnlySpan<byte> typed)
    {
        if (typed is not [ControlC])
        {
            quitPresses = 0;
            return;
        }
        long second = time.GetUtcNow().ToUnixTimeSeconds();
        if (++quitPresses == 1)
        {
            firstPressSecond = second;
        }
        if (quitPresses < QuitCount)
        {
            return;
        }
        quitPresses = 0;
        if (second <= firstPressSecond + 1)
        {
            QuitRequested?.Invoke();
        }
    }
    // :*

    [LoggerMessage(LogLevel.Debug, "Console input waits: the Guest has no free buffer.")]
    private partial void LogNoBuffer();

    [LoggerMessage(LogLevel.Information, "Console input has ended.")]
    private partial void LogInputClosed();

    [LoggerMessage(LogLevel.Warning, "Console input has ended: {Message}")]
    private partial void LogInputFailed(string message);
}
