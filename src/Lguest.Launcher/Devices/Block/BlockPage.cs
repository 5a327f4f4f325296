// The block device's page, struct lguest_block_page (ABI 10.10), and what this project adds to it: flushes (docs/abi-extensions.md, E1).

namespace Lguest.Launcher.Devices.Block;

/// <summary>Offsets in the page, in bytes, and the values there.</summary>
internal static class BlockPage
{
    /// <summary>s32: <see cref="ReadRequest"/> or <see cref="WriteRequest"/>.</summary>
    public const uint Type = 0;

    /// <summary>u32: where the request begins, in sectors of 512 bytes.</summary>
    public const uint Sector = 4;

    /// <summary>u32: bytes that the Guest expects to be moved.</summary>
    public const uint Bytes = 8;

    /// <summary>s32: 0 while pending, then <see cref="Succeeded"/> or <see cref="Failed"/>.</summary>
    public const uint Result = 12;

    /// <summary>u32: size of the disk in sectors.</summary>
    public const uint SectorCount = 16;

    /// <summary>u32, extension E1: <see cref="HonoursFlushes"/> and <see cref="IsReadOnly"/>, written with a flush of a Guest that flushes.</summary>
    public const uint Abilities = 20;

    /// <summary>The disk's bytes go to the buffer that the Guest has bound.</summary>
    public const int ReadRequest = 0;

    /// <summary>The bytes that the Guest sent go to the disk; none at all is a flush (E1).</summary>
    public const int WriteRequest = 1;

    /// <summary>All bytes that were expected have been moved.</summary>
    public const int Succeeded = 1;

    /// <summary>They have not.</summary>
    public const int Failed = 2;

    /// <summary>A write may be reported before it has reached the medium: only a flush promises that.</summary>
    public const uint HonoursFlushes = 1;

    /// <summary>Every write will fail.</summary>
    public const uint IsReadOnly = 2;

    /// <summary>Bit of the device's status word (ABI 10.1) by which a Guest says that it flushes.</summary>
    public const ushort GuestFlushes = 0x100;
}
