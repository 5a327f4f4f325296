// Ethernet frames on their way from one thread to another: a ring of places, each as long as the longest frame. One side only adds, the
// other only takes, so two counters are all the synchronisation there is; a full ring is the sender's affair.

namespace Lguest.Launcher.Devices.Network;

/// <summary>A bounded queue of frames with one adding and one taking thread.</summary>
internal sealed class FrameQueue
{
    /// <summary>Frames that fit.</summary>
    public const int Capacity = 256;

    /// <summary>Bytes of the shortest frame: the header.</summary>
    public const int MinimumFrame = 14;

    /// <summary>Bytes of the longest frame, which is also what the Guest's buffers hold (ABI 10.3).</summary>
    public const int MaximumFrame = 1514;

    private readonly byte[] bytes = new byte[Capacity * MaximumFrame];
    private readonly int[] lengths = new int[Capacity];
    private uint added;
    private uint taken;

    /// <summary>Frames that wait. May be asked from any thread.</summary>
    public int Count
    {
        get
        {
            // In this order a frame that comes and goes in between cannot make the difference negative.
            uint before = Volatile.Read(ref taken);
            return (int)(Volatile.Read(ref added) - before);
        }
    }

    /// <summary>Adds a frame of a proper length.</summary>
    /// <returns>False when the queue is full.</returns>
    public bool TryAdd(ReadOnlySpan<byte> frame)
    {
        if (!TryReserve(out Span<byte> place))
        {
            return false;
        }
        frame.CopyTo(place);
        Publish(frame.Length);
        return true;
    }

    /// <summary>Asks for a place, to be filled and then added by <see cref="Publish"/>.</summary>
    /// <returns>False when the queue is full.</returns>
    public bool TryReserve(out Span<byte> place)
    {
        bool isFree = Count < Capacity;
        place = isFree ? Place(added) : default;
        return isFree;
    }

    /// <summary>Adds the frame in the reserved place.</summary>
    /// <param name="length">A proper length.</param>
    public void Publish(int length)
    {
        lengths[added % Capacity] = length;
        Volatile.Write(ref added, added + 1);
    }

    /// <summary>Shows the oldest frame, which stays, and may be changed, until <see cref="Remove"/>.</summary>
    public bool TryPeek(out Span<byte> frame)
    {
        bool any = Count > 0;
        frame = any ? Place(taken)[..lengths[taken % Capacity]] : default;
        return any;
    }

    /// <summary>Takes the oldest frame out.</summary>
    public void Remove() => Volatile.Write(ref taken, taken + 1);

    /// <summary>Takes all frames out.</summary>
    public void Clear() => Volatile.Write(ref taken, Volatile.Read(ref added));

    private Span<byte> Place(uint number) => bytes.AsSpan((int)(number % Capacity) * MaximumFrame, MaximumFrame);
}
