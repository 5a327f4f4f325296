// Packets by hand: just enough of Ethernet, ARP, IPv4, UDP, TCP and DHCP to talk to a router.

using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Lguest.Launcher.Tests.Network;

internal static class Packet
{
    public const byte Fin = 1, Syn = 2, Rst = 4, Push = 8, Ack = 16;

    private static readonly byte[] Broadcast = [255, 255, 255, 255, 255, 255];
    private static readonly byte[] Router = [0x52, 0x55, 10, 0, 2, 2];

    public static readonly IPAddress GuestAddress = IPAddress.Parse("10.0.2.15");
    public static readonly IPAddress HostAddress = IPAddress.Parse("10.0.2.2");

    public static byte[] ArpRequest(IPAddress target) =>
        [.. Broadcast, .. TestInterface.HardwareAddress, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
            .. TestInterface.HardwareAddress, .. GuestAddress.GetAddressBytes(), 0, 0, 0, 0, 0, 0, .. target.GetAddressBytes()];

    /// <summary>The answer to the router's question for our address.</summary>
    public static byte[] ArpReply() =>
        [.. Router, .. TestInterface.HardwareAddress, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2,
            .. TestInterface.HardwareAddress, .. GuestAddress.GetAddressBytes(), .. Router, .. HostAddress.GetAddressBytes()];

    public static bool IsArp(byte[] frame, int operation) => frame[12] == 8 && frame[13] == 6 && frame[21] == operation;

    public static byte[] Udp(IPAddress from, int fromPort, IPAddress to, int toPort, byte[] data) =>
        Internet(17, from, to, [.. Word(fromPort), .. Word(toPort), .. Word(8 + data.Length), 0, 0, .. data], checksumAt: null);

    public static byte[] Tcp(int fromPort, IPAddress to, int toPort, uint sequence, uint acknowledged, byte flags, byte[] data, int window = 65535)
    {
        byte[] numbers = new byte[8];
        BinaryPrimitives.WriteUInt32BigEndian(numbers, sequence);
        BinaryPrimitives.WriteUInt32BigEndian(numbers.AsSpan(4), acknowledged);
        return Internet(6, GuestAddress, to, [.. Word(fromPort), .. Word(toPort), .. numbers, 0x50, flags, .. Word(window), 0, 0, 0, 0, .. data], checksumAt: 16);
    }

    public static byte[] DhcpDiscover()
    {
        byte[] message = new byte[244];
        message[0] = 1;
        message[1] = 1;
        message[2] = 6;
        BinaryPrimitives.WriteUInt32BigEndian(message.AsSpan(4), 0x1234_5678);
        TestInterface.HardwareAddress.CopyTo(message, 28);
        ((byte[])[99, 130, 83, 99, 53, 1, 1, 255]).CopyTo(message, 236);
        return Udp(IPAddress.Any, 68, IPAddress.Broadcast, 67, message);
    }

    public static bool Is(byte[] frame, ProtocolType protocol) => frame.Length >= 34 && frame[12] == 8 && frame[13] == 0 && frame[23] == (byte)protocol;

    public static bool IsTcp(byte[] frame, byte flags) => Is(frame, ProtocolType.Tcp) && (frame[47] & (Syn | Fin | Rst | Ack)) == flags;

    public static int Port(byte[] frame, bool source) => BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(source ? 34 : 36));

    public static uint Sequence(byte[] frame) => BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(38));

    public static uint Acknowledged(byte[] frame) => BinaryPrimitives.ReadUInt32BigEndian(frame.AsSpan(42));

    /// <summary>What follows the header of UDP or TCP.</summary>
    public static byte[] Data(byte[] frame)
    {
        int end = 14 + BinaryPrimitives.ReadUInt16BigEndian(frame.AsSpan(16));
        return frame[(frame[23] == 17 ? 42 : 34 + (4 * (frame[46] >> 4)))..end];
    }

    private static byte[] Word(int value) => [(byte)(value >> 8), (byte)value];

    private static byte[] Internet(byte protocol, IPAddress from, IPAddress to, byte[] payload, int? checksumAt)
    {
        if (checksumAt is int at)
        {
            Word(~Sum([.. from.GetAddressBytes(), .. to.GetAddressBytes(), 0, protocol, .. Word(payload.Length), .. payload])).CopyTo(payload, at);
        }
        byte[] header = [0x45, 0, .. Word(20 + payload.Length), 0, 1, 0, 0, 64, protocol, 0, 0, .. from.GetAddressBytes(), .. to.GetAddressBytes()];
        Word(~Sum(header)).CopyTo(header, 10);
        return [.. to.Equals(IPAddress.Broadcast) ? Broadcast : Router, .. TestInterface.HardwareAddress, 8, 0, .. header, .. payload];
    }

    private static int Sum(byte[] bytes)
    {
        int sum = 0;
        for (int i = 0; i < bytes.Length; i++)
        {
            sum += i % 2 == 0 ? bytes[i] << 8 : bytes[i];
        }
        sum = (sum & 0xFFFF) + (sum >> 16);
        return (sum & 0xFFFF) + (sum >> 16);
    }
}
