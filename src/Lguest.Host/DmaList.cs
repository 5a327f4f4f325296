// A list of places in a Guest's memory. It is a copy: the Guest may change its own meanwhile, and what was checked must be what is used.

using System.Buffers.Binary;

namespace Lguest.Host;

/// <summary>A copy of a struct lguest_dma (ABI 10.2).</summary>
/// <param name="bytes">Its 100 bytes.</param>
internal readonly ref struct DmaList(ReadOnlySpan<byte> bytes)
{
    private const int Addresses = 0x04;
    private const int Lengths = 0x44;

    private readonly ReadOnlySpan<byte> bytes = bytes;

    /// <summary>Sections before the first empty one.</summary>
    public int Count
    {
        get
        {
            int count = 0;
            while (count < LguestAbi.MaximumDmaSections && Length(count) != 0)
            {
                count++;
            }
            return count;
        }
    }

    /// <summary>Guest physical address of a section.</summary>
    public uint Address(int section) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[(Addresses + (4 * section))..]);

    /// <summary>Bytes of a section.</summary>
    public uint Length(int section) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[(Lengths + (2 * section))..]);

    /// <summary>Bytes of all sections.</summary>
    public uint TotalLength
    {
        get
        {
            uint total = 0;
            int count = Count;
            for (int i = 0; i < count; i++)
            {
                total += Length(i);
            }
            return total;
        }
    }

    // L:390 A list of buffers is written by a Guest, and Guests lie. Every section must lie in one page and inside the Guest's memory.
    // What is checked here is a copy: if it were the Guest's own list, a Guest that runs at the same time (the receiver does!) could
    // exchange an address after it was found good.
    /// <summary>Checks every section by the rule for transfers between Guests (ABI 10.2).</summary>
    /// <returns>What the first bad one kills its owner with; null when all are good.</returns>
    public string? FindFault(GuestMemory memory)
    {
        int count = Count;
        for (int i = 0; i < count; i++)
        {
            uint address = Address(i);
            uint length = Length(i);
            bool inOnePage = (address % LguestAbi.PageSize) + length <= LguestAbi.PageSize;
            if (!inOnePage || !memory.IsWithinLimit(address, length))
            {
                return KillReason.BadDmaEntry(length, address);
            }
        }
        return null;
    }
    // :*
}
