// P:700 Shadow page tables, the largest file of the Host. A kernel tells the processor by page tables which frame of memory is behind
// each virtual address; whoever can write page tables can reach everything. So the Guest's kernel may have page tables, but the processor
// must not use them.
//
// The Guest keeps ordinary page tables whose entries hold what it believes are physical addresses; the processor walks tables of the
// Host's making. Those fill lazily, one fault at a time, and are emptied when the Guest says that it changed something, as it would flush
// a TLB: a shadow entry is never newer than the Guest's own, only older. Four of these shadows are kept, so that a Guest which switches
// between a few processes finds their tables warm. Each owns an AddressSpace, the processor's memory of it; every change of an entry that
// was present is announced there.
//
// The proof of isolation is short. A directory entry names a table that this file allocated, a table entry names a frame that passed the
// check against pfn_limit and that the Launcher mapped, and entry 1023 names the Switcher's table. Nothing else is ever written. :*

using Lguest.X86;
using Lguest.X86.Memory;

namespace Lguest.Host;

/// <summary>The shadow page tables of one Guest.</summary>
internal sealed class PageTables : IDisposable
{
    private const uint ErrorWrite = 2;
    private const uint ErrorUser = 4;
    private const int NotFound = -1;

    private readonly Guest guest;
    private readonly MachineMemory machine;
    private readonly Processor processor;
    private readonly uint switcherTable;
    private readonly uint pageOffset;
    private readonly uint kernelIndex;
    // H:300 Everything about shadow page tables follows from the question: when do the two sets of tables have to agree? The answer of
    // every processor since the first with a TLB is: not always. A processor may remember an old translation until it is told to forget
    // it, so kernels have learned to tell. For us, the shadow tables *are* the TLB, a large one. So the plan has four parts:
    //
    // - Fill: when the processor faults on an entry that is not there, look whether the Guest's tables allow the access, and if so, make
    //   the entry.
    // - Forget: when the Guest says that it changed something, drop what was made.
    // - Switch: when the Guest changes to another page directory, find its shadow or take a new one.
    // - Stay safe: whatever the Guest writes into its tables, make no entry that leads out of its memory.
    //
    // This is all the state there is. Compare it with the Guest's view: it may have hundreds of processes, each with a directory. Four
    // are remembered.
    private readonly Shadow[] shadows = new Shadow[LguestAbi.ShadowDirectories];
    private int current;
    private uint randomState;
    private uint stackTop;
    private uint stackPages;
    // :*

    /// <summary>Makes empty shadows; <see cref="TryStart"/> makes the first one usable.</summary>
    /// <param name="guest">The Guest.</param>
    /// <param name="processor">Its processor.</param>
    /// <param name="switcherTable">Frame of the Switcher's page table.</param>
    /// <param name="pageOffset">First kernel virtual address.</param>
    /// <param name="seed">Seed of the random replacement.</param>
    public PageTables(Guest guest, Processor processor, uint switcherTable, uint pageOffset, uint seed)
    {
        this.guest = guest;
        this.processor = processor;
        machine = processor.Memory;
        this.switcherTable = switcherTable;
        this.pageOffset = pageOffset;
        kernelIndex = pageOffset >> 22;
        randomState = Math.Max(seed, 1);
        for (int i = 0; i < shadows.Length; i++)
        {
            shadows[i] = new Shadow();
        }
    }

    /// <summary>The shadow directory that the processor should run on.</summary>
    public AddressSpace CurrentSpace => shadows[current].Space!;

    /// <summary>Frames of the allocated shadow directories, for those who check them.</summary>
    internal IEnumerable<uint> DirectoryFrames => shadows.Where(static shadow => shadow.Space is not null).Select(static shadow => shadow.Frame);

    /// <summary>Guest physical address of the Guest directory that the current shadow mirrors.</summary>
    internal uint CurrentGuestDirectory => shadows[current].GuestDirectory;

    // H:500 A Guest begins with one shadow, for the directory that the Launcher has built. It is empty, but for the Switcher's entry: the
    // very first instruction of the Guest faults, is looked up, and is executed.
    /// <summary>Allocates the first shadow directory; false when the arena is exhausted.</summary>
    public bool TryStart(uint guestDirectory)
    {
        if (!TryAllocateDirectory(shadows[0]))
        {
            return false;
        }
        shadows[0].GuestDirectory = guestDirectory;
        return true;
    }

    // H:330 Demand paging. The processor could not find an address in the shadow tables, or was not allowed to do there what it wanted.
    // Walk the Guest's tables as the processor would have done: directory entry, table entry, permissions. If they say no, the fault is
    // the Guest's own; its kernel may be waiting for it, perhaps to load a page from disk.
    //
    // If they say yes, the only thing wrong was that our shadow had not caught up. Make the entry, set the accessed bit in the Guest's
    // table, and the dirty bit if this was a write; then let the Guest try again. It never knows.
    //
    // Everything read here may be nonsense, and it is the Guest's own nonsense: ReadWord kills a Guest whose directory entry points
    // nowhere.
    /// <summary>Serves a page fault from the Guest's own tables (ABI 9.4).</summary>
    /// <returns>False when the fault is the Guest's own business.</returns>
    public bool DemandPage(uint address, uint errorCode)
    {
        Shadow shadow = shadows[current];
        uint index = address >> 22;
        uint guestDirectoryEntry = guest.Memory.ReadWord(shadow.GuestDirectory + (4 * index));
        if ((guestDirectoryEntry & PageBits.Present) == 0)
        {
            return false;
        }
        if (!TryGetTable(shadow, index, guestDirectoryEntry, out uint table))
        {
            return true;
        }

        uint guestEntryAddress = (guestDirectoryEntry & PageBits.Frame) + (4 * ((address >> 12) & 1023));
        uint guestEntry = guest.Memory.ReadWord(guestEntryAddress);
        bool write = (errorCode & ErrorWrite) != 0;
        bool refused = (guestEntry & PageBits.Present) == 0
            || (write && (guestEntry & PageBits.Writable) == 0)
            || ((errorCode & ErrorUser) != 0 && (guestEntry & PageBits.User) == 0);
        if (refused)
        {
            return false;
        }
        if (!CheckTableEntry(guestEntry))
        {
            return true;
        }

        uint used = guestEntry | PageBits.Accessed | (write ? PageBits.Dirty : 0);
        if (!TryShadowEntry(used, out uint shadowEntry))
        {
            return true;
        }
        ReplaceEntry(shadow, table, address, shadowEntry);
        if (used != guestEntry)
        {
            guest.Memory.WriteWord(guestEntryAddress, used);
        }
        return true;
    }

    // H:410 SET_PTE: the Guest says that it changed one entry. It is a chance to be faster: the new entry comes with the call, so the
    // Host can install it now and save the fault that would follow.
    //
    // Which shadow does it concern? The kernel's part of the address space is the same in every directory, so a change there goes to all
    // four. A change in the user's part concerns one directory, if it is among the four at all; if not, there is nothing to correct.
    /// <summary>LHCALL_SET_PTE: the Guest changed an entry of one of its tables (ABI 9.5).</summary>
    public void SetPte(uint guestDirectory, uint address, uint guestEntry)
    {
        if (address >= pageOffset)
        {
            // Kernel mappings are the same in every address space.
            foreach (Shadow shadow in shadows)
            {
                if (shadow.Space is not null)
                {
                    SetPte(shadow, address, guestEntry);
                }
            }
            return;
        }
        int found = Find(guestDirectory);
        if (found != NotFound)
        {
            SetPte(shadows[found], address, guestEntry);
        }
    }

    // H:400 SET_PMD: the Guest changed an entry of a directory, that is, a whole table of 4 MiB comes or goes. We do not look at the new
    // value. The shadow's table is dropped and will be made again, entry by entry, when faults ask for it.
    /// <summary>LHCALL_SET_PMD: the Guest changed an entry of one of its directories (ABI 9.5).</summary>
    public void SetPmd(uint guestDirectory, uint index)
    {
        if (index >= LguestAbi.SwitcherDirectoryIndex)
        {
            return;
        }
        int found = Find(guestDirectory);
        if (found != NotFound && ReleaseTable(shadows[found], index))
        {
            shadows[found].Space!.Flush();
        }
    }

    // H:430 The Guest's scheduler goes to another process and loads the register that names the page directory; here, it makes this call.
    // If we have a shadow for that directory, all its entries are as they were left, and the switch costs nothing. A real TLB of the time
    // would have been empty now.
    /// <summary>LHCALL_NEW_PGTABLE: the Guest switched its address space (ABI 9.6).</summary>
    public void NewPageTable(uint guestDirectory)
    {
        if (guestDirectory == 0)
        {
            guest.Kill(KillReason.BadHypercall((uint)Hypercall.NewPageTable));
            return;
        }
        int found = Find(guestDirectory);
        if (found != NotFound)
        {
            current = found;
            return;
        }

        // H:435 If not, a shadow has to be found for it. An unused one, or else a victim, chosen by dice: any rule that is clever about
        // which one will be needed next can be outwitted by some pattern of processes, and dice cannot. The victim's user part is
        // dropped; its kernel part is the same in all address spaces and stays.
        //
        // A new directory knows no stack yet, so the Guest's is pinned at once.
        int next = (int)(NextRandom() % LguestAbi.ShadowDirectories);
        bool blank = false;
        if (shadows[next].Space is null)
        {
            blank = TryAllocateDirectory(shadows[next]);
            if (!blank)
            {
                next = current;
            }
        }
        shadows[next].GuestDirectory = guestDirectory;
        current = next;
        if (blank)
        {
            PinStack();
        }
        else
        {
            DropRange(shadows[next], kernelIndex);
        }
    }

    // H:440 A process exits, or forks: its kernel changes so many entries that it does not name them. It flushes the user part of the
    // current directory, and so do we.
    /// <summary>LHCALL_FLUSH_TLB with 0: the user part of the current address space changed (ABI 9.7).</summary>
    public void FlushUser() => DropRange(shadows[current], kernelIndex);

    // H:470 When the kernel's own mappings change, everything may be wrong, in all directories. Drop it all. It sounds terrible, and it
    // is only as bad as a cold TLB.
    /// <summary>LHCALL_FLUSH_TLB with 1: anything may have changed (ABI 9.7).</summary>
    public void FlushAll()
    {
        foreach (Shadow shadow in shadows)
        {
            if (shadow.Space is not null)
            {
                DropRange(shadow, LguestAbi.SwitcherDirectoryIndex);
            }
        }
        PinStack();
    }
    // :*

    /// <summary>Remembers the ring-1 stack and maps it now, because direct traps push onto it with no Host involved (ABI 9.8).</summary>
    /// <param name="top">First virtual address above the stack.</param>
    /// <param name="pages">Pages, at most 2.</param>
    public void SetStack(uint top, uint pages)
    {
        stackTop = top;
        stackPages = pages;
        PinStack();
    }

    /// <summary>Gives all frames back. The processor's address spaces go with the processor.</summary>
    public void Dispose()
    {
        foreach (Shadow shadow in shadows)
        {
            if (shadow.Space is not null)
            {
                DropRange(shadow, LguestAbi.SwitcherDirectoryIndex);
                machine.FreeFrame(shadow.Frame);
                shadow.Space = null;
            }
        }
    }

    // H:360 Pinning. The stack for direct traps has to be there before it is needed. It is simply faulted in, by hand, as if the Guest
    // had just written to it. If that does not work, the Guest's tables do not have it either, and its next trap would have been its
    // last.
    private void PinStack()
    {
        for (uint i = 0; i < stackPages; i++)
        {
            uint address = stackTop - 1 - (i * LguestAbi.PageSize);
            if (!IsWritable(shadows[current], address) && !DemandPage(address, ErrorWrite))
            {
                guest.Kill(KillReason.BadStackPage(address));
            }
        }
    }

    private bool IsWritable(Shadow shadow, uint address)
    {
        const uint Both = PageBits.Present | PageBits.Writable;
        uint directoryEntry = machine.Read<uint>(shadow.EntryAddress(address >> 22));
        return (directoryEntry & PageBits.Present) != 0
            && (machine.Read<uint>(TableEntryAddress(directoryEntry, address)) & Both) == Both;
    }

    // H:415 And this is the change itself. An entry that is not present, or was never accessed, is not installed: the shadow's entry is
    // cleared, and a fault will tell when somebody needs the new one. That also keeps the promise about accessed and dirty bits, which
    // only the fault can set.
    private void SetPte(Shadow shadow, uint address, uint guestEntry)
    {
        uint index = address >> 22;
        if (index >= LguestAbi.SwitcherDirectoryIndex)
        {
            guest.Kill(KillReason.SwitcherAccess);
            return;
        }
        uint directoryEntry = machine.Read<uint>(shadow.EntryAddress(index));
        if ((directoryEntry & PageBits.Present) == 0)
        {
            return;
        }
        uint shadowEntry = 0;
        bool install = (guestEntry & PageBits.Present) != 0 && (guestEntry & (PageBits.Accessed | PageBits.Dirty)) != 0;
        if (install && !(CheckTableEntry(guestEntry) && TryShadowEntry(guestEntry, out shadowEntry)))
        {
            return;
        }
        ReplaceEntry(shadow, directoryEntry, address, shadowEntry);
    }

    // H:335 A shadow directory has 1024 entries, each for 4 MiB, and most stay empty. When a fault needs a table that is not there, take
    // a frame from the arena and enter it, with the flags that the Guest's own directory entry has.
    //
    // The last entry belongs to the Switcher. A Guest that wants to map something there is lost; that window was named as reserved when
    // it said hello.
    /// <summary>Finds or makes the shadow table for a directory index; false when that killed the Guest.</summary>
    private bool TryGetTable(Shadow shadow, uint index, uint guestDirectoryEntry, out uint directoryEntry)
    {
        directoryEntry = 0;
        if (index >= LguestAbi.SwitcherDirectoryIndex)
        {
            guest.Kill(KillReason.SwitcherAccess);
            return false;
        }
        directoryEntry = machine.Read<uint>(shadow.EntryAddress(index));
        if ((directoryEntry & PageBits.Present) != 0)
        {
            return true;
        }
        bool allowed = (guestDirectoryEntry & ~PageBits.Frame & ~PageBits.Table) == 0
            && guestDirectoryEntry / LguestAbi.PageSize < guest.Memory.PageLimit;
        if (!allowed)
        {
            guest.Kill(KillReason.BadDirectoryEntry);
            return false;
        }
        if (!machine.TryAllocateFrame(out uint frame))
        {
            guest.Kill(KillReason.OutOfMemory);
            return false;
        }
        guest.Statistics.ShadowPages++;
        directoryEntry = (frame * LguestAbi.PageSize) | (guestDirectoryEntry & PageBits.Table);
        machine.Write(shadow.EntryAddress(index), directoryEntry);
        return true;
    }

    // H:350 Which frame? In 2007 the Host had to ask the Linux around it where the Launcher's page was at the moment, and to keep it
    // there while the Guest used it. Here a Guest's "physical" frame number *is* the number of the frame in machine memory, so there is
    // nothing to find, only to check: a frame number above pfn_limit would be somebody else's memory, for example these very tables.
    //
    // Two more bits are refused, since they steer caches in ways that a Guest has no business with.
    private bool CheckTableEntry(uint guestEntry)
    {
        bool allowed = (guestEntry & (PageBits.WriteThrough | PageBits.PageAttribute)) == 0
            && guestEntry / LguestAbi.PageSize < guest.Memory.PageLimit;
        if (!allowed)
        {
            guest.Kill(KillReason.BadPageTableEntry);
        }
        return allowed;
    }

    // H:340 From the Guest's entry to ours. Two bits differ. *Global* goes, for it would make the processor keep the entry across
    // switches. And a page that is not dirty yet is entered read-only, even if the Guest allows writing: so the first write faults, the
    // fault sets the dirty bit in the Guest's table, and only then the entry becomes writable. That is how the Guest gets correct dirty
    // bits from a processor that has never seen its tables.
    /// <summary>Makes a shadow entry of a checked Guest entry; false when that killed the Guest.</summary>
    /// <remarks>A page that is not dirty yet stays read-only, so that the first write faults and the dirty bit can be set.</remarks>
    private bool TryShadowEntry(uint guestEntry, out uint shadowEntry)
    {
        uint frame = guestEntry / LguestAbi.PageSize;
        if (!guest.Memory.IsMapped(frame))
        {
            guest.Kill(KillReason.FailedToGetPage(frame));
            shadowEntry = 0;
            return false;
        }
        shadowEntry = guestEntry & ~PageBits.Global;
        if ((guestEntry & PageBits.Dirty) == 0)
        {
            shadowEntry &= ~PageBits.Writable;
        }
        return true;
    }

    // H:420 Writing the entry. If the old one was present, the processor may have it in its own TLB, and must be told. If it was not,
    // there is nothing to forget, because a TLB does not remember what is missing. This one comparison saves most flushes.
    private void ReplaceEntry(Shadow shadow, uint directoryEntry, uint address, uint shadowEntry)
    {
        uint entryAddress = TableEntryAddress(directoryEntry, address);
        uint old = machine.Read<uint>(entryAddress);
        machine.Write(entryAddress, shadowEntry);
        if ((old & PageBits.Present) != 0)
        {
            shadow.Space!.FlushPage(address);
        }
    }

    // H:445 Dropping a range walks over the entries that are not zero, and tells the processor once, at the end.
    /// <summary>Drops the directory entries below <paramref name="end"/>.</summary>
    private void DropRange(Shadow shadow, uint end)
    {
        bool dropped = false;
        Span<byte> directory = machine.FrameBytes(shadow.Frame);
        ReadOnlySpan<uint> entries = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, uint>(directory)[..(int)end];
        for (int index = entries.IndexOfAnyExcept(0u); index >= 0;)
        {
            dropped |= ReleaseTable(shadow, (uint)index);
            int further = entries[(index + 1)..].IndexOfAnyExcept(0u);
            index = further < 0 ? NotFound : index + 1 + further;
        }
        if (dropped)
        {
            shadow.Space!.Flush();
        }
    }

    // H:450 A table that is dropped goes back to the arena whole. Its entries need no visit: they hold no claim on the frames they name.
    // (In 2007 each held a reference to a page of the Launcher, and had to release it.)
    private bool ReleaseTable(Shadow shadow, uint index)
    {
        uint entryAddress = shadow.EntryAddress(index);
        uint directoryEntry = machine.Read<uint>(entryAddress);
        if ((directoryEntry & PageBits.Present) == 0)
        {
            return false;
        }
        machine.Write(entryAddress, 0u);
        machine.FreeFrame(directoryEntry / LguestAbi.PageSize);
        guest.Statistics.ShadowPages--;
        return true;
    }

    // H:480 A new directory is empty except for its last entry, which maps the Switcher's pages. They must be there in every address
    // space, because the processor looks for its GDT, IDT and TSS by virtual addresses, at any moment.
    private bool TryAllocateDirectory(Shadow shadow)
    {
        if (!machine.TryAllocateFrame(out uint frame))
        {
            return false;
        }
        try
        {
            shadow.Space = processor.CreateAddressSpace(frame * LguestAbi.PageSize);
        }
        catch (OutOfMemoryException)
        {
            // The Guest asked for the directory, so it must not be the Host that fails: it makes do with the shadows it has.
            machine.FreeFrame(frame);
            return false;
        }
        shadow.Frame = frame;
        machine.Write(shadow.EntryAddress(LguestAbi.SwitcherDirectoryIndex), (switcherTable * LguestAbi.PageSize) | PageBits.Kernel);
        return true;
    }

    // H:320 Two small things that the rest uses. A shadow is known by the address of the Guest's directory. And the index of an entry is
    // cut out of the address: ten bits for the directory, ten for the table, twelve remain for the byte in the page.
    /// <summary>The shadow of a Guest directory. Address 0 is the mark of a slot that was never used, so it is never found.</summary>
    private int Find(uint guestDirectory)
    {
        for (int i = 0; i < shadows.Length; i++)
        {
            if (shadows[i].GuestDirectory == guestDirectory && guestDirectory != 0 && shadows[i].Space is not null)
            {
                return i;
            }
        }
        return NotFound;
    }
    // :*

    private uint NextRandom()
    {
        // Marsaglia's xorshift: replacement needs no better.
        randomState ^= randomState << 13;
        randomState ^= randomState >> 17;
        randomState ^= randomState << 5;
        return randomState;
    }

    private static uint TableEntryAddress(uint directoryEntry, uint address) =>
        (directoryEntry & PageBits.Frame) + (4 * ((address >> 12) & 1023));

    private sealed class Shadow
    {
        /// <summary>Guest physical address of the directory that this one mirrors.</summary>
        public uint GuestDirectory { get; set; }

        /// <summary>Machine frame of the directory.</summary>
        public uint Frame { get; set; }

        /// <summary>The processor's view of it; null until the slot is first used.</summary>
        public AddressSpace? Space { get; set; }

        public uint EntryAddress(uint index) => (Frame * LguestAbi.PageSize) + (4 * index);
    }
}
