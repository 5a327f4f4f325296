// What a BIOS says about memory when a boot loader asks it (INT 15h, E820h): which addresses are RAM, and which only look like it.

namespace Lguest.Pc.Boot;

/// <summary>A range of physical addresses.</summary>
/// <param name="Start">First address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Kind">1 for RAM, 2 for what must be left alone.</param>
internal readonly record struct MemoryRange(ulong Start, ulong Length, uint Kind);

internal static class MemoryRanges
{
    public const uint Ram = 1, Reserved = 2;

    /// <summary>Where the BIOS's own data would begin, below 640 KiB.</summary>
    public const uint BaseEnd = 0x0009_FC00;

    /// <summary>Where memory goes on behind the hole for screens and firmware.</summary>
    public const uint ExtendedStart = 0x0010_0000;

    private const uint FirmwareStart = 0x000E_0000;

    /// <summary>The ranges of a machine, in ascending order.</summary>
    /// <param name="size">Bytes of RAM, counting from address 0.</param>
    public static MemoryRange[] Of(ulong size) =>
    [
        new(0, BaseEnd, Ram),
        new(BaseEnd, 0xA_0000 - BaseEnd, Reserved),
        new(FirmwareStart, ExtendedStart - FirmwareStart, Reserved),
        new(ExtendedStart, size - ExtendedStart, Ram),
    ];
}
