// From linear to physical addresses: the walk through the page tables, which the soft-TLB saves us from on nearly every access. There are
// two formats: two levels of 32-bit entries, and with PAE two levels of 64-bit entries below four pointers that the processor holds.

using Lguest.X86.Execution;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>What a memory access wants.</summary>
internal enum Access
{
    Read,
    Write,
    Execute,
}

/// <summary>What a translation allows.</summary>
[Flags]
internal enum PageTraits
{
    None,

    /// <summary>Writes are allowed, and nobody needs to note them: the dirty bit is set.</summary>
    Writable = 1,

    /// <summary>Stays when CR3 is loaded.</summary>
    Global = 2,
}

public sealed unsafe partial class Processor
{
    private const uint PagePresent = 0x1;
    private const uint PageWritable = 0x2;
    private const uint PageUser = 0x4;
    private const uint PageAccessed = 0x20;
    private const uint PageDirty = 0x40;
    private const uint PageLarge = 0x80;
    private const uint PageGlobal = 0x100;

    private const uint FaultPresent = 1;
    private const uint FaultWrite = 2;
    private const uint FaultUser = 4;
    private const uint FaultReserved = 8;
    private const uint FaultFetch = 16;

    // Of the high half of a PAE entry only the bit that forbids execution exists: physical addresses have 32 bits.
    private const uint NoExecute = 0x8000_0000;
    private const uint ReservedInLargePage = 0x001F_E000;
    private const uint ReservedInPointer = 0x1E6;

    private readonly GuestFault guestFault = new();
    private SoftTlb currentTlb;
    private byte pendingVector;
    private uint pendingErrorCode;

    /// <summary>Vector of the exception that was noted last.</summary>
    internal byte PendingVector => pendingVector;

    /// <summary>Its error code.</summary>
    internal uint PendingErrorCode => pendingErrorCode;

    /// <summary>Translations that serve the current privilege level.</summary>
    private SoftTlb TlbFor(bool user) => user ? currentSpace.User : currentSpace.Supervisor;

    /// <summary>Notes an exception and returns what to throw for it. The exception is delivered at the current instruction.</summary>
    internal GuestFault Fault(byte vector, uint errorCode = 0)
    {
        pendingVector = vector;
        pendingErrorCode = errorCode;
        return guestFault;
    }

    /// <summary>Finds the physical address of a linear one (Intel SDM volume 3, 4.3 and 4.6); notes a page fault when there is none.</summary>
    /// <remarks>Sets the accessed and dirty bits of the tables on success.</remarks>
    private bool TryWalk(uint linear, Access access, bool user, out uint physical, out PageTraits traits)
    {
        if ((state->Cr0 & Cr0.Paging) == 0)
        {
            physical = linear;
            traits = PageTraits.Writable;
            return true;
        }
        if ((state->Cr4 & Cr4.PhysicalAddressExtension) != 0)
        {
            return TryWalkExtended(linear, access, user, out physical, out traits);
        }
        physical = 0;
        traits = PageTraits.None;
        bool write = access == Access.Write;
        uint directoryAddress = (currentSpace.Directory & 0xFFFF_F000) + ((linear >> 22) * 4);
        uint directoryEntry = memory.Read<uint>(directoryAddress);
        if ((directoryEntry & PagePresent) == 0)
        {
            return PageFault(linear, access, user, 0);
        }
        if ((directoryEntry & PageLarge) != 0 && (state->Cr4 & Cr4.PageSizeExtensions) != 0)
        {
            if (!PageAllows(directoryEntry, write, user))
            {
                return PageFault(linear, access, user, FaultPresent);
            }
            MarkUsed(directoryAddress, directoryEntry, write);
            currentSpace.NoteLargePage(linear);
            physical = (directoryEntry & 0xFFC0_0000) | (linear & 0x003F_FFFF);
            traits = TraitsOf(directoryEntry, directoryEntry, write, user);
            return true;
        }
        uint tableAddress = (directoryEntry & 0xFFFF_F000) + (((linear >> 12) & 0x3FF) * 4);
        uint tableEntry = memory.Read<uint>(tableAddress);
        if ((tableEntry & PagePresent) == 0)
        {
            return PageFault(linear, access, user, 0);
        }
        uint both = directoryEntry & tableEntry;
        if (!PageAllows(both, write, user))
        {
            return PageFault(linear, access, user, FaultPresent);
        }
        MarkUsed(directoryAddress, directoryEntry, false);
        MarkUsed(tableAddress, tableEntry, write);
        physical = (tableEntry & 0xFFFF_F000) | (linear & 0xFFF);
        traits = TraitsOf(both, tableEntry, write, user);
        return true;
    }

    /// <summary>The walk with PAE (4.4).</summary>
    private bool TryWalkExtended(uint linear, Access access, bool user, out uint physical, out PageTraits traits)
    {
        physical = 0;
        traits = PageTraits.None;
        bool write = access == Access.Write;
        var pointer = (uint)state->DirectoryPointers[(int)(linear >> 30)];
        if ((pointer & PagePresent) == 0)
        {
            return PageFault(linear, access, user, 0);
        }
        uint directoryAddress = (pointer & 0xFFFF_F000) + (((linear >> 21) & 0x1FF) * 8);
        ulong directoryEntry = memory.Read<ulong>(directoryAddress);
        if (((uint)directoryEntry & PagePresent) == 0)
        {
            return PageFault(linear, access, user, 0);
        }
        bool large = ((uint)directoryEntry & PageLarge) != 0;
        if (IsReserved(directoryEntry, large ? ReservedInLargePage : 0))
        {
            return PageFault(linear, access, user, FaultPresent | FaultReserved);
        }
        uint lastAddress = directoryAddress;
        ulong last = directoryEntry;
        if (!large)
        {
            lastAddress = ((uint)directoryEntry & 0xFFFF_F000) + (((linear >> 12) & 0x1FF) * 8);
            last = memory.Read<ulong>(lastAddress);
            if (((uint)last & PagePresent) == 0)
            {
                return PageFault(linear, access, user, 0);
            }
            if (IsReserved(last, 0))
            {
                return PageFault(linear, access, user, FaultPresent | FaultReserved);
            }
        }
        uint both = (uint)(directoryEntry & last);
        bool forbidden = access == Access.Execute && (((directoryEntry | last) >> 32) & NoExecute) != 0;
        if (forbidden || !PageAllows(both, write, user))
        {
            return PageFault(linear, access, user, FaultPresent);
        }
        if (large)
        {
            currentSpace.NoteLargePage(linear);
            physical = ((uint)last & 0xFFE0_0000) | (linear & 0x001F_FFFF);
        }
        else
        {
            MarkUsed(directoryAddress, (uint)directoryEntry, false);
            physical = ((uint)last & 0xFFFF_F000) | (linear & 0xFFF);
        }
        MarkUsed(lastAddress, (uint)last, write);
        traits = TraitsOf(both, (uint)last, write, user);
        return true;
    }

    private bool ForbidsExecution => (state->Efer & Efer.NoExecuteEnable) != 0 && (state->Cr4 & Cr4.PhysicalAddressExtension) != 0;

    private bool IsReserved(ulong entry, uint low) =>
        ((uint)(entry >> 32) & (ForbidsExecution ? ~NoExecute : ~0u)) != 0 || ((uint)entry & low) != 0;

    /// <summary>Loads the PDPTE registers, where values of the control registers mean PAE paging (4.4.1).</summary>
    /// <exception cref="GuestFault">A present one has reserved bits set; nothing has changed.</exception>
    private void LoadDirectoryPointers(uint cr0, uint cr3, uint cr4)
    {
        if ((cr0 & Cr0.Paging) == 0 || (cr4 & Cr4.PhysicalAddressExtension) == 0)
        {
            return;
        }
        DirectoryPointers pointers = default;
        for (int i = 0; i < 4; i++)
        {
            pointers[i] = memory.Read<ulong>((cr3 & 0xFFFF_FFE0) + ((uint)i * 8));
            if ((pointers[i] & PagePresent) != 0 && (pointers[i] >> 32 != 0 || (pointers[i] & ReservedInPointer) != 0))
            {
                throw Fault(Vector.GeneralProtection);
            }
        }
        state->DirectoryPointers = pointers;
    }

    /// <param name="rights">What all levels allow.</param>
    /// <param name="last">The entry that maps the page.</param>
    /// <param name="write">This access writes.</param>
    /// <param name="user">Ring 3 asks.</param>
    private PageTraits TraitsOf(uint rights, uint last, bool write, bool user) =>
        (PageAllows(rights, true, user) && (write || (last & PageDirty) != 0) ? PageTraits.Writable : PageTraits.None)
        | ((last & PageGlobal) != 0 && (state->Cr4 & Cr4.PageGlobalEnable) != 0 ? PageTraits.Global : PageTraits.None);

    private bool PageAllows(uint entry, bool write, bool user)
    {
        if (user)
        {
            return (entry & PageUser) != 0 && (!write || (entry & PageWritable) != 0);
        }
        return !write || (entry & PageWritable) != 0 || (state->Cr0 & Cr0.WriteProtect) == 0;
    }

    private void MarkUsed(uint address, uint entry, bool dirty)
    {
        uint used = entry | PageAccessed | (dirty ? PageDirty : 0);
        if (used != entry)
        {
            memory.Write(address, used);
        }
    }

    private bool PageFault(uint linear, Access access, bool user, uint present)
    {
        state->Cr2 = linear;
        pendingVector = Vector.PageFault;
        pendingErrorCode = present | (access == Access.Write ? FaultWrite : 0) | (user ? FaultUser : 0)
            | (access == Access.Execute && ForbidsExecution ? FaultFetch : 0);
        return false;
    }

    /// <summary>Translates for data and remembers the translation; false with a noted page fault when it is refused.</summary>
    private bool TryFillData(SoftTlb tlb, uint linear, bool write, out uint physical)
    {
        bool user = ReferenceEquals(tlb, currentSpace.User);
        if (!TryWalk(linear, write ? Access.Write : Access.Read, user, out physical, out PageTraits traits))
        {
            return false;
        }
        // SAFETY: the index is reduced modulo the TLB's length; the frame's host page, when there is one, has 4096 bytes.
        unsafe
        {
            uint frame = physical >> 12;
            byte* page = memory.FrameAddress(frame);
            uint linearPage = linear & 0xFFFF_F000;
            if (page != null && !PageIsWatched(linearPage))
            {
                memory.Prepare(frame);
                if ((traits & PageTraits.Global) == 0)
                {
                    tlb.NoteLocalData(linear);
                }
                tlb.SetData(linear, new TlbEntry
                {
                    ReadTag = linearPage,
                    WriteTag = (traits & PageTraits.Writable) != 0 && memory.TakesWritesUnnoticed(frame) ? linearPage : 1,
                    Addend = (nint)page - (nint)linearPage,
                });
            }
        }
        return true;
    }

    /// <summary>Translates for instruction fetch and remembers the translation; false with a noted page fault when it is refused.</summary>
    private bool TryFillExecute(uint linear, out uint physical)
    {
        // SAFETY: the index is reduced modulo the TLB's length.
        unsafe
        {
            ExecuteEntry* entry = currentTlb.Execute + ((linear >> 12) % SoftTlb.ExecuteEntries);
            if (entry->Tag == (linear & 0xFFFF_F000))
            {
                physical = (entry->Frame << 12) | (linear & 0xFFF);
                return true;
            }
            if (!TryWalk(linear, Access.Execute, state->PrivilegeLevel == 3, out physical, out PageTraits traits))
            {
                return false;
            }
            if ((traits & PageTraits.Global) == 0)
            {
                currentTlb.NoteLocalExecute(linear);
            }
            entry->Tag = linear & 0xFFFF_F000;
            entry->Frame = physical >> 12;
            return true;
        }
    }
}
