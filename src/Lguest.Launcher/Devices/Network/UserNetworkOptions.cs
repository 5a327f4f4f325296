// The network that needs nobody's permission, as its user describes it.

using System.Net;
using System.Net.Sockets;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Network;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Network;
using Lguest.Platform;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>Connections or datagrams for a port of the host that go to a port of the Guest.</summary>
/// <param name="Protocol">TCP or UDP.</param>
/// <param name="Host">Where the host listens; IPv4.</param>
/// <param name="Guest">Where the Guest does; an address of 10.0.2.0/24.</param>
public sealed record PortForward(ProtocolType Protocol, IPEndPoint Host, IPEndPoint Guest)
{
    /// <summary>Whether an address is one that a Guest can have.</summary>
    public static bool IsGuestAddress(IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        return address.GetAddressBytes() is [10, 0, 2, > 3 and < 255];
    }
}

/// <summary>A network interface that reaches what this process reaches, without privilege.</summary>
/// <remarks>The network is 10.0.2.0/24: DHCP gives 10.0.2.15, the host with its loopback services is 10.0.2.2, a name server 10.0.2.3.
/// It needs the library libslirp, on Linux.</remarks>
public sealed record UserNetworkOptions : DeviceOptions
{
    /// <summary>The address that DHCP gives to the Guest.</summary>
    public static IPAddress GuestAddress => Slirp.Guest;

    /// <summary>Ports of the host that lead into the Guest.</summary>
    public IReadOnlyList<PortForward> Forwards { get; init; } = [];

    internal override Device Open(ILogger logger) => new NetworkDevice(OpenBackEnd());

    internal override VirtioDevice OpenVirtio(ILogger logger) => new VirtioNetworkDevice(OpenBackEnd(), HardwareAddress.MakeRandom());

    private UserNetworkBackEnd OpenBackEnd()
    {
        if (!Slirp.IsAvailable)
        {
            throw new MachineConfigurationException("A user-mode network needs the library libslirp: apt-get install libslirp0");
        }
        var backEnd = new UserNetworkBackEnd();
        try
        {
            foreach (PortForward forward in Forwards)
            {
                backEnd.Forward(forward);
            }
            return backEnd;
        }
        catch
        {
            backEnd.Dispose();
            throw;
        }
    }
}
