// From linear to physical addresses: the walk through the two-level tables, which the soft-TLB saves us from on nearly every access.

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

public sealed unsafe partial class Processor
{
    private const uint PagePresent = 0x1;
    private const uint PageWritable = 0x2;
    private const uint PageUser = 0x4;
    private const uint PageAccessed = 0x20;
    private const uint PageDirty = 0x40;
    private const uint PageLarge = 0x80;

    private const uint FaultPresent = 1;
    private const uint FaultWrite = 2;
    private const uint FaultUser = 4;

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
    private bool TryWalk(uint linear, Access access, bool user, out uint physical, out bool writable)
    {
        if ((state->Cr0 & Cr0.Paging) == 0)
        {
            physical = linear;
            writable = true;
            return true;
        }
        physical = 0;
        writable = false;
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
            writable = PageAllows(directoryEntry, true, user) && (write || (directoryEntry & PageDirty) != 0);
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
        writable = PageAllows(both, true, user) && (write || (tableEntry & PageDirty) != 0);
        return true;
    }

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
        pendingErrorCode = present | (access == Access.Write ? FaultWrite : 0) | (user ? FaultUser : 0);
        return false;
    }

    /// <summary>Translates for data and remembers the translation; false with a noted page fault when it is refused.</summary>
    private bool TryFillData(SoftTlb tlb, uint linear, bool write, out uint physical)
    {
        bool user = ReferenceEquals(tlb, currentSpace.User);
        if (!TryWalk(linear, write ? Access.Write : Access.Read, user, out physical, out bool writable))
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
                TlbEntry* entry = tlb.Data + ((linear >> 12) % SoftTlb.Entries);
                entry->ReadTag = linearPage;
                entry->WriteTag = writable && !memory.FrameHoldsCode(frame) ? linearPage : 1;
                entry->Addend = (nint)page - (nint)linearPage;
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
            if (!TryWalk(linear, Access.Execute, state->PrivilegeLevel == 3, out physical, out _))
            {
                return false;
            }
            entry->Tag = linear & 0xFFFF_F000;
            entry->Frame = physical >> 12;
            return true;
        }
    }
}
