// What stands behind --net=, --tunnet= and --sharenet=.

using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal static class NetworkValues
{
    private const string ForwardForm = "hostfwd=tcp:[ADDRESS]:PORT-[GUEST]:PORT, such as hostfwd=tcp::2222-:22";

    /// <summary>Reads <c>user[,hostfwd=...]...</c>.</summary>
    /// <exception cref="CommandException">The text makes no sense.</exception>
    public static DeviceOptions ReadUser(string text)
    {
        string[] parts = text.Split(',');
        if (parts[0] != "user")
        {
            throw new CommandException($"--net={text}: the only kind of network is 'user'");
        }
        return new UserNetworkOptions { Forwards = [.. parts.Skip(1).Select(ReadForward)] };
    }

    /// <summary>Reads an IPv4 address or <c>bridge:NAME</c>.</summary>
    /// <exception cref="CommandException">The text makes no sense.</exception>
    public static DeviceOptions ReadTap(string text)
    {
        const string BridgePrefix = "bridge:";
        return text.StartsWith(BridgePrefix, StringComparison.Ordinal) ? TapNetworkOptions.InBridge(text[BridgePrefix.Length..])
            : TryReadAddress(text, out IPAddress address) ? TapNetworkOptions.WithAddress(address)
            : throw new CommandException($"--tunnet={text} is neither an IPv4 address such as 192.168.19.1 nor bridge:NAME");
    }

    private static PortForward ReadForward(string text)
    {
        string[] ends = text.Split('-');
        string[] host = ends[0].Split(':');
        if (ends.Length != 2 || host is not [_, string hostAddress, string hostPort] || ends[1].Split(':') is not [string guestAddress, string guestPort])
        {
            throw new CommandException($"'{text}' is not {ForwardForm}");
        }
        ProtocolType protocol = host[0] switch
        {
            "hostfwd=tcp" => ProtocolType.Tcp,
            "hostfwd=udp" => ProtocolType.Udp,
            _ => throw new CommandException($"'{text}' is not {ForwardForm}"),
        };
        return new PortForward(
            protocol,
            new IPEndPoint(hostAddress.Length == 0 ? IPAddress.Loopback : ReadAddress(hostAddress, text), ReadPort(hostPort, text)),
            new IPEndPoint(guestAddress.Length == 0 ? UserNetworkOptions.GuestAddress : ReadAddress(guestAddress, text), ReadPort(guestPort, text)));
    }

    private static IPAddress ReadAddress(string text, string whole) =>
        TryReadAddress(text, out IPAddress address) ? address : throw new CommandException($"'{whole}': {text} is not an IPv4 address such as 127.0.0.1");

    private static int ReadPort(string text, string whole) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) && port is > 0 and <= ushort.MaxValue
            ? port
            : throw new CommandException($"'{whole}': '{text}' is not a port from 1 to {ushort.MaxValue}");

    /// <summary>Reads four decimal numbers; the runtime's parser would also take one, two or three, and other bases.</summary>
    private static bool TryReadAddress(string text, out IPAddress address)
    {
        byte[] bytes = [.. text.Split('.').Select(static part => byte.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out byte value) ? value : -1)
            .TakeWhile(static value => value >= 0).Select(static value => (byte)value)];
        bool good = bytes.Length == 4 && text.Count(static c => c == '.') == 3;
        address = good ? new IPAddress(bytes) : IPAddress.None;
        return good;
    }
}
