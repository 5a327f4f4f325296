// What all networks look like to a Guest: a page with a hardware address for each of up to 682 slots, of which one is the Guest's own; a
// packet to a slot is a DMA to the key that is the page's address plus four times the slot (ABI 10.3, 10.11).

using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices.Network;

// L:191 A network is a page: up to 682 hardware addresses of six bytes, one for each member, whose place in the page is its slot. To send
// a packet to a member means to send it to the key that belongs to the slot. There is no switch and no cable; finding the receiver of a
// DMA is what the Host does anyhow.
//
// An entry of zeroes is an interface that is not open. A member who sets the lowest bit of his first byte wants to see every packet, also
// those for others.
/// <summary>The page of a network in a Guest's memory.</summary>
/// <param name="memory">The Guest's memory.</param>
/// <param name="address">Guest physical address of the page.</param>
internal readonly struct NetworkPage(MachineMemory memory, uint address)
{
    /// <summary>Bytes of a hardware address.</summary>
    public const int EntrySize = 6;

    /// <summary>Slots of a network.</summary>
    public const int SlotCount = (int)MemoryMap.PageSize / EntrySize;

    /// <summary>In a descriptor's features: packets need no checksums.</summary>
    public const ushort NoChecksums = 0x4000;

    /// <summary>In a descriptor's features: the moments of its interrupts are random.</summary>
    public const ushort Randomness = 0x8000;

    /// <summary>In the first byte of an entry: its owner wants every packet.</summary>
    public const byte Promiscuous = 1;

    /// <summary>The key that packets to a slot are sent to.</summary>
    public uint Key(int slot) => address + (4 * (uint)slot);

    /// <summary>Whether somebody has opened the interface of a slot.</summary>
    public bool IsOpen(int slot) => memory.Read<byte>(Entry(slot)) != 0;

    /// <summary>Writes the entry of a slot.</summary>
    public void Write(int slot, ReadOnlySpan<byte> entry) => memory.Write(Entry(slot), entry);

    private uint Entry(int slot) => address + (EntrySize * (uint)slot);
}
