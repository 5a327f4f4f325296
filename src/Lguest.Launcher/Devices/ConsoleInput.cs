// What the user types, on its way into a machine of any kind: a task waits for the stream, three Ctrl-C end the machine, and the rest waits
// in a queue until the machine's console takes it.

using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices;

/// <summary>The input half of a console.</summary>
internal sealed partial class ConsoleInput(Stream? input, TimeProvider time, ILogger logger)
{
    private const byte ControlC = 3;
    private const int QuitCount = 3;

    private readonly CancellationTokenSource stopping = new();
    private Task reader = Task.CompletedTask;
    private int quitPresses;
    private long firstPressSecond;

    /// <summary>What has been typed and not been taken.</summary>
    public ConsoleInputQueue Queue { get; } = new();

    /// <summary>Called, on the reader's task, when the user has typed Ctrl-C three times within about a second.</summary>
    public Action? QuitRequested { get; set; }

    /// <summary>Begins to read.</summary>
    /// <param name="wake">Called, from any thread, whenever input has arrived.</param>
    public void Start(Action wake)
    {
        if (input != null)
        {
            reader = Task.Run(() => ReadAsync(input, wake));
        }
    }

    /// <summary>Ends the reading; afterwards nobody is woken any more.</summary>
    public void Stop()
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
                Task room = Queue.AddAsync(buffer.AsSpan(0, count));
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

    [LoggerMessage(LogLevel.Information, "Console input has ended.")]
    private partial void LogInputClosed();

    [LoggerMessage(LogLevel.Warning, "Console input has ended: {Message}")]
    private partial void LogInputFailed(string message);
}
