// What was typed and not yet taken. Input never gets lost here: where the original Launcher threw away what came while the Guest had no
// buffer, we keep it, and let the sender wait once there is a lot of it (docs/decisions/005).

namespace Lguest.Launcher.Devices;

// M:002 The Guest's console takes at most as many bytes as its buffer has, and there is one buffer. Type faster than the Guest reads
// (paste a novel), and input piles up here; the Waker breaks into the Guest up to a thousand times a second to ask whether there is room.
// In 2007 the rest was thrown away. Better: let the Guest bind two buffers and send a message, an empty list to key 0, when it has freed
// one. What must both sides do when only one of them knows of the improvement? :*
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
