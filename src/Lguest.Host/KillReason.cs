// P:420 What does a hypervisor do with a Guest that breaks a rule? This one does not argue: no error codes, no second chances, the Guest
// is killed and its Launcher is told why. It is a kindness in the end, because a Guest that misunderstood something and went on would be
// harder to debug than a dead one with a reason.
//
// These are the last words of a Guest. Launchers and people know these texts since 2007, so they are reproduced to the letter: C's %li,
// %u, %#lx and %p are written here in C#. Every reason that the Host can give stands in this file (ABI 12.3). :*

using System.Text;

namespace Lguest.Host;

/// <summary>The texts with which Guests die.</summary>
internal static class KillReason
{
    public const string FetchingHypercalls = "Fetching async hypercalls";
    public const string WritingHypercallResult = "Writing result for async hypercall";
    public const string WritingTimestamp = "Writing timestamp";
    public const string WritingCr2 = "Writing cr2";
    public const string DisablingInterrupts = "Disabling interrupts";
    public const string EnablingInterrupts = "Re-enabling interrupts";
    public const string AlreadyInitialised = "already have lguest_data";
    public const string SwitcherAccess = "attempt to access switcher pages";
    public const string BadPageTableEntry = "bad page table entry";
    public const string BadDirectoryEntry = "bad page directory entry";
    public const string OutOfMemory = "out of memory allocating pte page";
    public const string BadSendingKey = "bad sending DMA key";
    public const string BadRegisteredBuffer = "bad registered DMA buffer";
    public const string BadRegisteredDma = "bad address in registered DMA struct";
    public const string WritingRegisteredDma = "bad address writing to registered DMA";
    public const string MappingDmaPages = "Error mapping DMA pages";
    public const string BadSendingDma = "bad address in sending DMA";

    public static string Crash(ReadOnlySpan<byte> text)
    {
        int end = text.IndexOf((byte)0);
        return $"CRASH: {Encoding.Latin1.GetString(end < 0 ? text : text[..end])}";
    }

    public static string HypercallBeforeInit(uint number) => $"hypercall {(int)number} before LGUEST_INIT";

    public static string BadHypercall(uint number) => $"Bad hypercall {(int)number}\n";

    public static string BadGuestPage(uint address) => $"bad guest page {address:x8}";

    public static string BadRead(uint address) => $"bad read address {Hex(address)}";

    public static string BadRead(uint address, uint length) => $"bad read address {Hex(address)} len {length}";

    public static string BadWrite(uint address) => $"bad write address {Hex(address)}";

    public static string BadWrite(uint address, uint length) => $"bad write address {Hex(address)} len {length}";

    public static string UnhandledTrap(uint number, uint eip, uint detail) => $"unhandled trap {(int)number} at {Hex(eip)} ({Hex(detail)})";

    public static string BadStackSegment(uint selector) => $"bad stack segment {(int)selector}";

    public static string BadStackPages(uint pages) => $"bad stack pages {pages}";

    public static string BadStackPage(uint address) => $"bad stack page {Hex(address)}";

    public static string BadIdtType(uint type) => $"bad IDT type {(int)type}";

    public static string TooManyGdtEntries(uint count) => $"too many gdt entries {(int)count}";

    public static string FailedToGetPage(uint frame) => $"failed to get page {frame}";

    public static string BadDmaKey(uint key) => $"bad dma key {Hex(key)}";

    public static string BadDmaEntry(uint length, uint address) => $"bad DMA entry: {length}@{Hex(address)}";

    private static string Hex(uint value) => $"0x{value:x}";
}
