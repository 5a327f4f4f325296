// What a driver and a virtio network interface say to each other (specification 5.1): the configuration space and the head of a packet.

namespace Lguest.Launcher.Devices.Virtio.Network;

/// <summary>Feature bits of a network interface.</summary>
internal static class VirtioNetworkFeatures
{
    /// <summary>The driver may leave out the checksums of packets that it sends.</summary>
    public const ulong SendsPartialChecksums = 1 << 0;

    /// <summary>The driver understands what the head of a received packet says about its checksum.</summary>
    public const ulong ReceivesPartialChecksums = 1 << 1;

    /// <summary>The configuration space tells the hardware address.</summary>
    public const ulong HardwareAddress = 1 << 5;

    /// <summary>The configuration space tells whether there is a link.</summary>
    public const ulong Status = 1 << 16;
}

/// <summary>Offsets in the configuration space, in bytes.</summary>
internal static class VirtioNetworkConfiguration
{
    /// <summary>Bytes up to the fields of features that are not offered.</summary>
    public const int Size = 8;

    /// <summary>Six bytes.</summary>
    public const int HardwareAddress = 0;

    /// <summary>Bytes of a hardware address.</summary>
    public const int HardwareAddressSize = 6;

    /// <summary>u16: <see cref="LinkUp"/>.</summary>
    public const int Status = 6;

    /// <summary>There is a link.</summary>
    public const byte LinkUp = 1;
}

/// <summary>struct virtio_net_hdr, in front of every packet.</summary>
internal static class VirtioNetworkHeader
{
    /// <summary>Bytes.</summary>
    public const int Size = 12;

    /// <summary>u8: <see cref="ChecksumIsValid"/>.</summary>
    public const int Flags = 0;

    /// <summary>u16: buffers that the packet takes.</summary>
    public const int BufferCount = 10;

    /// <summary>In a received packet: nobody needs to look at its checksums.</summary>
    public const byte ChecksumIsValid = 2;
}
