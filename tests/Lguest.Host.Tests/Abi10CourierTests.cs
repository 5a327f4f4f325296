// DMA between processes when one side does not behave: strangers at the mailbox, receivers that lie, stall or leave. The other side is a bare
// socket here, so that it can do what our own code never would.

using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Lguest.Host.Tests;

public sealed partial class Abi10CourierTests : IDisposable
{
    private const uint List = TestGuest.Scratch;
    private const uint Array = TestGuest.Dma;
    private const uint Data = 0x7_8000;
    private const uint Buffer = 0x8_8000;
    private const uint Untouched = 0x1234_5678;
    private const uint Slot = 1;

    private static readonly byte[] Message = [.. Enumerable.Range(1, 64).Select(static i => (byte)i)];

    private readonly GuestNetwork network = new(Hosts.Each);

    /// <summary>What is no request: too short, too long, a wrong mark, an end that does not exist, bytes behind a bad list.</summary>
    public static TheoryData<string, int> Garbage => new()
    {
        { "", 1 },
        { "LGD1", 4 },
        { "LGD1\0\0\0", 7 },
        { "LGD1\0\0\0\0", CourierProtocol.MaximumRequest + 1 },
        { "LGD1\0\0\0\0", 100_000 },
        { "LGD2\0\0\0\0", 72 },
        { "LGD1\u0004\0\0\0", 8 },
        { "LGD1\0\0\0\u0001", 8 },
        { "LGD1\u0002\0\0\0", 9 },
        { "LGD1\u0003\0\0\0", 72 },
    };

    /// <summary>What is no reply to 64 good bytes: wrong lengths and marks, more than was sent, blame for a good list, a verdict that does not exist.</summary>
    public static TheoryData<string> Lies =>
    [
        "L",
        "LGD1\u0002\0\0\0@\0\0",
        "LGD1\u0002\0\0\0@\0\0\0\0",
        "LGD2\u0002\0\0\0@\0\0\0",
        "LGD1\u0002\0\0\0A\0\0\0",
        "LGD1\u0003\0\0\0\0\0\0\0",
        "LGD1\0\0\0\0\u0001\0\0\0",
        "LGD1\u0001\0\0\0\u0001\0\0\0",
        "LGD1\u0004\0\0\0\0\0\0\0",
    ];

    public void Dispose() => network.Dispose();

    [Theory]
    [MemberData(nameof(Garbage))]
    public void Abi_10_6_WhoeverSendsNonsense_IsLeft_AndNobodyElseNotices(string start, int length)
    {
        GuestOnNetwork receiver = Receiver();
        using Socket stranger = Connect(receiver);
        byte[] garbage = new byte[length];
        System.Text.Encoding.Latin1.GetBytes(start).CopyTo(garbage, 0);
        stranger.Send(garbage);
        Assert.Equal(0, Receive(stranger, new byte[100]));
        Assert.False(receiver.IsNotified);
        Assert.Null(receiver.DeathReason);
        AssertArrives(Sender(), receiver);
    }

    [Fact]
    public void Abi_10_6_RandomRequests_ReachNothingButTheBuffers()
    {
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        GuestOnNetwork receiver = Receiver();
        byte[] before = receiver.Bytes(Buffer + 64, 0x1_0000);
        for (int i = 0; i < 300; i++)
        {
            using Socket stranger = Connect(receiver);
            byte[] request = new byte[random.Next(1, random.Next(2) == 0 ? 200 : CourierProtocol.MaximumRequest + 100)];
            random.NextBytes(request);
            if (random.Next(4) != 0)
            {
                "LGD1"u8[..Math.Min(4, request.Length)].CopyTo(request);
            }
            if (random.Next(2) == 0 && request.Length >= 8)
            {
                BitConverter.TryWriteBytes(request.AsSpan(4), random.Next(5));
            }
            stranger.Send(request);
            _ = Receive(stranger, new byte[100]);
            receiver.Guest.SetWord(Array, 0);
        }
        Assert.Null(receiver.DeathReason);
        Assert.Equal(before, receiver.Bytes(Buffer + 64, 0x1_0000));
        AssertArrives(Sender(), receiver);
    }

    [Fact]
    public void Abi_10_6_CallersWhoStay_DoNotKeepOthersOut()
    {
        GuestOnNetwork receiver = Receiver();
        GuestOnNetwork early = Sender();
        AssertArrives(early, receiver);
        var idle = new List<Socket>();
        try
        {
            for (int i = 0; i < Mailbox.MaximumCallers + 50; i++)
            {
                idle.Add(Connect(receiver));
            }
            // The connection of the first Guest had to make room; it gets another one.
            AssertArrivesAtLast(early, receiver);
            AssertArrivesAtLast(Sender(), receiver);
        }
        finally
        {
            idle.ForEach(static socket => socket.Dispose());
        }
    }

    [Fact]
    public void Abi_10_6_AFloodWithoutListening_DoesNotKeepOthersOut()
    {
        GuestOnNetwork receiver = Receiver();
        using Socket flood = Connect(receiver);
        flood.SendTimeout = 100;
        SocketError error;
        do
        {
            // Good requests whose answers nobody reads: in the end both directions are full.
            flood.Send([.. "LGD1\0\0\0\0"u8, .. Message], SocketFlags.None, out error);
        }
        while (error == SocketError.Success);
        receiver.Guest.SetWord(Array, 0);
        AssertArrivesAtLast(Sender(), receiver);
        receiver.Dispose();
    }

    [Theory]
    [MemberData(nameof(Lies))]
    public async Task Abi_10_6_AReceiverThatLies_IsLeft_AndTheSenderLives(string reply)
    {
        GuestOnNetwork sender = Sender();
        using Socket liar = Listen(sender);
        Task lying = Answer(liar, System.Text.Encoding.Latin1.GetBytes(reply));
        sender.Send(Slot, List);
        Assert.Equal(0u, sender.Guest.Word(List));
        Assert.Null(sender.DeathReason);
        await lying;
    }

    [Fact]
    public async Task Abi_10_6_AReceiverThatDiesInTheMiddle_GotNothing_AndTheNextOneIsFound()
    {
        GuestOnNetwork sender = Sender();
        using (Socket victim = Listen(sender))
        {
            Task dying = Answer(victim, []);
            sender.Send(Slot, List);
            await dying;
        }
        Assert.Equal(0u, sender.Guest.Word(List));
        AssertArrives(sender, Receiver());
    }

    [Fact]
    public void Abi_10_6_AReceiverThatDoesNotAnswer_IsLeftAlone_AndItsLateAnswerIsNobodys()
    {
        GuestOnNetwork sender = Sender();
        sender.Guest.Host.Courier.Patience = 5;
        sender.Guest.Host.Courier.Silence = TimeSpan.FromDays(1);
        using Socket stalled = Listen(sender);
        sender.Send(Slot, List);
        Assert.Equal(0u, sender.Guest.Word(List));
        sender.Guest.SetWord(List, Untouched);
        sender.Send(Slot, List);
        Assert.Equal(Untouched, sender.Guest.Word(List));

        // One message came, in spite of two; behind it the connection is closed.
        using Socket connection = stalled.Accept();
        byte[] request = new byte[CourierProtocol.MaximumRequest];
        Assert.Equal(CourierProtocol.HeaderSize + Message.Length, Receive(connection, request));
        Assert.Equal(0, Receive(connection, request));
        Assert.False(stalled.Poll(0, SelectMode.SelectRead));
    }

    [Fact]
    public void Abi_10_6_AReceiverThatDoesNotAccept_CostsNoMoreThanThePatience()
    {
        GuestOnNetwork sender = Sender();
        sender.Guest.Host.Courier.Patience = 5;
        using Socket stalled = Listen(sender, backlog: 0);
        using Socket waiting = Connect(sender);
        sender.Send(Slot, List);
        Assert.Equal(Untouched, sender.Guest.Word(List));
        Assert.Null(sender.DeathReason);
    }

    [Fact]
    public void Abi_10_4_ANameThatAnotherProcessHas_IsTakenOverWhenThatOneEnds()
    {
        GuestOnNetwork first = Receiver();
        GuestOnNetwork second = Receiver();
        GuestOnNetwork sender = Sender();
        AssertArrives(sender, first);
        Assert.Equal(0u, second.Guest.Word(Array));
        first.Dispose();
        AssertArrivesAtLast(sender, second);
    }

    [Fact]
    public void Abi_10_6_AGuestDoesNotSendToItself_ThroughItsOwnMailbox()
    {
        GuestOnNetwork alone = Receiver();
        alone.List(List, Untouched, (Data, 64));
        alone.Send(Slot, List);
        Assert.Equal((Untouched, 0u), (alone.Guest.Word(List), alone.Guest.Word(Array)));
        Assert.False(alone.IsNotified);
    }

    [Fact]
    public void Abi_10_5_TheLastBindingOfAKey_ClosesItsMailbox()
    {
        GuestOnNetwork receiver = Receiver();
        Assert.True(receiver.Bind(Slot, Array, 1));
        Assert.True(receiver.Bind(Slot + 1, Array, 1));
        GuestOnNetwork sender = Sender();
        AssertArrives(sender, receiver);
        Assert.NotEqual(0, Sockets(receiver, Slot));
        Assert.True(receiver.Bind(Slot, Array, 0, 0));
        Assert.NotEqual(0, Sockets(receiver, Slot));
        Assert.True(receiver.Bind(Slot, Array, 0, 0));
        SpinWait.SpinUntil(() => Sockets(receiver, Slot) == 0, TimeSpan.FromSeconds(60));
        Assert.Equal(0, Sockets(receiver, Slot));
        sender.Guest.SetWord(List, Untouched);
        sender.Send(Slot, List);
        Assert.Equal(Untouched, sender.Guest.Word(List));
        Assert.NotEqual(0, Sockets(receiver, Slot + 1));
    }

    [Fact]
    public void Abi_3_5_Close_EndsMailboxesAndConnections()
    {
        for (int i = 0; i < 20; i++)
        {
            GuestOnNetwork receiver = Receiver();
            GuestOnNetwork sender = Sender();
            AssertArrivesAtLast(sender, receiver);
            if (i % 2 == 0)
            {
                sender.Dispose();
                receiver.Dispose();
            }
            else
            {
                receiver.Dispose();
                sender.Dispose();
            }
            SpinWait.SpinUntil(() => Sockets(receiver, Slot) == 0, TimeSpan.FromSeconds(60));
            Assert.Equal(0, Sockets(receiver, Slot));
        }
    }

    [Fact]
    public void Abi_10_4_AnotherUser_NeitherReachesNorReceives()
    {
        if (!Environment.IsPrivilegedProcess || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return;
        }
        GuestOnNetwork receiver = Receiver();
        AsNobody(() =>
        {
            using Socket stranger = Connect(receiver);
            stranger.Send([.. "LGD1\0\0\0\0"u8, .. Message], SocketFlags.None, out _);
            Assert.True(Receive(stranger, new byte[100]) <= 0);
        });
        Assert.Equal(0u, receiver.Guest.Word(Array));
        receiver.Dispose();

        GuestOnNetwork sender = Sender();
        Socket? thief = null;
        AsNobody(() => thief = Listen(sender));
        sender.Send(Slot, List);
        Assert.Equal(Untouched, sender.Guest.Word(List));
        using Socket connection = thief!.Accept();
        Assert.Equal(0, Receive(connection, new byte[100]));
        thief.Dispose();
    }

    /// <summary>Runs on a thread that belongs to the user nobody: the kernel keeps users by thread, only the C library does not.</summary>
    private static void AsNobody(Action action)
    {
        const int SetUsers = 117;
        const nint Nobody = 65534;
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Assert.Equal(0, SystemCall(SetUsers, Nobody, Nobody, Nobody));
                action();
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        Assert.Null(failure);
    }

    private static DmaKey Key(GuestOnNetwork guest, uint slot) => new(guest.FileIdentity, 0, 4 * slot);

    private static Socket Connect(GuestOnNetwork guest)
    {
        Socket socket = CourierProtocol.CreateSocket();
        socket.Connect(CourierProtocol.Address(Key(guest, Slot)));
        return socket;
    }

    private static Socket Listen(GuestOnNetwork guest, int backlog = 10)
    {
        Socket socket = CourierProtocol.CreateSocket();
        socket.Bind(CourierProtocol.Address(Key(guest, Slot)));
        socket.Listen(backlog);
        return socket;
    }

    /// <summary>Takes one message and answers it; with nothing to say it leaves.</summary>
    private static Task Answer(Socket listener, byte[] reply) => Task.Run(() =>
    {
        using Socket connection = listener.Accept();
        Assert.Equal(CourierProtocol.HeaderSize + Message.Length, Receive(connection, new byte[CourierProtocol.MaximumRequest]));
        if (reply.Length != 0)
        {
            connection.Send(reply);
            Assert.Equal(0, Receive(connection, new byte[100]));
        }
    });

    /// <summary>Length of the next message; 0 at the end, however that came; -1 when nothing comes.</summary>
    private static int Receive(Socket socket, byte[] buffer)
    {
        socket.ReceiveTimeout = 60_000;
        int length = socket.Receive(buffer, SocketFlags.None, out SocketError error);
        return error == SocketError.ConnectionReset ? 0 : error == SocketError.Success ? length : -1;
    }

    /// <summary>How many ends of sockets the host system knows by the name of a key.</summary>
    private static int Sockets(GuestOnNetwork guest, uint slot) =>
        File.ReadLines("/proc/net/unix").Count(line => line.EndsWith($"@lguest/dma/{guest.FileIdentity}/0/{4 * slot}", StringComparison.Ordinal));

    private static void AssertArrives(GuestOnNetwork sender, GuestOnNetwork receiver)
    {
        receiver.Fill(Buffer, new byte[64]).Guest.SetWord(Array, 0);
        sender.Guest.SetWord(List, Untouched);
        sender.Send(Slot, List);
        Assert.Equal((64u, 64u), (sender.Guest.Word(List), receiver.Guest.Word(Array)));
        Assert.Equal(Message, receiver.Bytes(Buffer, 64));
    }

    /// <summary>Sends as a network does, again and again until it arrives.</summary>
    private static void AssertArrivesAtLast(GuestOnNetwork sender, GuestOnNetwork receiver)
    {
        SpinWait.SpinUntil(
            () =>
            {
                sender.Send(Slot, List);
                return receiver.Guest.Word(Array) == 64;
            },
            TimeSpan.FromSeconds(60));
        AssertArrives(sender, receiver);
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint SystemCall(nint number, nint first, nint second, nint third);

    private GuestOnNetwork Sender() => network.Join().List(List, Untouched, (Data, 64)).Fill(Data, Message);

    private GuestOnNetwork Receiver()
    {
        GuestOnNetwork receiver = network.Join().List(Array, 0, (Buffer, 64));
        Assert.True(receiver.Bind(Slot, Array, 1));
        return receiver;
    }
}
