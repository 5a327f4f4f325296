// The Host as a whole: which Guests there are, and the one lock between them. In 2007 this was a kernel module with sixteen slots; here it
// is an object, a process may have several, and the number of slots is a choice.

namespace Lguest.Host;

/// <summary>A Host: the Guests that can meet each other.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class LguestHost
{
    private readonly bool[] taken;
    private readonly DmaTable dma;

    /// <summary>Makes a Host without Guests.</summary>
    /// <param name="maximumGuests">Guests that may exist at a time, 1 to 65536.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is out of range.</exception>
    public LguestHost(int maximumGuests = LguestAbi.DefaultMaximumGuests)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maximumGuests, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maximumGuests, 1 << 16);
        taken = new bool[maximumGuests];
        dma = new DmaTable(InterGuestLock);
    }

    /// <summary>Opens the device once more; each open device can have one Guest.</summary>
    public LguestDevice Open() => new(this);

    /// <summary>The lock between Guests (lguest_lock). Never held while a Guest runs.</summary>
    internal Lock InterGuestLock { get; } = new();

    /// <summary>How other processes reach this Host's Guests.</summary>
    internal Courier Courier => dma.Courier;

    /// <summary>Makes a Guest in the lowest free slot; its number is the Guest's identity.</summary>
    internal LguestError TryCreateGuest(InitializeRequest request, out Guest? guest)
    {
        int slot;
        lock (InterGuestLock)
        {
            slot = Array.IndexOf(taken, false);
            if (slot < 0)
            {
                guest = null;
                return LguestError.NoSpace;
            }
            taken[slot] = true;
        }
        guest = null;
        try
        {
            return Guest.TryCreate((ushort)slot, request, dma, out guest);
        }
        finally
        {
            if (guest is null)
            {
                FreeSlot(slot);
            }
        }
    }

    /// <summary>Ends a Guest and frees its slot.</summary>
    internal void Release(Guest guest)
    {
        guest.Dispose();
        FreeSlot(guest.Id);
    }

    private void FreeSlot(int slot)
    {
        lock (InterGuestLock)
        {
            taken[slot] = false;
        }
    }
}
