// What two processes agree on when a Guest of one sends DMA to a Guest of the other: under which name a key is reached, whom one talks to, and
// what a message looks like. A request is a parcel behind a header of 8 bytes, a reply is 12 bytes, and each is one packet of a
// SOCK_SEQPACKET socket, so that there is no half of a message. Whoever sends anything else is left. (docs/decisions/017.)

using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Lguest.Host;

/// <summary>Names and messages of the courier. Words are little-endian.</summary>
internal static partial class CourierProtocol
{
    /// <summary>Bytes in front of a parcel: the mark, and a <see cref="DmaParcelEnd"/>.</summary>
    public const int HeaderSize = 8;

    /// <summary>Bytes of the longest request.</summary>
    public const int MaximumRequest = HeaderSize + DmaParcel.MaximumBytes;

    /// <summary>Bytes of a reply: the mark, a <see cref="DmaVerdict"/>, and the length that was transferred.</summary>
    public const int ReplySize = 12;

    /// <summary>"LGD1": another form of messages will have another mark.</summary>
    private const uint Mark = 0x3144_474C;

    private static readonly Lazy<uint> OwnUser = new(GetEffectiveUser);

    /// <summary>Whether this host system has what it takes.</summary>
    public static bool IsSupported { get; } = OperatingSystem.IsLinux();

    /// <summary>Where the process listens that has bound a key: an abstract name, which the kernel removes when the process ends.</summary>
    public static UnixDomainSocketEndPoint Address(in DmaKey key) => new($"\0lguest/dma/{key.Owner}/{key.Page}/{key.Offset}");

    /// <summary>Makes a socket.</summary>
    /// <exception cref="SocketException">The host system refuses.</exception>
    public static Socket CreateSocket() => new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);

    // L:407 Who may send to my Guest? On one machine, names of sockets are free for all, so anybody might answer to a name, or call. But
    // the kernel knows which user is at the other end, and tells. What the message claims about itself is not asked.
    /// <summary>Whether the process at the other end belongs to the same user, or to root.</summary>
    /// <remarks>The kernel notes the user when a peer connects or begins to listen; no message can claim another.</remarks>
    public static bool IsTrusted(Socket connection)
    {
        const int SocketLevel = 1;
        const int PeerCredentials = 17;
        Span<uint> processUserGroup = stackalloc uint[3];
        try
        {
            _ = connection.GetRawSocketOption(SocketLevel, PeerCredentials, MemoryMarshal.AsBytes(processUserGroup));
        }
        catch (SocketException)
        {
            return false;
        }
        return processUserGroup[1] == OwnUser.Value || processUserGroup[1] == 0;
    }
    // :*

    /// <summary>Writes the header of a request; the parcel's bytes lie behind it already.</summary>
    public static void WriteHeader(Span<byte> request, DmaParcelEnd end)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(request, Mark);
        BinaryPrimitives.WriteUInt32LittleEndian(request[4..], (uint)end);
    }

    /// <summary>Reads a request; false when it is not one.</summary>
    public static bool TryReadRequest(ReadOnlySpan<byte> request, out DmaParcel parcel)
    {
        parcel = default;
        if (request.Length is < HeaderSize or > MaximumRequest || BinaryPrimitives.ReadUInt32LittleEndian(request) != Mark)
        {
            return false;
        }
        var end = (DmaParcelEnd)BinaryPrimitives.ReadUInt32LittleEndian(request[4..]);
        parcel = new DmaParcel(request[HeaderSize..], end);
        return end <= DmaParcelEnd.MissingMemory || (end <= DmaParcelEnd.Unreadable && parcel.Bytes.IsEmpty);
    }

    /// <summary>Writes a reply.</summary>
    public static void WriteReply(Span<byte> reply, DmaOutcome outcome)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(reply, Mark);
        BinaryPrimitives.WriteUInt32LittleEndian(reply[4..], (uint)outcome.Verdict);
        BinaryPrimitives.WriteUInt32LittleEndian(reply[8..], outcome.Transferred);
    }

    /// <summary>Reads a reply to a parcel; false when it is none, or cannot be true.</summary>
    public static bool TryReadReply(ReadOnlySpan<byte> reply, DmaParcel parcel, out DmaOutcome outcome)
    {
        outcome = default;
        if (reply.Length != ReplySize || BinaryPrimitives.ReadUInt32LittleEndian(reply) != Mark)
        {
            return false;
        }
        outcome = new DmaOutcome((DmaVerdict)BinaryPrimitives.ReadUInt32LittleEndian(reply[4..]), BinaryPrimitives.ReadUInt32LittleEndian(reply[8..]));
        return outcome.Verdict switch
        {
            DmaVerdict.Done => outcome.Transferred <= parcel.Bytes.Length,
            DmaVerdict.BadParcel => outcome.Transferred == 0 && parcel.Fault is not null,
            DmaVerdict.Nobody or DmaVerdict.NoFreeBuffer => outcome.Transferred == 0,
            _ => false,
        };
    }

    [LibraryImport("libc", EntryPoint = "geteuid")]
    private static partial uint GetEffectiveUser();
}
