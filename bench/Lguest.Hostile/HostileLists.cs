// The DMA lists of a hostile Guest: mostly lists that could be meant, so that transfers happen, and then one field wrong.

using System.Buffers.Binary;
using Lguest.Host;
using Lguest.X86.Memory;
using static Lguest.Hostile.HostileLayout;

namespace Lguest.Hostile;

/// <summary>Writes struct lguest_dma (ABI 10.2).</summary>
internal static class HostileLists
{
    /// <summary>Where a list or an array of lists may be.</summary>
    public static uint Place(HostileValues values) => values.Rarely() ? values.Wild(LguestAbi.DmaSize) : values.Random.Next(30) switch
    {
        1 => values.Physical(LguestAbi.DmaSize),
        2 => Shared + (uint)values.Random.Next((int)SharedPages * 4096),
        // An array that runs over the end of memory.
        3 when values.Seldom(5) => Top - (uint)values.Random.Next(1, 6) * LguestAbi.DmaSize,
        4 => Lists + (LguestAbi.DmaSize * (uint)values.Random.Next((int)(ListPages * 4096 / LguestAbi.DmaSize))),
        _ => Lists + (LguestAbi.DmaSize * (uint)values.Random.Next(16)),
    };

    /// <summary>Writes a list somewhere.</summary>
    /// <returns>Where.</returns>
    public static uint Write(HostileValues values, MachineMemory memory)
    {
        uint place = Place(values);
        Write(values, memory, place);
        return place;
    }

    /// <summary>Writes a list, as far as there is memory for it.</summary>
    public static void Write(HostileValues values, MachineMemory memory, uint place)
    {
        Span<byte> list = stackalloc byte[(int)LguestAbi.DmaSize];
        list.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(list, values.Seldom(6) ? values.Edge() : 0);
        int sections = values.Random.Next(4) == 0 ? LguestAbi.MaximumDmaSections : values.Random.Next(5);
        bool good = values.Random.Next(8) != 0;
        for (int i = 0; i < sections; i++)
        {
            uint length = (uint)values.Random.Next(1, 4097);
            uint address = Buffers + ((uint)values.Random.Next(32) * 4096) + (uint)values.Random.Next((int)(4097 - length));
            if (!good && values.Random.Next(3) == 0)
            {
                address = values.Seldom(2) ? values.Wild(length) : values.Physical(length);
                length = values.Seldom(2) ? values.Edge() & 0xFFFF : length;
            }
            BinaryPrimitives.WriteUInt32LittleEndian(list[(4 + (4 * i))..], address);
            BinaryPrimitives.WriteUInt16LittleEndian(list[(0x44 + (2 * i))..], (ushort)length);
        }
        if (place < Top - LguestAbi.DmaSize)
        {
            memory.Write(place, list);
        }
    }
}
