// What a driver and a virtio disk say to each other (specification 5.2): the configuration space, the head of a request, its result.

namespace Lguest.Launcher.Devices.Virtio.Block;

/// <summary>Feature bits of a disk.</summary>
internal static class VirtioBlockFeatures
{
    /// <summary>The configuration space tells how many pieces a request may have.</summary>
    public const ulong MaximumSegments = 1 << 2;

    /// <summary>Writes fail.</summary>
    public const ulong ReadOnly = 1 << 5;

    /// <summary>The configuration space tells the size of a block.</summary>
    public const ulong BlockSize = 1 << 6;

    /// <summary>A write may be reported before it has reached the medium: a flush promises that.</summary>
    public const ulong Flush = 1 << 9;
}

/// <summary>Offsets in the configuration space, in bytes.</summary>
internal static class VirtioBlockConfiguration
{
    /// <summary>Bytes up to the fields of features that are not offered.</summary>
    public const int Size = 24;

    /// <summary>u64: sectors of 512 bytes.</summary>
    public const int Capacity = 0;

    /// <summary>u32.</summary>
    public const int MaximumSegments = 12;

    /// <summary>u32: bytes.</summary>
    public const int BlockSize = 20;
}

/// <summary>What a request asks for.</summary>
internal enum VirtioBlockRequestType : uint
{
    /// <summary>Read.</summary>
    In = 0,

    /// <summary>Write.</summary>
    Out = 1,

    /// <summary>Let everything that was written reach the medium.</summary>
    Flush = 4,

    /// <summary>Tell the disk's name, at most 20 bytes.</summary>
    GetId = 8,
}

/// <summary>The last byte of a request.</summary>
internal enum VirtioBlockStatus : byte
{
    /// <summary>Done.</summary>
    Ok = 0,

    /// <summary>Not done.</summary>
    IoError = 1,

    /// <summary>The device knows no such request.</summary>
    Unsupported = 2,
}

/// <summary>struct virtio_blk_req up to its data.</summary>
internal static class VirtioBlockHeader
{
    /// <summary>Bytes.</summary>
    public const int Size = 16;

    /// <summary>u32: <see cref="VirtioBlockRequestType"/>.</summary>
    public const int Type = 0;

    /// <summary>u64: the first sector.</summary>
    public const int Sector = 8;

    /// <summary>Bytes of a disk's name.</summary>
    public const int NameSize = 20;
}
