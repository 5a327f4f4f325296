// Numbers that a hostile Guest would choose. Pure noise dies at the first check and proves little; so nearly every number here is one that
// makes sense somewhere, and the evil lies in where it is used: borders of pages and of memory, the last bytes before 4 GiB, the Guest's
// own tables, pages that a peer shares, the Host's window.

using Lguest.Host;
using static Lguest.Hostile.HostileLayout;

namespace Lguest.Hostile;

/// <summary>Draws the values of one hostile life.</summary>
/// <param name="random">Where all chance comes from.</param>
/// <param name="pageOffset">The Guest's page offset.</param>
internal sealed class HostileValues(Random random, uint pageOffset)
{
    private static readonly uint[] Places =
        [FirstDirectory, KernelTable, UserTable, Data, Gdt, Text, SecondDirectory, ThirdDirectory, Lists, Code, Handler, UserPage, Shared, Shared + 4096, DiskPage, NetworkPage, Buffers];

    private static readonly ushort[] Selectors = [0x61, 0x69, 0x73, 0x7B, 0x33, 0x3B, 0x43, 0, 1, 3, 0x50, 0x58, 0x60, 0x68, 0x80, 0x83, 0x88, 0xF8, 0x64, 0x6D];

    private static readonly uint[] Edges = [0, 1, 2, 3, 4, 31, 32, 63, 64, 127, 255, 256, 4095, 4096, 4097, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF];

    public Random Random => random;

    /// <summary>True once in so many times.</summary>
    public bool Seldom(int times = 12) => random.Next(times) == 0;

    /// <summary>True about once in the life of a Guest: for what is likely to end it.</summary>
    public bool Rarely() => random.Next(150) == 0;

    public uint Any() => (uint)random.NextInt64(1L << 32);

    public uint Edge() => Edges[random.Next(Edges.Length)];

    /// <summary>A count or number: mostly below <paramref name="usual"/>, else an edge.</summary>
    public uint Number(int usual) => Rarely() ? Edge() : (uint)random.Next(usual);

    /// <summary>A Guest physical address that the Host will mostly accept for an object of this size.</summary>
    public uint Physical(uint size)
    {
        uint place = random.Next(8) switch
        {
            0 => (uint)random.Next((int)Top),
            1 => (uint)random.Next(1, (int)Pages) * 4096,
            // Across a page's border.
            2 => ((uint)random.Next(1, (int)Pages) * 4096) - (uint)random.Next((int)Math.Min(size, 4096) + 1),
            3 => Places[random.Next(Places.Length)] + (uint)random.Next(0x400),
            4 => Lists + (100 * (uint)random.Next(160)),
            _ => Places[random.Next(Places.Length)],
        };
        return Rarely() ? Wild(size) : Math.Min(place, Top - 4096 - 1) & (random.Next(3) == 0 ? ~0u : ~3u);
    }

    /// <summary>An address around an end: of memory, of what the Guest may name, of the numbers.</summary>
    public uint Wild(uint size) => random.Next(6) switch
    {
        0 => Top - size - 2 + (uint)random.Next(5),
        1 => Top - (uint)random.Next(4200),
        2 => ((Pages + PromisedPages) * 4096) - (uint)random.Next(300),
        3 => unchecked(0u - (uint)random.Next((int)size + 8)),
        4 => Top + (uint)random.Next(0x10_0000),
        _ => Any(),
    };

    /// <summary>A virtual address: the kernel's map of something, a user page, the Host's window, or nothing.</summary>
    public uint Virtual() => Rarely() ? (uint)random.Next(3) switch
    {
        0 => LguestAbi.SwitcherAddress + (uint)random.Next(0x4000),
        1 => (Edge() & ~0xFFFu) - (uint)random.Next(4),
        _ => Any(),
    }
    : random.Next(8) switch
    {
        0 or 1 => UserVirtual + (uint)random.Next(0x3000),
        2 => UserVirtual + (uint)(random.Next(8) << 22),
        _ => Physical(4) + pageOffset,
    };

    /// <summary>Any address at all, physical or virtual.</summary>
    public uint Address() => random.Next(3) == 0 ? Physical(4) : Virtual();

    /// <summary>A page directory: one of three that are there, or any page, or no page.</summary>
    public uint Directory() => random.Next(100) switch
    {
        0 => Physical(4096) & ~0xFFFu,
        1 => Physical(4096),
        < 34 => SecondDirectory,
        < 67 => ThirdDirectory,
        _ => FirstDirectory,
    };

    /// <summary>An entry of a table or directory.</summary>
    public uint Entry()
    {
        uint frame = Rarely() ? (random.Next(2) == 0 ? Pages + (uint)random.Next(64) : (uint)random.Next(1 << 20)) : random.Next(4) switch
        {
            0 => Places[random.Next(Places.Length)] / 4096,
            _ => (uint)random.Next((int)Pages),
        };
        uint flags = random.Next(20) switch
        {
            0 when Seldom(5) => (uint)random.Next(0x1000),
            < 4 => (uint)random.Next(8),
            < 8 => 0x63,
            < 12 => 0x67,
            _ => 1 | (uint)(random.Next(2) * 2) | (uint)(random.Next(2) * 4),
        };
        return (frame << 12) | flags;
    }

    /// <summary>Address of an entry of one of the Guest's tables.</summary>
    public uint EntryAddress()
    {
        uint table = random.Next(5) switch { 0 => FirstDirectory, 1 => SecondDirectory, 2 => ThirdDirectory, 3 => KernelTable, _ => UserTable };
        uint index = random.Next(3) switch
        {
            0 => UserVirtual >> 22,
            1 => (uint)random.Next(1024),
            _ => (uint)random.Next(16),
        };
        if (table == KernelTable && !Rarely())
        {
            // The linear map of code and stacks must mostly stay, or no program ever runs.
            index = ((pageOffset >> 12) + 0x60 + (index % 0xA0)) % 1024;
        }
        else if (index == pageOffset >> 22 && !Rarely())
        {
            index = 0;
        }
        return table + (4 * index);
    }

    public ushort Selector() => Seldom(5) ? (ushort)random.Next(1 << 16) : Seldom(3) ? (ushort)random.Next(0x100) : Selectors[random.Next(Selectors.Length)];

    /// <summary>A segment descriptor: flat, small, expand-down, 16-bit, conforming, a gate, a task, or noise.</summary>
    public ulong Descriptor()
    {
        uint low = random.Next(4) switch { 0 => Any(), 1 => (uint)random.Next(1 << 16), _ => 0xFFFF };
        uint type = (uint)random.Next(32);
        uint high = ((uint)random.Next(16) << 20) | (type << 8) | ((uint)random.Next(4) << 13) | (Seldom(8) ? 0u : 0x8000);
        high |= random.Next(3) switch { 0 => Any() & 0xFF0F_00FF, 1 => 0xF_0000, _ => 0u };
        return ((ulong)high << 32) | low;
    }

    /// <summary>A DMA key.</summary>
    public uint Key() => Rarely() ? (random.Next(2) == 0 ? Wild(4) : Physical(4)) : random.Next(16) switch
    {
        0 => Physical(4) & ~3u,
        1 => Shared + (4 * (uint)random.Next((int)SharedPages * 1024)),
        2 => ((uint)random.Next(1, (int)Pages + 1) * 4096) - 4,
        3 => Top - 4,
        < 6 => 0,
        < 8 => DiskPage,
        < 10 => NetworkPage + (4 * (uint)random.Next(2)),
        _ => Shared + (4 * (uint)random.Next(10)) + (Seldom(8) ? 4096u : 0),
    };
}
