// The network of 2007 with the host at its other end (ABI 10.11), as its user describes it.

using System.Net;
using System.Text;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Network;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Network;
using Lguest.Platform;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>A network interface whose other end is an interface of the host, which exists as long as the machine.</summary>
/// <remarks>It needs the capability CAP_NET_ADMIN, on Linux.</remarks>
public sealed record TapNetworkOptions : DeviceOptions
{
    private TapNetworkOptions(IPAddress? address, string? bridge)
    {
        Address = address;
        Bridge = bridge;
    }

    /// <summary>The IPv4 address of the host's end, or null with a bridge.</summary>
    public IPAddress? Address { get; }

    /// <summary>The bridge that the host's end joins, or null with an address.</summary>
    public string? Bridge { get; }

    /// <summary>An interface with an address of its own.</summary>
    public static TapNetworkOptions WithAddress(IPAddress address) => new(address, null);

    /// <summary>An interface that joins a bridge of the host.</summary>
    public static TapNetworkOptions InBridge(string bridge) => new(null, bridge);

    internal override Device Open(ILogger logger) => new NetworkDevice(OpenBackEnd(logger));

    internal override VirtioDevice OpenVirtio(ILogger logger) => new VirtioNetworkDevice(OpenBackEnd(logger), HardwareAddress.MakeRandom());

    // L:195 The host as a member of the Guest's network: a TAP interface looks to the host like a network card, but what is sent through
    // it comes out of a file descriptor here, and what is written to the descriptor arrives as if from a cable. To make one takes a
    // capability that ordinary users do not have. The one who lacks it is told what else he can do.
    private TapBackEnd OpenBackEnd(ILogger logger)
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new MachineConfigurationException("TAP networks exist on Linux only.");
        }
        if (Bridge != null && Encoding.UTF8.GetByteCount(Bridge) is 0 or > TapInterface.LongestName)
        {
            throw new MachineConfigurationException($"'{Bridge}' cannot be a bridge: names of interfaces have 1 to {TapInterface.LongestName} bytes.");
        }
        TapInterface? tap = null;
        try
        {
            tap = new TapInterface();
            if (Bridge != null)
            {
                tap.JoinBridge(Bridge);
            }
            else
            {
                tap.SetAddress(Address!);
            }
            tap.BringUp();
            NetworkMessages.LogInterface(logger, tap.Name);
            return new TapBackEnd(tap);
        }
        catch (UnauthorizedAccessException error)
        {
            tap?.Dispose();
            throw new MachineConfigurationException(
                $"A TAP network needs the capability CAP_NET_ADMIN: run as root, or use a user-mode network, --net=user ({error.Message}).", error);
        }
        catch (IOException error)
        {
            tap?.Dispose();
            throw new MachineConfigurationException($"The TAP network cannot be had: {error.Message}.", error);
        }
    }
    // :*
}
