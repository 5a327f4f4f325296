// Where things lie in Guest-physical memory (ABI 1.4): the kernel from 1 MiB on, and from the top downwards the initrd, the initial page
// directory and its page tables; the device descriptor page and the device pages follow behind the last byte of RAM.

namespace Lguest.Launcher;

// L:110 Where everything lies. It takes few words to describe a machine: how much memory, how much of it is the initrd, and where in its
// virtual addresses the kernel wants to see it. The rest follows. From the bottom: boot block, command line, kernel. From the top
// downwards: initrd, page directory, page tables. Behind the end of RAM, where no kernel looks for memory: the page with the devices'
// descriptors, and their own pages.
/// <summary>The Guest-physical memory map. All values are in bytes.</summary>
/// <param name="Memory">Guest RAM, a multiple of a page.</param>
/// <param name="InitrdSize">Size of the initrd rounded up to a page, 0 without one.</param>
/// <param name="PageOffset">Guest virtual minus Guest physical address in the kernel's linear map.</param>
internal readonly record struct MemoryMap(uint Memory, uint InitrdSize, uint PageOffset)
{
    public const uint PageSize = 4096;

    /// <summary>RAM and device pages end here at the latest: the original Launcher's own load address.</summary>
    public const uint MaximumTop = 0xB800_0000;

    /// <summary>The boot parameter block.</summary>
    public const uint BootBlock = 0;

    /// <summary>The kernel command line.</summary>
    public const uint CommandLine = 0x1000;

    /// <summary>Bytes that the Guest copies from <see cref="CommandLine"/>.</summary>
    public const uint CommandLineSize = 2048;

    /// <summary>Where the payload of a bzImage goes.</summary>
    public const uint KernelStart = 0x0010_0000;

    /// <summary>Pages that the initial page tables map: all of RAM, or as much as fits between the page offset and 4 GiB.</summary>
    public uint MappedPages => (uint)(Math.Min(Memory, (1UL << 32) - PageOffset) / PageSize);

    /// <summary>Number of initial page-table pages.</summary>
    public uint PageTableCount => (MappedPages + 1023) / 1024;

    /// <summary>Where the initrd begins; equal to <see cref="Memory"/> without one.</summary>
    public uint Initrd => Memory - InitrdSize;

    /// <summary>The initial page directory.</summary>
    public uint PageDirectory => Initrd - PageSize;

    /// <summary>The first initial page table.</summary>
    public uint PageTables => PageDirectory - (PageTableCount * PageSize);

    /// <summary>The device descriptor page.</summary>
    public uint DescriptorPage => Memory;

    /// <summary>Rounds up to a whole page.</summary>
    public static ulong RoundUp(ulong size) => (size + PageSize - 1) / PageSize * PageSize;

    /// <summary>Whether what lies at the top of RAM leaves the bytes below <paramref name="kernelEnd"/> alone.</summary>
    public bool Fits(ulong kernelEnd) => kernelEnd + ((ulong)PageTableCount * PageSize) + PageSize + InitrdSize <= Memory;
}
