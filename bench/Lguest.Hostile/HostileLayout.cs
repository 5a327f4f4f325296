// Where everything lies in the memory of a hostile Guest: one MiB, as small as it can be, so that random addresses meet each other often.

namespace Lguest.Hostile;

/// <summary>Guest physical addresses of a hostile Guest's memory.</summary>
internal static class HostileLayout
{
    public const uint Pages = 256;
    public const uint Top = Pages * 4096;

    /// <summary>Pages beyond its memory that the Host is sometimes told the Guest may name.</summary>
    public const uint PromisedPages = 40;

    public const uint FirstDirectory = 0x2000;
    public const uint KernelTable = 0x3000;
    public const uint UserTable = 0x4000;
    public const uint Data = 0x5000;
    public const uint Gdt = 0x6000;
    public const uint Text = 0x7000;
    public const uint SecondDirectory = 0x8000;
    public const uint ThirdDirectory = 0x9000;
    public const uint Lists = 0xA000;
    public const uint ListPages = 4;
    public const uint Code = 0x1_0000;
    public const uint StackTop = 0x3_0000;
    public const uint TrapStackTop = 0x3_8000;
    public const uint Handler = 0x4_0000;
    public const uint UserPage = 0x5_0000;

    /// <summary>Two pages of a file that all Guests of the Host share.</summary>
    public const uint Shared = 0x6_0000;

    public const uint SharedPages = 2;

    /// <summary>Page of the disk, which is its key as well.</summary>
    public const uint DiskPage = 0x7_0000;

    /// <summary>Page of the network that leads out; its keys are those of slots 0 and 1.</summary>
    public const uint NetworkPage = 0x7_1000;

    public const uint Buffers = 0x8_0000;

    /// <summary>Virtual address of the user page.</summary>
    public const uint UserVirtual = 0x0040_0000;
}
