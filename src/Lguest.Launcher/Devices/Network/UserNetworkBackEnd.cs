// The way out through libslirp (docs/decisions/041). All that the library does, it does on one thread; what the Guest sends waits for that
// thread in a queue. A Guest may open connections as it likes, but they are descriptors of this process, of which others need some too.

using System.Buffers.Binary;
using Lguest.Platform;

namespace Lguest.Launcher.Devices.Network;

internal sealed class UserNetworkBackEnd : NetworkBackEnd
{
    /// <summary>Sockets from which on frames that could open another one are dropped.</summary>
    public const int MaximumSockets = 512;

    private readonly FrameQueue output = new();
    private readonly Slirp slirp;

    public UserNetworkBackEnd()
        : base("lguest network") => slirp = new Slirp(frame => Input.TryAdd(frame));

    public override ReadOnlySpan<byte> HardwareAddress => Slirp.HostHardwareAddress;

    public override bool CompletesChecksums => true;

    /// <summary>Opens a port of the host; before the start.</summary>
    /// <exception cref="MachineConfigurationException">It cannot be had.</exception>
    public void Forward(PortForward forward)
    {
        if (!PortForward.IsGuestAddress(forward.Guest.Address))
        {
            throw new MachineConfigurationException($"{forward.Guest.Address} is no address of the Guest's: its network is 10.0.2.0/24, and DHCP gives {Slirp.Guest}.");
        }
        try
        {
            slirp.Forward(forward.Protocol, forward.Host, forward.Guest);
        }
        catch (IOException error)
        {
            throw new MachineConfigurationException($"The host's {forward.Protocol.ToString().ToUpperInvariant()} port {forward.Host} cannot be forwarded: {error.Message}", error);
        }
    }

    public override bool TrySend(in GuestSections frame)
    {
        if (!output.TryReserve(out Span<byte> place))
        {
            return false;
        }
        output.Publish(frame.CopyTo(place));
        slirp.Wake();
        return true;
    }

    public override void Dispose() => slirp.Dispose();

    // L:218 A network without anybody's permission. The library libslirp looks at the Guest's packets and does what they want as an
    // ordinary program would do it: for a TCP connection it opens a socket, copies what comes in either direction, and plays the part of
    // the other machine towards the Guest. So the Guest reaches what this process reaches, and nobody outside sees that there is a Guest
    // at all.
    //
    // Sockets are descriptors of this process, and a Guest that opens thousands would take them from all others. Beyond a limit, packets
    // that could open another one are dropped.
    protected override void Wait(bool read)
    {
        slirp.Wait(read);
        while (output.TryPeek(out Span<byte> frame))
        {
            if (slirp.SocketCount < MaximumSockets || OpensNothing(frame))
            {
                InternetChecksum.Complete(frame);
                slirp.Send(frame);
            }
            output.Remove();
        }
    }
    // :*

    protected override void Wake() => slirp.Wake();

    /// <summary>Whether a frame certainly opens no socket: it asks for an address, or belongs to a TCP connection that is there.</summary>
    internal static bool OpensNothing(ReadOnlySpan<byte> frame)
    {
        const int EtherType = 12, InternetHeader = 14, Fragment = InternetHeader + 6, Protocol = InternetHeader + 9, TcpFlags = 13;
        const ushort Arp = 0x0806, Internet = 0x0800, FragmentMask = 0x3FFF;
        const byte Tcp = 6, Synchronize = 2;
        ushort type = BinaryPrimitives.ReadUInt16BigEndian(frame[EtherType..]);
        if (type != Internet || frame.Length < InternetHeader + 20)
        {
            return type == Arp;
        }
        int segment = InternetHeader + (4 * (frame[InternetHeader] & 0xF));
        return frame[Protocol] == Tcp
            && (BinaryPrimitives.ReadUInt16BigEndian(frame[Fragment..]) & FragmentMask) == 0
            && frame.Length > segment + TcpFlags
            && (frame[segment + TcpFlags] & Synchronize) == 0;
    }
}
