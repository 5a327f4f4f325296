// The network with the host (ABI 10.11), in a network namespace that the test makes for itself: it needs the capability that the option
// needs, and is skipped without it. A thread is in a namespace, not a process; so each test has a thread of its own.

using System.Net;
using System.Net.Sockets;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Network;

public partial class TapNetworkTests
{
    private const uint GetFlags = 0x8913, GetAddress = 0x8915, GetHardwareAddress = 0x8927, GetIndex = 0x8933, AddBridge = 0x89A0, LeaveBridge = 0x89A3;

    private static readonly IPAddress HostAddress = IPAddress.Parse("192.168.19.1");

    [Fact]
    public void Abi_10_11_TheInterfaceIsUpWithItsAddressAndVanishesAtTheEnd() => InNamespace(static () =>
    {
        using (var guest = new TestInterface(TapNetworkOptions.WithAddress(HostAddress).Open(NullLogger.Instance)))
        {
            Assert.Equal(["lo", "tap0"], Interfaces());
            byte[] entry = new byte[6];
            guest.Memory.Read(TestInterface.Page, entry);
            byte[] address = Ask(GetHardwareAddress, "tap0")[18..24];
            address[0] |= 1;
            Assert.Equal(address, entry);
            Assert.Equal(HostAddress.GetAddressBytes(), Ask(GetAddress, "tap0")[20..24]);
            Assert.Equal(1, Ask(GetFlags, "tap0")[16] & 1);
            using (new TestInterface(TapNetworkOptions.WithAddress(IPAddress.Parse("192.168.20.1")).Open(NullLogger.Instance)))
            {
                Assert.Equal(["lo", "tap0", "tap1"], Interfaces());
            }
        }
        Assert.Equal(["lo"], Interfaces());
    });

    [Fact]
    public void Abi_10_11_PacketsReachTheHostAndComeBack() => InNamespace(static () =>
    {
        using var guest = new TestInterface(TapNetworkOptions.WithAddress(HostAddress).Open(NullLogger.Instance));
        guest.Start();
        using var server = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        server.Bind(new IPEndPoint(HostAddress, 0));

        byte[] question = Packet.ArpRequest(HostAddress);
        IPAddress own = IPAddress.Parse("192.168.19.2");
        own.GetAddressBytes().CopyTo(question, 28);
        Assert.Equal((uint)question.Length, guest.Send(question));
        byte[] answer = guest.Receive(static frame => Packet.IsArp(frame, 2));
        byte[] datagram = Packet.Udp(own, 1111, HostAddress, ((IPEndPoint)server.LocalEndPoint!).Port, [.. Enumerable.Repeat((byte)9, 1400)]);
        answer.AsSpan(22, 6).CopyTo(datagram);
        Assert.Equal((uint)datagram.Length, guest.Send(datagram));
        byte[] buffer = new byte[2000];
        EndPoint from = new IPEndPoint(IPAddress.Any, 0);
        server.ReceiveTimeout = 20_000;
        Assert.Equal(1400, server.ReceiveFrom(buffer, ref from));
        server.SendTo(buffer.AsSpan(0, 1400), from);
        Assert.Equal(buffer[..1400], Packet.Data(guest.Receive(static frame => Packet.Is(frame, ProtocolType.Udp) && Packet.Port(frame, source: false) == 1111)));
    });

    [Fact]
    public void Abi_10_11_ABridgeIsJoined() => InNamespace(static () =>
    {
        using Socket socket = MakeSocket();
        Assert.Equal(0, MakeBridge(socket.SafeHandle, AddBridge, "br-test"));
        using (TapNetworkOptions.InBridge("br-test").Open(NullLogger.Instance))
        {
            Assert.Equal(["br-test", "lo", "tap0"], Interfaces());
            // Only a member can leave.
            Ask(LeaveBridge, "br-test", Ask(GetIndex, "tap0")[16..20]);
        }
        Assert.Equal(["br-test", "lo"], Interfaces());
    });

    [Fact]
    public void ABridgeThatIsNotThereIsOneClearLineAndLeavesNoInterface() => InNamespace(static () =>
    {
        var error = Assert.Throws<MachineConfigurationException>(static () => TapNetworkOptions.InBridge("br-none").Open(NullLogger.Instance));
        Assert.Equal("The TAP network cannot be had: tap0 cannot join the bridge br-none: No such device.", error.Message);
        Assert.Equal(["lo"], Interfaces());
    });

    [Fact]
    public void AnAddressThatNoInterfaceCanHaveIsOneClearLine() => InNamespace(static () =>
    {
        var error = Assert.Throws<MachineConfigurationException>(static () => TapNetworkOptions.WithAddress(IPAddress.Parse("224.0.0.1")).Open(NullLogger.Instance));
        Assert.Equal("The TAP network cannot be had: tap0 cannot have the address 224.0.0.1: Invalid argument.", error.Message);
        Assert.Equal(["lo"], Interfaces());
    });

    private static void InNamespace(Action test)
    {
        const int NewNetwork = 0x4000_0000;
        ExceptionDispatchInfo? failure = null;
        bool permitted = true;
        var thread = new Thread(() =>
        {
            permitted = Unshare(NewNetwork) == 0 && File.Exists("/dev/net/tun");
            try
            {
                if (permitted)
                {
                    test();
                }
            }
            catch (Exception error)
            {
                failure = ExceptionDispatchInfo.Capture(error);
            }
        });
        thread.Start();
        thread.Join();
        failure?.Throw();
        Assert.SkipUnless(permitted, "needs CAP_NET_ADMIN, CAP_SYS_ADMIN and /dev/net/tun");
    }

    private static string[] Interfaces() => [.. File.ReadLines("/proc/thread-self/net/dev").Skip(2)
        .Select(static line => line.Split(':')[0].Trim()).Where(static name => !name.StartsWith("ifb", StringComparison.Ordinal) && name != "eth0").Order()];

    private static Socket MakeSocket() => new(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);

    /// <summary>Makes a request about an interface; <c>struct ifreq</c> has 40 bytes, of which 16 are the name.</summary>
    private static byte[] Ask(uint request, string name, byte[]? argument = null)
    {
        byte[] bytes = new byte[40];
        Encoding.ASCII.GetBytes(name).CopyTo(bytes, 0);
        argument?.CopyTo(bytes, 16);
        using Socket socket = MakeSocket();
        Assert.Equal(0, Control(socket.SafeHandle, request, bytes));
        return bytes;
    }

    [LibraryImport("libc", EntryPoint = "unshare")]
    private static partial int Unshare(int flags);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Control(SafeHandle socket, nuint request, [In, Out] byte[] argument);

    [LibraryImport("libc", EntryPoint = "ioctl", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeBridge(SafeHandle socket, nuint request, string name);
}
