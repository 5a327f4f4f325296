// P:600 Segments are the oldest part of this processor. In 1978 they were a way to reach more than 64 KiB; in 1982 they got limits and
// privilege levels; in 1985 paging came and did nearly all of it better. Since then every system makes its segments begin at 0 and end at
// 4 GiB, and wishes that they were gone. But they still decide one thing: the two lowest bits of the code segment's selector are the ring
// that the processor is in. Who could write any descriptor into the GDT, the table of segments, could give himself ring 0.
//
// A Guest kernel believes that it owns the GDT, and mostly it may: the Host only insists that no descriptor of the Guest gives ring 0,
// keeps the four entries that are its own business, and marks everything accessed, because the processor could not do so itself in a
// table that the Guest sees read-only. Whatever else is wrong with a descriptor, the processor will say when it is used. :*

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Lguest.Host;

/// <summary>The GDT of one Guest.</summary>
internal sealed class Segments
{
    private const int LguestCodeEntry = LguestAbi.LguestCodeSelector / 8;
    private const int LguestDataEntry = LguestAbi.LguestDataSelector / 8;
    private const int TssEntry = LguestAbi.TssSelector / 8;
    private const int DoubleFaultTssEntry = 31;
    private const int KernelCodeEntry = LguestAbi.KernelCodeSelector / 8;
    private const int KernelDataEntry = LguestAbi.KernelDataSelector / 8;

    private const ulong FlatRing0Code = 0x00CF_9B00_0000_FFFF;
    private const ulong FlatRing0Data = 0x00CF_9300_0000_FFFF;
    private const ulong FlatRing1Code = 0x00CF_BB00_0000_FFFF;
    private const ulong FlatRing1Data = 0x00CF_B300_0000_FFFF;
    private const ulong AvailableTss32 = 0x0000_8900_0000_0000;

    private const uint PrivilegeLevelBits = 0x6000;
    private const uint PrivilegeLevel1 = 0x2000;
    private const uint Accessed = 0x100;
    private const uint CodeOrData = 0x1000;
    private const uint PresentBit = 0x8000;

    private readonly Guest guest;
    private readonly ulong[] table = new ulong[LguestAbi.GdtEntries];

    public Segments(Guest guest)
    {
        this.guest = guest;
        table[KernelCodeEntry] = FlatRing1Code;
        table[KernelDataEntry] = FlatRing1Data;
    }

    // H:605 The whole table comes with one call, and is copied, fixed and marked for the next entry. LOAD_TLS replaces three entries
    // only, which change with every task switch: each thread's own data hang on them.
    //
    // (The Host of 2007 had a bug here: a count above 32 killed the Guest, but the copying beyond the table happened all the same.)
    /// <summary>LHCALL_LOAD_GDT: replaces the first entries (ABI 8.4).</summary>
    public void LoadGdt(uint address, uint count)
    {
        if (count > LguestAbi.GdtEntries)
        {
            guest.Kill(KillReason.TooManyGdtEntries(count));
            return;
        }
        Copy(address, 0, (int)count);
        FixUp(0, LguestAbi.GdtEntries);
        guest.Changed |= ChangedTables.Gdt;
    }

    /// <summary>LHCALL_LOAD_TLS: replaces the three entries for thread-local storage (ABI 8.5).</summary>
    public void LoadTls(uint address)
    {
        Copy(address, LguestAbi.TlsFirstEntry, LguestAbi.TlsEntries);
        FixUp(LguestAbi.TlsFirstEntry, LguestAbi.TlsEntries);
        guest.Changed |= ChangedTables.Tls;
    }
    // :*

    /// <summary>Copies into the state page what the Guest changed since the last entry.</summary>
    public void CopyIn(Switcher switcher, ChangedTables changed)
    {
        if ((changed & ChangedTables.Gdt) != 0)
        {
            Span<ulong> gdt = stackalloc ulong[LguestAbi.GdtEntries];
            for (int i = 0; i < gdt.Length; i++)
            {
                gdt[i] = EntryForProcessor(i);
            }
            switcher.WriteState(StatePage.Gdt, MemoryMarshal.AsBytes(gdt));
        }
        else if ((changed & ChangedTables.Tls) != 0)
        {
            switcher.WriteState(
                StatePage.Gdt + (8 * LguestAbi.TlsFirstEntry),
                MemoryMarshal.AsBytes(table.AsSpan(LguestAbi.TlsFirstEntry, LguestAbi.TlsEntries)));
        }
    }

    // H:600 Four entries are the Host's own, whatever the Guest writes there: the Host's code and data segments in ring 0, through which
    // every default gate leads, and the TSS, which tells the processor where ring 1's stack is. The last one, for double faults, is kept
    // empty. The Guest's wish is stored but never reaches the processor.
    /// <summary>Entries where the Guest's wish is ignored.</summary>
    private static bool IsIgnored(int entry) => entry is LguestCodeEntry or LguestDataEntry or TssEntry or DoubleFaultTssEntry;

    private static ulong TssDescriptor(uint address) =>
        AvailableTss32 | (StatePage.TssSize - 1) | ((ulong)(address & 0xFF_FFFF) << 16) | ((ulong)(address >> 24) << 56);

    private ulong EntryForProcessor(int entry) => entry switch
    {
        LguestCodeEntry => FlatRing0Code,
        LguestDataEntry => FlatRing0Data,
        TssEntry => TssDescriptor(SwitcherWindow.StatePage + StatePage.Tss),
        DoubleFaultTssEntry => 0,
        _ => table[entry],
    };
    // :*

    private void Copy(uint address, int first, int count)
    {
        Span<byte> bytes = stackalloc byte[8 * LguestAbi.GdtEntries];
        bytes = bytes[..(8 * count)];
        guest.Memory.ReadBlock(address, bytes);
        for (int i = 0; i < count; i++)
        {
            table[first + i] = BinaryPrimitives.ReadUInt64LittleEndian(bytes[(8 * i)..]);
        }
    }

    // H:610 And every other entry is made harmless. Ring 0 becomes ring 1: that is the whole isolation by segments. Call gates and task
    // segments, which are not segments at all but doors, are marked as not present. The accessed bit is set, because the processor sets
    // it in the table when it first loads a segment, and the table is read-only.
    //
    // The rest may be wrong in any way it likes. If the Guest loads a bad descriptor, the processor raises the fault, in the Guest or, on
    // the way in, in the Switcher's name.
    //
    // That was the Host. It has prepared everything, and now somebody has to cross the border:
    //
    //   lguest tour switcher
    private void FixUp(int first, int count)
    {
        for (int i = first; i < first + count; i++)
        {
            if (IsIgnored(i))
            {
                continue;
            }
            uint high = (uint)(table[i] >> 32);
            if ((high & CodeOrData) == 0)
            {
                // Call gates and task segments would be ways into ring 0; none of them works (ABI appendix C, 11).
                high &= ~PresentBit;
            }
            if ((high & PrivilegeLevelBits) == 0)
            {
                high |= PrivilegeLevel1;
            }
            high |= Accessed;
            table[i] = ((ulong)high << 32) | (uint)table[i];
        }
    }
    // :*
}
