// The number by which a Guest is known to others: its network drivers make their hardware address of it (ABI 10.11), so no two Guests on one
// network may have the same. In 2007 a machine had one Host, and the slot in its registry was enough. Here each process has Hosts
// of its own, and their Guests meet all the same: the number is unique on the whole machine.

using Lguest.Platform;

namespace Lguest.Host;

// H:005 And each Guest has a number, of which its network drivers make a hardware address. In 2007 the number was the slot in the
// module's list, since a machine had one Host. Now there may be a Host in each process, and two Guests with one address on the same
// network would both be deaf. So a number is taken from the whole machine.
/// <summary>A guestid: the lowest number that no other Guest of this machine has.</summary>
internal sealed class GuestIdentity : IDisposable
{
    private static readonly Lock Door = new();
    private static readonly HashSet<ushort> TakenHere = [];

    private readonly HostWideName? name;

    private GuestIdentity(ushort number, HostWideName? name)
    {
        Number = number;
        this.name = name;
    }

    /// <summary>The number.</summary>
    public ushort Number { get; }

    /// <summary>Takes a number; null when all 65536 are taken.</summary>
    public static GuestIdentity? TryTake()
    {
        lock (Door)
        {
            for (int number = 0; number <= ushort.MaxValue; number++)
            {
                if (!TakenHere.Contains((ushort)number) && HostWideName.TryTake($"lguest/guest/{number}", out HostWideName? name))
                {
                    TakenHere.Add((ushort)number);
                    return new GuestIdentity((ushort)number, name);
                }
            }
            return null;
        }
    }

    /// <summary>Gives the number back.</summary>
    public void Dispose()
    {
        lock (Door)
        {
            TakenHere.Remove(Number);
            name?.Dispose();
        }
    }
}
