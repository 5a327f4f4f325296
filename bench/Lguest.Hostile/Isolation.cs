// The proof of isolation, checked: a shadow directory names tables that the Host allocated for it alone, a shadow table names frames that
// are the Guest's, and the last entry names the Switcher's table. Whatever the Guest has done, this holds at every moment.

using System.Runtime.InteropServices;
using Lguest.Host;
using Lguest.X86.Memory;

namespace Lguest.Hostile;

/// <summary>Checks the shadow page tables of a Guest.</summary>
internal static class Isolation
{
    private const int SwitcherIndex = (int)LguestAbi.SwitcherDirectoryIndex;

    /// <summary>Walks every table that the processor could walk.</summary>
    /// <param name="guest">The Guest.</param>
    /// <param name="memory">Its machine's memory.</param>
    /// <exception cref="HostileFailure">An entry names something that is not the Guest's.</exception>
    public static void Check(Guest guest, MachineMemory memory)
    {
        uint limit = Math.Min(guest.Memory.PageLimit, memory.GuestFrames);
        uint switcherTable = guest.Switcher.TableFrame;
        var tables = new HashSet<uint> { switcherTable };
        foreach (uint directory in guest.PageTables.DirectoryFrames)
        {
            Require(directory >= memory.GuestFrames && tables.Add(directory), "a directory is used twice", directory);
        }
        foreach (uint directory in guest.PageTables.DirectoryFrames)
        {
            ReadOnlySpan<uint> entries = Words(memory, directory);
            for (int index = entries[..SwitcherIndex].IndexOfAnyExcept(0u); index >= 0;)
            {
                uint entry = entries[index];
                Require((entry & 0xF99) == PageBits.Present, "a directory entry has wrong bits", entry);
                Require(entry >> 12 >= memory.GuestFrames && tables.Add(entry >> 12), "a table is shared, or the Guest's own", entry);
                CheckTable(Words(memory, entry >> 12), limit);
                int further = entries[(index + 1)..SwitcherIndex].IndexOfAnyExcept(0u);
                index = further < 0 ? -1 : index + 1 + further;
            }
            Require(entries[SwitcherIndex] == ((switcherTable << 12) | PageBits.Kernel), "the Switcher's entry was changed", entries[SwitcherIndex]);
        }
        ReadOnlySpan<uint> window = Words(memory, switcherTable);
        Require(window[0] == 0 && !window[3..].ContainsAnyExcept(0u), "the Switcher's table has more entries than pages", window[0]);
        Require((window[1] & 0xFFF) == PageBits.Kernel && (window[2] & 0xFFF) == PageBits.KernelReadOnly, "the Switcher's pages have other rights", window[1]);
        foreach (uint entry in window[1..3])
        {
            Require(entry >> 12 >= memory.GuestFrames && !tables.Contains(entry >> 12), "a Switcher page is something else as well", entry);
        }
    }

    private static void CheckTable(ReadOnlySpan<uint> table, uint limit)
    {
        for (int index = table.IndexOfAnyExcept(0u); index >= 0 && index < table.Length; index++)
        {
            uint entry = table[index];
            if (entry != 0)
            {
                Require((entry & PageBits.Present) != 0 && entry >> 12 < limit, "an entry names a foreign frame", entry);
                Require((entry & (PageBits.Writable | PageBits.Dirty)) != PageBits.Writable, "an entry is writable but not dirty", entry);
            }
        }
    }

    private static ReadOnlySpan<uint> Words(MachineMemory memory, uint frame) => MemoryMarshal.Cast<byte, uint>(memory.FrameBytes(frame));

    private static void Require(bool holds, string what, uint entry)
    {
        if (!holds)
        {
            throw new HostileFailure($"Isolation is broken: {what} (0x{entry:x8}).");
        }
    }
}
