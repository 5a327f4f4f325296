// The Host as a whole: which Guests there are, and the one lock between them. In 2007 this was a kernel module with sixteen slots; here it
// is an object, a process may have several, and the number of slots is a choice.

namespace Lguest.Host;

// H:000 A Host used to be a kernel module: its first function found a place for the Switcher in the kernel's own address space and
// registered a device, its last one undid it. Nothing like that is left. What remains of the module is the list of its Guests, with room
// for sixteen unless it is told otherwise, and a lock.
//
// The lock is the only thing that Guests share. It guards what one Guest's thread does to another Guest, and it is never held while a
// Guest runs, so no Guest can make another one wait.
/// <summary>A Host: the Guests that can meet each other.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class LguestHost
{
    private readonly int maximumGuests;
    private readonly Dictionary<ushort, GuestIdentity> identities = [];
    private readonly DmaTable dma;

    /// <summary>Makes a Host without Guests.</summary>
    /// <param name="maximumGuests">Guests that may exist at a time, 1 to 65536.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is out of range.</exception>
    public LguestHost(int maximumGuests = LguestAbi.DefaultMaximumGuests)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maximumGuests, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(maximumGuests, 1 << 16);
        this.maximumGuests = maximumGuests;
        dma = new DmaTable(InterGuestLock);
    }

    /// <summary>Opens the device once more; each open device can have one Guest.</summary>
    public LguestDevice Open() => new(this);

    /// <summary>The lock between Guests (lguest_lock). Never held while a Guest runs.</summary>
    internal Lock InterGuestLock { get; } = new();

    /// <summary>How other processes reach this Host's Guests.</summary>
    internal Courier Courier => dma.Courier;

    /// <summary>Makes a Guest, if there is room for one more.</summary>
    internal LguestError TryCreateGuest(InitializeRequest request, out Guest? guest)
    {
        guest = null;
        GuestIdentity? identity;
        lock (InterGuestLock)
        {
            identity = identities.Count < maximumGuests ? GuestIdentity.TryTake() : null;
            if (identity is null)
            {
                return LguestError.NoSpace;
            }
            identities.Add(identity.Number, identity);
        }
        try
        {
            return Guest.TryCreate(identity.Number, request, dma, out guest);
        }
        finally
        {
            if (guest is null)
            {
                Forget(identity.Number);
            }
        }
    }

    /// <summary>Ends a Guest and makes room for another.</summary>
    internal void Release(Guest guest)
    {
        guest.Dispose();
        Forget(guest.Id);
    }

    private void Forget(ushort id)
    {
        lock (InterGuestLock)
        {
            identities.Remove(id, out GuestIdentity? identity);
            identity?.Dispose();
        }
    }
}
