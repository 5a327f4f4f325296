// The Guest's disk as a virtio device (specification 5.2). A request is a chain: a head that says what to do, the data, a byte for the result.
// It is done when the notification returns; the bytes go straight between the host's file and the Guest's pages.

using System.Buffers.Binary;
using System.Text;
using Lguest.Launcher.Devices.Block;

namespace Lguest.Launcher.Devices.Virtio.Block;

/// <summary>A virtio disk.</summary>
internal sealed class VirtioBlockDevice : VirtioDevice
{
    private readonly GuestDisk disk;
    private readonly byte[] configuration = new byte[VirtioBlockConfiguration.Size];
    private readonly byte[] name = new byte[VirtioBlockHeader.NameSize];

    /// <summary>Makes the device.</summary>
    /// <param name="disk">Where the bytes are; it is closed with the device.</param>
    /// <param name="name">What the Guest is told as the disk's name; its first 20 bytes count.</param>
    public VirtioBlockDevice(GuestDisk disk, string name)
    {
        // The head and the result take two of a queue's descriptors.
        const uint MaximumSegments = Virtqueue.MaximumSize - 2;
        this.disk = disk;
        BinaryPrimitives.WriteInt64LittleEndian(configuration.AsSpan(VirtioBlockConfiguration.Capacity), disk.Length / GuestDisk.SectorSize);
        BinaryPrimitives.WriteUInt32LittleEndian(configuration.AsSpan(VirtioBlockConfiguration.MaximumSegments), MaximumSegments);
        BinaryPrimitives.WriteUInt32LittleEndian(configuration.AsSpan(VirtioBlockConfiguration.BlockSize), GuestDisk.SectorSize);
        byte[] bytes = Encoding.UTF8.GetBytes(name);
        bytes.AsSpan(0, Math.Min(bytes.Length, this.name.Length)).CopyTo(this.name);
    }

    public override VirtioDeviceType Type => VirtioDeviceType.Block;

    public override uint ClassCode => 0x01_0000;

    public override ulong Features => VirtioBlockFeatures.MaximumSegments | VirtioBlockFeatures.BlockSize | VirtioBlockFeatures.Flush
        | (disk.IsReadOnly ? VirtioBlockFeatures.ReadOnly : 0);

    public override int QueueCount => 1;

    public override ReadOnlySpan<byte> Configuration => configuration;

    public override void Serve(int queue) => ServeRequests(queue, Serve);

    public override void Dispose() => disk.Dispose();

    private uint Serve(DescriptorChain chain)
    {
        GuestSections readable = chain.Readable, writable = chain.Writable;
        Span<byte> head = stackalloc byte[VirtioBlockHeader.Size];
        if (readable.CopyTo(head) < head.Length || writable.Length == 0)
        {
            Transport.Fail($"a request of {readable.Length} and {writable.Length} bytes");
            return 0;
        }
        uint type = BinaryPrimitives.ReadUInt32LittleEndian(head[VirtioBlockHeader.Type..]);
        ulong sector = BinaryPrimitives.ReadUInt64LittleEndian(head[VirtioBlockHeader.Sector..]);
        GuestSections written = readable.Slice(head.Length, readable.Length - head.Length);
        GuestSections wanted = writable.Slice(0, writable.Length - 1);
        VirtioBlockStatus status = (VirtioBlockRequestType)type switch
        {
            VirtioBlockRequestType.In => Read(sector, wanted),
            VirtioBlockRequestType.Out => Write(sector, written),
            VirtioBlockRequestType.Flush => disk.TryFlush() ? VirtioBlockStatus.Ok : VirtioBlockStatus.IoError,
            VirtioBlockRequestType.GetId => GetName(wanted),
            _ => VirtioBlockStatus.Unsupported,
        };
        if (status != VirtioBlockStatus.Ok)
        {
            wanted.Clear();
        }
        writable.Slice(wanted.Length, 1).CopyFrom([(byte)status]);
        return (uint)writable.Length;
    }

    private VirtioBlockStatus Read(ulong sector, in GuestSections data) =>
        IsInside(sector, data.Length) && disk.Read(data, (long)sector * GuestDisk.SectorSize) == data.Length ? VirtioBlockStatus.Ok : VirtioBlockStatus.IoError;

    private VirtioBlockStatus Write(ulong sector, in GuestSections data)
    {
        bool flushes = (Transport.Features & VirtioBlockFeatures.Flush) != 0;
        return IsInside(sector, data.Length) && disk.TryWrite(data, (long)sector * GuestDisk.SectorSize) && (flushes || disk.TryFlush())
            ? VirtioBlockStatus.Ok
            : VirtioBlockStatus.IoError;
    }

    private VirtioBlockStatus GetName(in GuestSections data)
    {
        data.Clear();
        data.CopyFrom(name);
        return VirtioBlockStatus.Ok;
    }

    private bool IsInside(ulong sector, long length)
    {
        ulong capacity = (ulong)(disk.Length / GuestDisk.SectorSize);
        return length % GuestDisk.SectorSize == 0 && sector <= capacity && (ulong)length / GuestDisk.SectorSize <= capacity - sector;
    }
}
