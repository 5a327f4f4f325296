// P:510 The page that Guest and Host share while the Guest runs, struct lguest_data. Much of the conversation needs no words: the Guest's
// interrupt flag and its mask of interrupts are words in there, the Host reads them when it wants to know and the Guest writes them
// without telling anybody. The clock goes the other way. And the ring of waiting hypercalls lies there too.
//
// The Guest chooses where the page lies; the Host never keeps a pointer into it, only the address, and asks for every word through
// GuestMemory.

namespace Lguest.Host;

/// <summary>Offsets in struct lguest_data (ABI 4), in bytes.</summary>
internal static class LguestDataOffset
{
    public const uint IrqEnabled = 0x000;
    public const uint BlockedInterrupts = 0x004;
    public const uint Cr2 = 0x008;
    public const uint Time = 0x00C;
    public const uint HypercallStatus = 0x014;
    public const uint Hypercalls = 0x054;
    public const uint ReserveMemory = 0x454;
    public const uint GuestId = 0x458;
    public const uint TscKilohertz = 0x45C;
    public const uint NoIrqStart = 0x460;
    public const uint NoIrqEnd = 0x464;
    public const uint Size = 0x468;
}
// :*

/// <summary>Where the Guest's lguest_data lies, and the part of it that the Host reads only once.</summary>
internal sealed class LguestData
{
    /// <summary>Guest physical address; 0 before LGUEST_INIT.</summary>
    public uint Address { get; private set; }

    /// <summary>First virtual address of the code in which no interrupt may be injected.</summary>
    public uint NoIrqStart { get; private set; }

    /// <summary>First virtual address behind that code.</summary>
    public uint NoIrqEnd { get; private set; }

    /// <summary>LGUEST_INIT was done. A structure at address 0 does not count.</summary>
    public bool IsInitialised => Address != 0;

    /// <summary>Remembers what LGUEST_INIT told.</summary>
    public void Register(uint address, uint noIrqStart, uint noIrqEnd)
    {
        Address = address;
        NoIrqStart = noIrqStart;
        NoIrqEnd = noIrqEnd;
    }
}
