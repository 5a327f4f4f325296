// The network without privilege, against the real library and servers on the loopback interface.

using System.Net;
using System.Net.Sockets;
using System.Text;
using Lguest.Launcher.Devices.Network;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Network;

public sealed class UserNetworkTests : IDisposable
{
    private TestInterface guest = null!;

    public void Dispose() => guest?.Dispose();

    [Fact]
    public void TheHostAnswersArpAndDhcp()
    {
        Open();
        Assert.True(guest.Send(Packet.ArpRequest(Packet.HostAddress)) > 0);
        byte[] reply = guest.Receive(static frame => Packet.IsArp(frame, 2));
        Assert.Equal([0x52, 0x55, 10, 0, 2, 2], reply[22..28]);

        guest.Send(Packet.DhcpDiscover());
        byte[] offer = guest.Receive(static frame => Packet.Is(frame, ProtocolType.Udp) && Packet.Port(frame, source: false) == 68);
        Assert.Equal([10, 0, 2, 15], Packet.Data(offer)[16..20]);
    }

    [Fact]
    public void DatagramsReachTheHostsLoopbackAndComeBack()
    {
        Open();
        using var server = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        server.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        guest.Send(Packet.ArpRequest(Packet.HostAddress));
        guest.Send(Packet.Udp(Packet.GuestAddress, 1111, Packet.HostAddress, ((IPEndPoint)server.LocalEndPoint!).Port, "ping"u8.ToArray()));
        byte[] buffer = new byte[100];
        EndPoint from = new IPEndPoint(IPAddress.Any, 0);
        server.ReceiveTimeout = 20_000;
        Assert.Equal("ping", Encoding.ASCII.GetString(buffer, 0, server.ReceiveFrom(buffer, ref from)));
        server.SendTo("pong"u8, from);
        Assert.Equal("pong"u8, Packet.Data(guest.Receive(static frame => Packet.Is(frame, ProtocolType.Udp) && Packet.Port(frame, source: false) == 1111)));
    }

    [Fact]
    public async Task AConnectionCarriesBytesBothWays()
    {
        Open();
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        var connection = new TestConnection(guest, ((IPEndPoint)server.LocalEndpoint).Port);
        using TcpClient client = await server.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        connection.Send("GET"u8.ToArray());
        byte[] request = new byte[3];
        await client.GetStream().ReadExactlyAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal("GET"u8, request);

        byte[] answer = new byte[300_000];
        new Random(7).NextBytes(answer);
        Task writing = client.GetStream().WriteAsync(answer, TestContext.Current.CancellationToken).AsTask();
        Assert.Equal(answer, connection.Receive(answer.Length));
        await writing;
    }

    [Fact]
    public async Task AServerThatIsFasterThanTheGuestHasToWait()
    {
        Open();
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        var connection = new TestConnection(guest, ((IPEndPoint)server.LocalEndpoint).Port);
        using TcpClient client = await server.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
        byte[] sent = new byte[16 << 20];
        new Random(8).NextBytes(sent);
        Task writing = client.GetStream().WriteAsync(sent, TestContext.Current.CancellationToken).AsTask();

        // The Guest has no buffer: frames come to wait, but only some.
        guest.FreeBuffers = 0;
        guest.WaitForWake();
        await Task.WhenAny(writing, Task.Delay(500, TestContext.Current.CancellationToken));
        Assert.False(writing.IsCompleted);
        Assert.InRange(guest.Device.WaitingInput, 1, FrameQueue.Capacity);

        guest.FreeBuffers = int.MaxValue;
        Assert.Equal(sent, connection.Receive(sent.Length));
        await writing;
    }

    [Fact]
    public async Task APortOfTheHostLeadsIntoTheGuest()
    {
        int port = FreePort();
        Open(new PortForward(ProtocolType.Tcp, new IPEndPoint(IPAddress.Loopback, port), new IPEndPoint(UserNetworkOptions.GuestAddress, 22)));
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, port, TestContext.Current.CancellationToken);
        guest.Receive(static frame => Packet.IsArp(frame, 1));
        guest.Send(Packet.ArpReply());
        byte[] syn = guest.Receive(static frame => Packet.IsTcp(frame, Packet.Syn));
        Assert.Equal(22, Packet.Port(syn, source: false));
        int peer = Packet.Port(syn, source: true);
        uint next = Packet.Sequence(syn) + 1;
        guest.Send(Packet.Tcp(22, Packet.HostAddress, peer, 5000, next, Packet.Syn | Packet.Ack, []));
        guest.Receive(static frame => Packet.IsTcp(frame, Packet.Ack));
        guest.Send(Packet.Tcp(22, Packet.HostAddress, peer, 5001, next, Packet.Ack | Packet.Push, "SSH"u8.ToArray()));
        byte[] hello = new byte[3];
        await client.GetStream().ReadExactlyAsync(hello, TestContext.Current.CancellationToken);
        Assert.Equal("SSH"u8, hello);
    }

    [Theory]
    [InlineData(ProtocolType.Tcp)]
    [InlineData(ProtocolType.Udp)]
    public void ATakenPortIsOneClearLine(ProtocolType protocol)
    {
        int port = FreePort();
        var forward = new PortForward(protocol, new IPEndPoint(IPAddress.Loopback, port), new IPEndPoint(UserNetworkOptions.GuestAddress, 22));
        Open(forward);
        var error = Assert.Throws<MachineConfigurationException>(() => new UserNetworkOptions { Forwards = [forward] }.Open(NullLogger.Instance));
        Assert.Equal($"The host's {protocol.ToString().ToUpperInvariant()} port 127.0.0.1:{port} cannot be forwarded: Address already in use", error.Message);
        guest.Dispose();
        new UserNetworkOptions { Forwards = [forward] }.Open(NullLogger.Instance).Dispose();
    }

    [Fact]
    public void OnlyTheGuestsNetworkCanBeForwardedTo()
    {
        var forward = new PortForward(ProtocolType.Tcp, new IPEndPoint(IPAddress.Loopback, FreePort()), new IPEndPoint(IPAddress.Parse("192.168.1.1"), 22));
        Assert.Contains("192.168.1.1 is no address of the Guest's",
            Assert.Throws<MachineConfigurationException>(() => new UserNetworkOptions { Forwards = [forward] }.Open(NullLogger.Instance)).Message);
    }

    [Fact]
    public void AGuestThatOpensThousandsOfConnectionsUsesABoundedNumberOfDescriptors()
    {
        Open();
        using var server = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        server.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        int port = ((IPEndPoint)server.LocalEndPoint!).Port;
        int before = Descriptors();
        for (int i = 0; i < 5000; i++)
        {
            byte[] frame = Packet.Udp(Packet.GuestAddress, 2000 + i, Packet.HostAddress, port, [1]);
            while (guest.Send(frame) == 0)
            {
                Thread.Yield();
            }
        }
        // An answer to ARP comes after everything that was sent before.
        guest.Send(Packet.ArpRequest(Packet.HostAddress));
        guest.Receive(static frame => Packet.IsArp(frame, 2));
        int opened = Descriptors() - before;
        Assert.InRange(opened, UserNetworkBackEnd.MaximumSockets / 2, UserNetworkBackEnd.MaximumSockets + 100);

        static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;
    }

    [Fact]
    public void ATwistedGuestGetsNoFurtherThanItsOwnNetwork()
    {
        Open();
        const int Seed = 20071005;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {Seed}");
        var random = new Random(Seed);
        byte[][] samples =
        [
            Packet.ArpRequest(Packet.HostAddress), Packet.DhcpDiscover(), Packet.Udp(Packet.GuestAddress, 9, Packet.HostAddress, 9, new byte[1000]),
            Packet.Tcp(9, Packet.HostAddress, 9, 1, 1, Packet.Syn, []), Packet.Tcp(9, Packet.HostAddress, 9, 2, 1, Packet.Ack, new byte[500]),
        ];
        for (int i = 0; i < 20_000; i++)
        {
            byte[] frame = [.. samples[random.Next(samples.Length)]];
            for (int changes = random.Next(6); changes > 0; changes--)
            {
                frame[random.Next(14, frame.Length)] = (byte)random.Next();
            }
            // What it may not do is to leave this host: nobody else is asked anything.
            if (frame[12] == 8 && frame[13] == 0)
            {
                Packet.HostAddress.GetAddressBytes().CopyTo(frame, 30);
            }
            while (guest.Send(frame[..random.Next(14, frame.Length + 1)]) == 0)
            {
                Thread.Yield();
            }
        }
        guest.Send(Packet.ArpRequest(Packet.HostAddress));
        guest.Receive(static frame => Packet.IsArp(frame, 2));
    }

    [Fact]
    public void OnlySegmentsOfOpenConnectionsAndArpOpenNothing()
    {
        Assert.True(UserNetworkBackEnd.OpensNothing(Packet.ArpRequest(Packet.HostAddress)));
        Assert.True(UserNetworkBackEnd.OpensNothing(Packet.Tcp(1, Packet.HostAddress, 2, 3, 4, Packet.Ack, [])));
        Assert.False(UserNetworkBackEnd.OpensNothing(Packet.Tcp(1, Packet.HostAddress, 2, 3, 4, Packet.Syn, [])));
        Assert.False(UserNetworkBackEnd.OpensNothing(Packet.DhcpDiscover()));
        byte[] segment = Packet.Tcp(1, Packet.HostAddress, 2, 3, 4, Packet.Ack, []);
        for (int length = 14; length < segment.Length - 6; length++)
        {
            Assert.False(UserNetworkBackEnd.OpensNothing(segment.AsSpan(0, length)));
        }
        segment[20] = 0x20;
        Assert.False(UserNetworkBackEnd.OpensNothing(segment));
    }

    private void Open(params PortForward[] forwards)
    {
        guest = new TestInterface(new UserNetworkOptions { Forwards = forwards }.Open(NullLogger.Instance));
        guest.Start();
    }

    private static int FreePort()
    {
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        return ((IPEndPoint)server.LocalEndpoint).Port;
    }

    /// <summary>The Guest's side of a TCP connection to the host's loopback.</summary>
    private sealed class TestConnection
    {
        private readonly TestInterface guest;
        private readonly int port;
        private uint sequence = 1001;
        private uint acknowledged;

        public TestConnection(TestInterface guest, int port)
        {
            this.guest = guest;
            this.port = port;
            guest.Send(Packet.ArpRequest(Packet.HostAddress));
            guest.Send(Packet.Tcp(1234, Packet.HostAddress, port, 1000, 0, Packet.Syn, []));
            acknowledged = Packet.Sequence(guest.Receive(static frame => Packet.IsTcp(frame, Packet.Syn | Packet.Ack))) + 1;
            Send([]);
        }

        public void Send(byte[] data)
        {
            guest.Send(Packet.Tcp(1234, Packet.HostAddress, port, sequence, acknowledged, Packet.Ack, data));
            sequence += (uint)data.Length;
        }

        /// <summary>Receives bytes, acknowledging them; what comes out of order comes again.</summary>
        public byte[] Receive(int length)
        {
            var bytes = new MemoryStream();
            while (bytes.Length < length)
            {
                byte[] frame = guest.Receive(static frame => Packet.IsTcp(frame, Packet.Ack));
                byte[] data = Packet.Data(frame);
                if (data.Length > 0 && Packet.Sequence(frame) == acknowledged)
                {
                    bytes.Write(data);
                    acknowledged += (uint)data.Length;
                }
                Send([]);
            }
            return bytes.ToArray();
        }
    }
}
