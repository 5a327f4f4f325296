// The numbers of the law. Every constant that Guest and Host agree on stands here once, under the name that the field knows it by.

namespace Lguest.Host;

/// <summary>Constants of the lguest interface (ABI sections 6, 8, 9 and 13).</summary>
public static class LguestAbi
{
    /// <summary>Bytes of a page.</summary>
    public const uint PageSize = 4096;

    /// <summary>Vector of a direct hypercall (LGUEST_TRAP_ENTRY).</summary>
    public const byte TrapEntry = 0x1F;

    /// <summary>Slots of the asynchronous hypercall ring (LHCALL_RING_SIZE).</summary>
    public const int RingSize = 64;

    /// <summary>Virtual interrupts (LGUEST_IRQS).</summary>
    public const int Irqs = 32;

    /// <summary>Vector of virtual interrupt 0 (FIRST_EXTERNAL_VECTOR).</summary>
    public const int FirstExternalVector = 0x20;

    // M:006 System calls of a Guest come by INT 0x80, which was the only way in 1992. Since the Pentium II there is SYSENTER, several
    // times faster: no gate, no descriptor, three registers say where to go. Alas, it always goes to ring 0, and the Guest's kernel lives
    // in ring 1. On our processor SYSENTER could go wherever we like. Should it? A processor that knows nothing of lguest is worth
    // something, too. :*
    /// <summary>Vector of system calls (SYSCALL_VECTOR).</summary>
    public const byte SyscallVector = 0x80;

    /// <summary>Ring of the Guest's kernel (GUEST_PL).</summary>
    public const uint GuestPrivilegeLevel = 1;

    /// <summary>First address of the Switcher window (SWITCHER_ADDR).</summary>
    public const uint SwitcherAddress = 0xFFC0_0000;

    /// <summary>Page directory index of the Switcher window.</summary>
    public const uint SwitcherDirectoryIndex = SwitcherAddress >> 22;

    /// <summary>Bytes at the top of the Guest's virtual addresses that it must leave alone.</summary>
    public const uint ReservedMemory = 0x40_0000;

    /// <summary>Selector of the Host's ring-0 code segment (LGUEST_CS).</summary>
    public const ushort LguestCodeSelector = 0x50;

    /// <summary>Selector of the Host's ring-0 data segment (LGUEST_DS).</summary>
    public const ushort LguestDataSelector = 0x58;

    /// <summary>Selector of the Guest kernel's code segment, with its ring.</summary>
    public const ushort KernelCodeSelector = 0x61;

    /// <summary>Selector of the Guest kernel's data segment, with its ring.</summary>
    public const ushort KernelDataSelector = 0x69;

    /// <summary>Selector of the Host's TSS.</summary>
    public const ushort TssSelector = 0x80;

    /// <summary>Entries of the GDT.</summary>
    public const int GdtEntries = 32;

    /// <summary>Entries of the IDT.</summary>
    public const int IdtEntries = 256;

    /// <summary>Guest gates that the Host keeps by number: 32 traps and 32 interrupts.</summary>
    public const int GuestGates = 64;

    /// <summary>First GDT entry for thread-local storage.</summary>
    public const int TlsFirstEntry = 6;

    /// <summary>GDT entries for thread-local storage.</summary>
    public const int TlsEntries = 3;

    /// <summary>Shadow directories that a Guest's address spaces share.</summary>
    public const int ShadowDirectories = 4;

    /// <summary>Largest number of pages of a ring-1 stack.</summary>
    public const uint MaximumStackPages = 2;

    /// <summary>DMA bindings of one Guest (LGUEST_MAX_DMA).</summary>
    public const int MaximumDmaBindings = 32;

    /// <summary>Bytes of a lguest_dma.</summary>
    public const uint DmaSize = 100;

    /// <summary>Sections of a lguest_dma (LGUEST_MAX_DMA_SECTIONS).</summary>
    public const int MaximumDmaSections = 16;

    /// <summary>Bytes of the text of LHCALL_CRASH, with its terminator.</summary>
    public const int CrashTextSize = 128;

    /// <summary>Guests of one Host, unless it is told otherwise (MAX_LGUEST_GUESTS).</summary>
    public const int DefaultMaximumGuests = 16;

    /// <summary>Frequency of the Guest's time-stamp counter in kHz: it counts nanoseconds.</summary>
    public const uint TscKilohertz = 1_000_000;

    /// <summary>Arena frames with which a Guest can never exhaust the Host: every shadow table there can be, and the Switcher's.</summary>
    /// <remarks>Four directories of 1023 tables each, one Switcher table, and the register and state pages.</remarks>
    public const uint ArenaFrames = (ShadowDirectories * 1024) + 3;
}

// H:310 An entry of a page table is a word: twenty bits say which frame, twelve say what is allowed and what has happened. The processor
// itself sets two of them: *accessed* when an entry is used, *dirty* when the page is written to. The Guest wants to see these in its own
// tables, so the Host has to set them there.
/// <summary>Bits of page directory and page table entries.</summary>
internal static class PageBits
{
    public const uint Present = 0x001;
    public const uint Writable = 0x002;
    public const uint User = 0x004;
    public const uint WriteThrough = 0x008;
    public const uint Accessed = 0x020;
    public const uint Dirty = 0x040;
    public const uint PageAttribute = 0x080;
    public const uint Global = 0x100;
    public const uint Frame = 0xFFFF_F000;

    /// <summary>The only bits that a directory entry may have (ABI 9.2).</summary>
    public const uint Table = Present | Writable | User | Accessed | Dirty;

    /// <summary>Flags of the Switcher's table and of the Guest's own register page (ABI 9.3).</summary>
    public const uint Kernel = Present | Writable | Accessed | Dirty;

    /// <summary>Flags of the Switcher's read-only pages (ABI 9.3).</summary>
    public const uint KernelReadOnly = Present | Accessed;
}
