// How long a sender waits for a receiver that has no free buffer. Repeating at once would almost never find one, since the receiver has only just
// been told; a fixed long wait would let one Guest that is stuck slow down all that send to it. So the waits grow, end with the first free
// buffer, and shrink to one short one for a receiver that has let its sender wait in vain.

namespace Lguest.Host;

/// <summary>The retry of ABI 10.6, as one sender makes it.</summary>
/// <remarks>Not thread-safe: the sender's own thread calls.</remarks>
/// <param name="pause">Lets the sender wait, at most the given nanoseconds.</param>
internal sealed class RefillWait(Action<long> pause)
{
    /// <summary>The first wait, in nanoseconds.</summary>
    /// <remarks>A receiver needs tens of microseconds from the kick to the first refill, if the host has a processor for it.</remarks>
    public const long First = 100_000;

    /// <summary>How often a sender waits, each time twice as long: 3.1 milliseconds in all.</summary>
    public const int Count = 5;

    /// <summary>Receivers to remember as late; with one more, all are forgiven.</summary>
    public const int MaximumLate = 128;

    private readonly HashSet<DmaKey> late = [];

    /// <summary>Waits for the receiver to refill a buffer, unless it has had its time. No lock may be held, or it could not.</summary>
    /// <param name="key">The receiver's key.</param>
    /// <param name="waits">How often the sender has waited with this parcel.</param>
    /// <returns>Whether to try again; if not, the receiver gets one short wait a parcel until it is forgiven.</returns>
    public bool TryWait(in DmaKey key, int waits)
    {
        if (waits < (late.Contains(key) ? 1 : Count))
        {
            pause(First << waits);
            return true;
        }
        if (late.Count == MaximumLate && !late.Contains(key))
        {
            late.Clear();
        }
        late.Add(key);
        return false;
    }

    /// <summary>The receiver has taken a parcel that was waiting for it.</summary>
    public void Forgive(in DmaKey key) => late.Remove(key);
}
