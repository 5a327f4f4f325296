// The Guest's instructions are the expensive ones: it is told that its packets need no checksums, and what it leaves out is put in here,
// where the sum over a packet takes a fraction of a microsecond. (A kernel that need not sum also need not cut its data early.)

using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Lguest.Launcher.Devices.Network;

internal static class InternetChecksum
{
    private const int InternetHeader = 14;
    private const int ShortestHeader = 20;

    /// <summary>Writes the checksum of TCP or UDP into an Ethernet frame; leaves alone whatever else it is.</summary>
    /// <param name="frame">The frame; not even its header needs to be sound.</param>
    public static void Complete(Span<byte> frame)
    {
        const ushort Internet = 0x0800, FragmentMask = 0x3FFF;
        const byte Tcp = 6, Udp = 17;
        if (frame.Length < InternetHeader + ShortestHeader || BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) != Internet)
        {
            return;
        }
        Span<byte> packet = frame[InternetHeader..];
        int header = 4 * (packet[0] & 0xF);
        int length = BinaryPrimitives.ReadUInt16BigEndian(packet[2..]);
        byte protocol = packet[9];
        int field = protocol switch
        {
            Tcp => 16,
            Udp => 6,
            _ => -1,
        };
        bool isFragment = (BinaryPrimitives.ReadUInt16BigEndian(packet[6..]) & FragmentMask) != 0;
        if (field < 0 || isFragment || header < ShortestHeader || length > packet.Length || header + field + sizeof(ushort) > length)
        {
            return;
        }

        // L:219 Sums that the Guest need not compute. TCP and UDP guard each packet by the sum of all its 16-bit words, and of a few words
        // about the packet as well: who sends it to whom, and how long it is. For a Guest that is a loop over every byte, and each turn of
        // it costs us dozens of instructions of our own. Here it is one pass over bytes that pass by anyhow. So a bit in the
        // descriptor tells the Guest to leave the sums out.
        Span<byte> segment = packet[header..length];
        Span<byte> checksum = segment.Slice(field, sizeof(ushort));
        checksum.Clear();
        // The pseudo-header: both addresses, the protocol and the length.
        ulong sum = Sum(packet[12..20]) + InNetworkOrder(protocol) + InNetworkOrder((ushort)segment.Length) + Sum(segment);
        while (sum > ushort.MaxValue)
        {
            sum = (sum & ushort.MaxValue) + (sum >> 16);
        }
        // To UDP a zero says that there is no checksum; the other zero is the same number.
        ushort value = (ushort)~sum;
        MemoryMarshal.Write(checksum, value == 0 && protocol == Udp ? ushort.MaxValue : value);
        // :*
    }

    /// <summary>Adds 16-bit words in the host's byte order, in which such a sum comes out right as well (RFC 1071).</summary>
    private static ulong Sum(ReadOnlySpan<byte> bytes)
    {
        ulong sum = 0;
        ReadOnlySpan<uint> words = MemoryMarshal.Cast<byte, uint>(bytes);
        foreach (uint word in words)
        {
            sum += word;
        }
        Span<byte> rest = stackalloc byte[sizeof(uint)];
        rest.Clear();
        bytes[(words.Length * sizeof(uint))..].CopyTo(rest);
        return sum + MemoryMarshal.Read<uint>(rest);
    }

    private static ushort InNetworkOrder(ushort value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;
}
