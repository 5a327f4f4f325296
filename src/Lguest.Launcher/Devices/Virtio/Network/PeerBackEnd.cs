// The network of PC Guests among themselves: each member has a socket beside the network's file, named by its slot, and sends a frame to the
// member whose address it is for, or to all. Nobody is in the middle; each member learns for itself who lives where, as a switch does.

using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Lguest.Launcher.Devices.Network;
using Lguest.Platform;

namespace Lguest.Launcher.Devices.Virtio.Network;

/// <summary>One member of a network of PC Guests.</summary>
internal sealed class PeerBackEnd : NetworkBackEnd
{
    /// <summary>Addresses that a member remembers; a peer that invents more is only heard by all.</summary>
    private const int MostAddresses = 4096;

    /// <summary>Milliseconds after which members are counted again.</summary>
    private const long CountEvery = 200;

    private readonly FileStream file;
    private readonly string path;
    private readonly int slot;
    private readonly Socket socket = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { Blocking = false };
    private readonly PollSet poll = new();
    private readonly SocketAddress sender = new(AddressFamily.Unix, SocketAddress.GetMaximumAddressSize(AddressFamily.Unix));
    private readonly byte[] sent = new byte[FrameQueue.MaximumFrame];
    private readonly byte[] received = new byte[FrameQueue.MaximumFrame + 1];
    private readonly ConcurrentDictionary<ulong, int> homes = new();
    private Dictionary<int, SocketAddress> peers = [];
    private long countedAt = long.MinValue;

    /// <summary>Joins a network.</summary>
    /// <param name="file">The open file whose lock keeps the slot; it is closed with this object.</param>
    /// <param name="slot">The slot.</param>
    /// <exception cref="IOException">The socket cannot be made.</exception>
    public PeerBackEnd(FileStream file, int slot)
        : base("lguest peers")
    {
        this.file = file;
        this.slot = slot;
        path = Path.GetFullPath(file.Name);
        try
        {
            string own = SocketPath(slot);
            // The last owner of the slot may have died with its socket open.
            File.Delete(own);
            socket.Bind(new UnixDomainSocketEndPoint(own));
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(own, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }
        }
        catch (Exception error)
        {
            socket.Dispose();
            poll.Dispose();
            throw error switch
            {
                ArgumentException => new IOException("the path is too long for a socket beside it, which may have 107 bytes", error),
                SocketException => new IOException($"a socket beside it cannot be made: {error.Message}", error),
                _ => error,
            };
        }
    }

    public override ReadOnlySpan<byte> HardwareAddress => default;

    public override bool TrySend(in GuestSections frame)
    {
        ReadOnlySpan<byte> bytes = sent.AsSpan(0, frame.CopyTo(sent));
        CountPeers();
        if (homes.TryGetValue(Address(bytes), out int home) && peers.TryGetValue(home, out SocketAddress? peer))
        {
            return TrySend(bytes, peer);
        }
        bool any = false;
        foreach (SocketAddress each in peers.Values)
        {
            any |= TrySend(bytes, each);
        }
        return any;
    }

    public override void Dispose()
    {
        socket.Dispose();
        poll.Dispose();
        File.Delete(SocketPath(slot));
        file.Dispose();
    }

    protected override void Wait(bool read)
    {
        poll.Clear();
        if (read)
        {
            poll.Add((int)socket.Handle, PollEvents.In);
        }
        poll.Wait(Timeout.Infinite);
        if (!read)
        {
            return;
        }
        // The queue has room for these: it is asked before every wait.
        for (int count = 0; count < FrameQueue.Capacity / 2 && TryReceive(out int length); count++)
        {
            if (length is >= FrameQueue.MinimumFrame and <= FrameQueue.MaximumFrame)
            {
                ReadOnlySpan<byte> frame = received.AsSpan(0, length);
                Learn(frame[6..]);
                Input.TryAdd(frame);
            }
        }
    }

    protected override void Wake() => poll.Wake();

    /// <summary>The hardware address at the front of some bytes, as a number.</summary>
    private static ulong Address(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt64LittleEndian(bytes) & 0xFFFF_FFFF_FFFF;

    private string SocketPath(int number) => $"{path}.{number}";

    private bool TrySend(ReadOnlySpan<byte> frame, SocketAddress peer)
    {
        try
        {
            return socket.SendTo(frame, SocketFlags.None, peer) == frame.Length;
        }
        catch (SocketException)
        {
            // It is full, or gone: the frame is lost, as on any cable.
            return false;
        }
    }

    private bool TryReceive(out int length)
    {
        length = 0;
        if (!socket.Poll(0, SelectMode.SelectRead))
        {
            return false;
        }
        try
        {
            sender.Size = sender.Buffer.Length;
            length = socket.ReceiveFrom(received, SocketFlags.None, sender);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Remembers where an address lives, if the sender's socket is one of the network's.</summary>
    private void Learn(ReadOnlySpan<byte> source)
    {
        const int PathOffset = 2, Group = 1;
        ReadOnlySpan<byte> name = sender.Buffer.Span[PathOffset..sender.Size];
        int dot = name.LastIndexOf((byte)'.');
        string text = dot < 0 ? "" : Encoding.UTF8.GetString(name[(dot + 1)..]).TrimEnd('\0');
        if ((source[0] & Group) == 0 && int.TryParse(text, out int home) && home >= 0 && (homes.Count < MostAddresses || homes.ContainsKey(Address(source))))
        {
            homes[Address(source)] = home;
        }
    }

    /// <summary>Looks now and then which members there are.</summary>
    private void CountPeers()
    {
        long now = Environment.TickCount64;
        if (now - countedAt < CountEvery && countedAt != long.MinValue)
        {
            return;
        }
        countedAt = now;
        var found = new Dictionary<int, SocketAddress>();
        foreach (string each in Directory.EnumerateFiles(Path.GetDirectoryName(path)!, Path.GetFileName(path) + ".*"))
        {
            if (each.StartsWith(path + ".", StringComparison.Ordinal) && int.TryParse(each.AsSpan(path.Length + 1), out int number) && number != slot && number is >= 0 and < NetworkPage.SlotCount)
            {
                found[number] = peers.TryGetValue(number, out SocketAddress? known) ? known : new UnixDomainSocketEndPoint(each).Serialize();
            }
        }
        peers = found;
    }
}
