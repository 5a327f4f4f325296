// What was typed and not yet taken. Input never gets lost here: where the original Launcher threw away what came while the Guest had no
// buffer, we keep it, and let the sender wait once there is a lot of it (docs/decisions/005).

namespace Lguest.Launcher.Devices;

/// <summary>A bounded queue of bytes from one thread to another.</summary>
internal sealed class ConsoleInputQueue
{
    /// <summary>Bytes beyond which the sender waits.</summary>
    public const int Capacity = 1 << 16;

    private readonly Lock door = new();
    private readonly Queue<byte> bytes = new();
    private TaskCompletionSource? room;

    /// <summary>Bytes that can be taken.</summary>
    public int Count
    {
        get
        {
            lock (door)
            {
                return bytes.Count;
            }
        }
    }

    /// <summary>Adds bytes.</summary>
    /// <returns>Completes when the queue has room for more.</returns>
    public Task AddAsync(ReadOnlySpan<byte> input)
    {
        lock (door)
        {
            foreach (byte value in input)
            {
                bytes.Enqueue(value);
            }
            if (bytes.Count < Capacity)
            {
                return Task.CompletedTask;
            }
            room = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return room.Task;
        }
    }

    /// <summary>Takes as many bytes as there are and fit.</summary>
    /// <returns>Bytes taken.</returns>
    public int Take(Span<byte> destination)
    {
        lock (door)
        {
            int count = Math.Min(destination.Length, bytes.Count);
            for (int i = 0; i < count; i++)
            {
                destination[i] = bytes.Dequeue();
            }
            if (bytes.Count < Capacity)
            {
                room?.TrySetResult();
                room = null;
            }
            return count;
        }
    }
}
