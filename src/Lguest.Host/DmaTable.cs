// Where Guests find each other: the bindings of all of them, by key. One lock guards the table, and with it everything that one Guest's
// thread does to another Guest. Who holds it never waits for anything, and a Guest leaves the table, under the lock, before it
// gives up its memory: so a receiver that was found stays there until the lock is released. (docs/decisions/016.)

using System.Diagnostics;

namespace Lguest.Host;

// M:007 A binding has up to thousands of buffers, but GETDMA tells the Launcher of one, then of the next, each with its own turn through
// the door. A network device with ten packets waiting would rather have ten buffers at once, and raise one interrupt for them. What would
// you return, and who marks the buffers as taken? Look at Io.TryGetBuffer and at DmaParcel, and measure with bench/ before and after. :*
/// <summary>An array of buffers that a Guest has bound to a key (ABI 10.5).</summary>
/// <param name="owner">The Guest.</param>
/// <param name="key">The key.</param>
/// <param name="array">Guest physical address of the first lguest_dma.</param>
/// <param name="count">Elements of the array; may be 0.</param>
/// <param name="irq">Virtual interrupt of the owner, 1 to 31.</param>
internal sealed class DmaBinding(Guest owner, DmaKey key, uint array, ushort count, byte irq)
{
    public Guest Owner { get; } = owner;

    public DmaKey Key { get; } = key;

    public uint Array { get; } = array;

    public ushort Count { get; } = count;

    public byte Irq { get; } = irq;

    /// <summary>Element from which the next transfer searches; transfers count it up, and it wraps.</summary>
    public uint Cursor { get; set; }
}

/// <summary>The bindings of all Guests of one Host. Every method wants <see cref="Lock"/> to be held.</summary>
internal sealed class DmaTable
{
    private readonly Dictionary<DmaKey, List<DmaBinding>> bindings = [];

    /// <summary>Makes a table without bindings.</summary>
    /// <param name="hostLock">The lock between Guests.</param>
    public DmaTable(Lock hostLock)
    {
        Lock = hostLock;
        Courier = new Courier(this);
    }

    /// <summary>The lock between Guests.</summary>
    public Lock Lock { get; }

    /// <summary>How other processes reach the bindings.</summary>
    public Courier Courier { get; }

    /// <summary>Adds a binding; it is the newest of its key.</summary>
    public void Add(DmaBinding binding)
    {
        Debug.Assert(Lock.IsHeldByCurrentThread, "The table is shared.");
        if (!bindings.TryGetValue(binding.Key, out List<DmaBinding>? sameKey))
        {
            bindings[binding.Key] = sameKey = [];
        }
        sameKey.Add(binding);
    }

    /// <summary>Removes a binding.</summary>
    public void Remove(DmaBinding binding)
    {
        Debug.Assert(Lock.IsHeldByCurrentThread, "The table is shared.");
        List<DmaBinding> sameKey = bindings[binding.Key];
        sameKey.Remove(binding);
        if (sameKey.Count == 0)
        {
            bindings.Remove(binding.Key);
        }
    }

    // L:320 Finding the receiver: the newest binding of the key, but not one's own, and not one of the dead. A Guest that has been killed
    // may still have its bindings for a moment, until its Launcher closes the device, and whoever sent to it would send to nobody.
    /// <summary>The newest binding that another living Guest has on a key; null when there is none.</summary>
    /// <param name="key">The key.</param>
    /// <param name="guest">The one that looks for another; null when it is not of this Host.</param>
    public DmaBinding? FindPeer(in DmaKey key, Guest? guest)
    {
        Debug.Assert(Lock.IsHeldByCurrentThread, "The table is shared.");
        return bindings.GetValueOrDefault(key)?.FindLast(binding => binding.Owner != guest && !binding.Owner.IsDead);
    }
    // :*
}
