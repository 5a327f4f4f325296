// ABI 10.2 to 10.7 between two Guests: who meets whom, what arrives, and who dies of what. No processor runs in most of these tests: a
// hypercall is made on the test's thread, so every step can be seen. All of it holds for Guests of one Host and of two.

using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public class Abi10SharedDmaTests : IDisposable
{
    private const uint List = TestGuest.Scratch;
    private const uint Array = TestGuest.Dma;
    private const uint Data = 0x7_8000;
    private const uint Buffer = 0x8_8000;
    private const uint Element = 100;
    private const uint Untouched = 0x1234_5678;

    private static readonly byte[] Message = [.. Enumerable.Range(1, 64).Select(static i => (byte)i)];

    private readonly GuestNetwork network;

    public Abi10SharedDmaTests()
        : this(Hosts.One)
    {
    }

    protected Abi10SharedDmaTests(Hosts hosts) => network = new GuestNetwork(hosts);

    public static TheoryData<int, uint> BadSections => new()
    {
        { 4097, 0x7_0000 },
        { 0xFFFF, 0x7_0000 },
        { 2, 0x7_0FFF },
        { 4096, 0x7_0001 },
        { 16, TestGuest.Top - 16 },
        { 1, TestGuest.Top },
        { 1, 0xFFFF_FFFF },
        { 16, 0xFFFF_F000 },
    };

    public void Dispose()
    {
        network.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public void Abi_10_4_SharedKeys_MeetAtWhateverAddress_AndNotAtTheLauncher()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        Assert.NotEqual(sender.Key(1), receiver.Key(1));
        sender.Send(1, List);
        Assert.Equal(Message, receiver.Bytes(Buffer, Message.Length));
        Assert.Equal(64u, receiver.Guest.Word(Array));
        Assert.Equal(64u, sender.Guest.Word(List));
        Assert.True(receiver.IsNotified);
        Assert.False(sender.IsNotified);
        Assert.False(sender.Guest.Guest.Io.HasPendingDma);
    }

    [Theory]
    [InlineData(2u)]
    [InlineData(1025u)]
    public void Abi_10_4_AnotherOffsetOrPage_IsAnotherKey(uint slot)
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        sender.Send(slot, List);
        AssertNothingHappened(sender, receiver);
    }

    [Fact]
    public void Abi_10_4_AnotherFile_IsAnotherKey()
    {
        string other = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(other, new byte[8192]);
            (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(otherFile: other);
            sender.Send(1, List);
            AssertNothingHappened(sender, receiver);
        }
        finally
        {
            File.Delete(other);
        }
    }

    [Fact]
    public void Abi_10_4_TheSameFileByAnotherPath_IsTheSameKey()
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }
        string link = network.FilePath + ".link";
        File.CreateSymbolicLink(link, network.FilePath);
        try
        {
            (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(otherFile: link);
            sender.Send(1, List);
            Assert.Equal(64u, receiver.Guest.Word(Array));
        }
        finally
        {
            File.Delete(link);
        }
    }

    [Fact]
    public void Abi_10_4_PrivatePagesAtTheSameAddress_DoNotMeet()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        receiver.Guest.Call((uint)Hypercall.BindDma, Data, Array, (1 << 8) | 5);
        sender.Guest.Call((uint)Hypercall.SendDma, Data, List);
        AssertNothingHappened(sender, receiver);
        Assert.True(sender.Guest.Guest.Io.HasPendingDma);
        Assert.Equal(Data, sender.Guest.Guest.Io.PendingKey);
    }

    [Fact]
    public void Abi_10_4_UnalignedSharedKeys_Kill()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        sender.Guest.Call((uint)Hypercall.SendDma, sender.SharedPage + 6, List);
        Assert.Equal("bad sending DMA key", sender.DeathReason);
        receiver.Guest.Call((uint)Hypercall.BindDma, receiver.SharedPage + 6, Array, (1 << 8) | 5);
        Assert.Equal($"bad dma key 0x{receiver.SharedPage + 6:x}", receiver.DeathReason);
    }

    [Fact]
    public void Abi_10_6_WithoutAPeer_NothingHappens_EvenToAListThatCannotBeRead()
    {
        GuestOnNetwork alone = network.Join().List(List, Untouched, (Data, 64)).List(Array, 0, (Buffer, 64));
        Assert.True(alone.Bind(1, Array, 1));
        alone.Send(1, List);
        alone.Send(1, 0xFFFF_FF00);
        AssertNothingHappened(alone, alone);
        Assert.Null(alone.DeathReason);
    }

    [Fact]
    public void Abi_10_6_TheNewestBindingOfAnotherGuest_Receives()
    {
        (GuestOnNetwork sender, GuestOnNetwork first) = Pair();
        GuestOnNetwork second = network.Join().List(Array, 0, (Buffer, 64)).List(Array + 0x200, 0, (Buffer, 64));
        Assert.True(second.Bind(1, Array, 1));
        Assert.True(second.Bind(1, Array + 0x200, 1));
        Assert.True(sender.List(Array, 0, (Buffer, 64)).Bind(1, Array, 1));
        sender.Send(1, List);
        Assert.Equal((0u, 0u, 64u), (first.Guest.Word(Array), second.Guest.Word(Array), second.Guest.Word(Array + 0x200)));
        Assert.True(second.Bind(1, Array + 0x200, 0, 0));
        sender.Send(1, List);
        Assert.Equal((0u, 64u), (first.Guest.Word(Array), second.Guest.Word(Array)));
        Assert.True(second.Bind(1, Array, 0, 0));
        sender.Send(1, List);
        Assert.Equal(64u, first.Guest.Word(Array));
        Assert.Equal(0u, sender.Guest.Word(Array));
    }

    [Fact]
    public void Abi_10_6_DeadAndClosedGuests_AreNoPeers()
    {
        (GuestOnNetwork sender, GuestOnNetwork first) = Pair();
        GuestOnNetwork second = network.Join().List(Array, 0, (Buffer, 64));
        Assert.True(second.Bind(1, Array, 1));
        second.Guest.Guest.Kill("test");
        sender.Send(1, List);
        Assert.Equal((64u, 0u), (first.Guest.Word(Array), second.Guest.Word(Array)));
        first.Dispose();
        second.Dispose();
        sender.Guest.SetWord(List, Untouched);
        sender.Send(1, List);
        Assert.Equal(Untouched, sender.Guest.Word(List));
        Assert.Null(sender.DeathReason);
    }

    [Theory]
    [InlineData(TestGuest.Top - 100)]
    [InlineData(0xFFFF_FFF0u)]
    public void Abi_10_6_UnreadableSenderList_KillsTheSender(uint list)
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        sender.Send(1, list);
        Assert.Equal($"bad read address 0x{list:x} len 100", sender.DeathReason);
        Assert.Null(receiver.DeathReason);
        Assert.False(receiver.IsNotified);
    }

    [Fact]
    public void Abi_10_6_UnreadableReceiverElement_KillsTheReceiver()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        Assert.True(receiver.Bind(1, TestGuest.Top - 100, 1));
        sender.Send(1, List);
        Assert.Equal("bad address in registered DMA struct", receiver.DeathReason);
        Assert.False(receiver.IsNotified);
        Assert.Null(sender.DeathReason);
        Assert.Equal(Untouched, sender.Guest.Word(List));
    }

    [Fact]
    public void Abi_10_6_UnreadableElement_KillsOnlyWhenTheSearchReachesIt()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        const uint NearTheEnd = TestGuest.Top - 150;
        receiver.List(NearTheEnd, 0, (Buffer, 64));
        Assert.True(receiver.Bind(1, NearTheEnd, 2));
        sender.Send(1, List);
        Assert.Null(receiver.DeathReason);
        sender.Send(1, List);
        Assert.Equal("bad address in registered DMA struct", receiver.DeathReason);
    }

    [Fact]
    public void Abi_10_6_TheCursor_GoesRound_AndBusyElementsAreSkipped()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(buffers: 3);
        receiver.Guest.SetWord(Array + Element, 7);
        Assert.Equal([64u, 7u, 0u], SendAndLook(sender, receiver));
        receiver.Guest.SetWord(Array, 0);
        Assert.Equal([0u, 7u, 64u], SendAndLook(sender, receiver));
        Assert.Equal([64u, 7u, 64u], SendAndLook(sender, receiver));
        receiver.Guest.SetWord(Array, 0).SetWord(Array + Element, 0).SetWord(Array + (2 * Element), 0);
        Assert.Equal([64u, 0u, 0u], SendAndLook(sender, receiver));
        Assert.Equal([64u, 64u, 0u], SendAndLook(sender, receiver));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(0)]
    public void Abi_10_6_WithoutAFreeElement_TheReceiverIsOnlyNotified(int buffers)
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(buffers);
        receiver.Guest.SetWord(Array, 5).SetWord(Array + Element, 6);
        sender.Send(1, List);
        Assert.True(receiver.IsNotified);
        Assert.Equal(Untouched, sender.Guest.Word(List));
        Assert.Equal((5u, 6u), (receiver.Guest.Word(Array), receiver.Guest.Word(Array + Element)));
        Assert.Equal(new byte[64], receiver.Bytes(Buffer, 64));
    }

    [Fact]
    public async Task Abi_10_6_TheSearchIsRepeated_WithTheLockReleased()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        using var enough = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        bool sent = false;
        while (!sent && !enough.IsCancellationRequested)
        {
            receiver.Guest.SetWord(Array, 9);
            Task refill = Task.Run(RefillOnceNotified, TestContext.Current.CancellationToken);
            sender.Send(1, List);
            await refill;
            receiver.TakeInterrupt();
            sent = sender.Guest.Word(List) == 64;
        }
        Assert.True(sent);
        Assert.Equal(Message, receiver.Bytes(Buffer, 64));

        void RefillOnceNotified()
        {
            // Only the failure of the first search notifies. Taking the lock shows that the sender has left it.
            SpinWait.SpinUntil(() => receiver.IsNotified);
            lock (receiver.Guest.Host.InterGuestLock)
            {
                receiver.Guest.SetWord(Array, 0);
            }
        }
    }

    [Theory]
    [MemberData(nameof(BadSections))]
    public void Abi_10_2_BadReceiverSection_KillsTheReceiver(int length, uint address)
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        receiver.List(Array, 0, (Buffer, 64), (address, length));
        sender.Send(1, List);
        Assert.Equal($"bad DMA entry: {length}@0x{address:x}", receiver.DeathReason);
        Assert.Null(sender.DeathReason);
        Assert.Equal(0u, sender.Guest.Word(List));
        Assert.False(receiver.IsNotified);
        Assert.Equal(new byte[64], receiver.Bytes(Buffer, 64));
    }

    [Theory]
    [MemberData(nameof(BadSections))]
    public void Abi_10_2_BadSenderSection_KillsTheSender(int length, uint address)
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        sender.List(List, Untouched, (Data, 64), (address, length));
        sender.Send(1, List);
        Assert.Equal($"bad DMA entry: {length}@0x{address:x}", sender.DeathReason);
        Assert.Null(receiver.DeathReason);
        Assert.False(receiver.IsNotified);
        Assert.Equal(0u, receiver.Guest.Word(Array));
        Assert.Equal(new byte[64], receiver.Bytes(Buffer, 64));
    }

    [Fact]
    public void Abi_10_2_TheReceiversList_IsCheckedFirst()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        receiver.List(Array, 0, (1u, 5000));
        sender.List(List, 0, (2u, 5001));
        sender.Send(1, List);
        Assert.Equal("bad DMA entry: 5000@0x1", receiver.DeathReason);
        Assert.Null(sender.DeathReason);
    }

    [Fact]
    public void Abi_10_2_TheFirstEmptySection_EndsAList()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        sender.List(List, 0, (Data, 8), (1u, 0), (2u, 5000));
        receiver.List(Array, 0, (Buffer, 64), (1u, 0), (2u, 5000));
        sender.Send(1, List);
        Assert.Null(sender.DeathReason);
        Assert.Null(receiver.DeathReason);
        Assert.Equal(8u, receiver.Guest.Word(Array));
    }

    [Fact]
    public void Abi_10_2_SixteenPages_AreTheLargestTransfer()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        var pages = Enumerable.Range(0, 16).Select(static i => (0xA_0000 + ((uint)i * 4096), 4096)).ToArray();
        byte[] bytes = new byte[65536];
        new Random(1).NextBytes(bytes);
        sender.Fill(0xA_0000, bytes).List(List, 0, pages);
        receiver.List(Array, 0, pages);
        sender.Send(1, List);
        Assert.Equal(65536u, sender.Guest.Word(List));
        Assert.Equal(65536u, receiver.Guest.Word(Array));
        Assert.Equal(bytes, receiver.Bytes(0xA_0000, 65536));
    }

    [Fact]
    public void Abi_10_6_ReceiverPagesWithoutMemory_KillTheReceiver_EvenWhenNotReached()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(pageLimit: TestGuest.Pages + 40);
        receiver.List(Array, 0, (Buffer, 64), (TestGuest.Top, 64));
        sender.Send(1, List);
        Assert.Equal("Error mapping DMA pages", receiver.DeathReason);
        Assert.Null(sender.DeathReason);
        Assert.Equal(0u, sender.Guest.Word(List));
        Assert.False(receiver.IsNotified);
    }

    [Fact]
    public void Abi_10_6_SenderPagesWithoutMemory_KillTheSender_OnlyWhenReached()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(pageLimit: TestGuest.Pages + 40, buffers: 2);
        sender.List(List, 0, (Data, 64), (TestGuest.Top, 64));
        sender.Send(1, List);
        Assert.Equal(64u, sender.Guest.Word(List));
        receiver.TakeInterrupt();
        receiver.List(Array + Element, 0, (Buffer, 65));
        sender.Send(1, List);
        Assert.Equal("bad address in sending DMA", sender.DeathReason);
        Assert.Null(receiver.DeathReason);
        Assert.False(receiver.IsNotified);
        Assert.Equal(0u, receiver.Guest.Word(Array + Element));
        Assert.Equal(0u, sender.Guest.Word(List));
    }

    [Fact]
    public void Abi_10_6_AnEmptyList_NotifiesAndTakesTheTurn()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(buffers: 2);
        sender.List(List, Untouched);
        sender.Send(1, List);
        Assert.True(receiver.IsNotified);
        Assert.Equal(0u, sender.Guest.Word(List));
        sender.List(List, 0, (Data, 64));
        Assert.Equal([0u, 64u], SendAndLook(sender, receiver)[..2]);
    }

    [Fact]
    public void Abi_10_6_ABufferWithoutRoom_IsNotNotified_AndKeepsItsTurn()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(buffers: 2);
        receiver.List(Array, 0);
        sender.Send(1, List);
        Assert.False(receiver.IsNotified);
        Assert.Equal(0u, sender.Guest.Word(List));
        receiver.List(Array, 0, (Buffer, 10));
        Assert.Equal([10u, 0u], SendAndLook(sender, receiver)[..2]);
    }

    [Fact]
    public void Abi_10_6_CopyingContinuesInsideSections_AsOneStreamOfBytes()
    {
        int seed = Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair();
        byte[] bytes = new byte[16 * 4096];
        for (int round = 0; round < 500; round++)
        {
            random.NextBytes(bytes);
            sender.Fill(0xA_0000, bytes);
            receiver.Fill(0xA_0000, new byte[bytes.Length]);
            (uint, int)[] source = Sections(random);
            (uint, int)[] target = Sections(random);
            sender.List(List, 0, source);
            receiver.List(Array, 0, target);
            sender.Send(1, List);

            uint[] from = [.. source.SelectMany(Addresses)];
            uint[] to = [.. target.SelectMany(Addresses)];
            int length = Math.Min(from.Length, to.Length);
            byte[] expected = new byte[bytes.Length];
            for (int i = 0; i < length; i++)
            {
                expected[to[i] - 0xA_0000] = bytes[from[i] - 0xA_0000];
            }
            Assert.Equal((uint)length, sender.Guest.Word(List));
            Assert.Equal((uint)length, receiver.Guest.Word(Array));
            Assert.True(receiver.Bytes(0xA_0000, bytes.Length).AsSpan().SequenceEqual(expected));
        }
    }

    [Fact]
    public void Abi_10_6_PostedInTheRing_DoesNotStopTheRing()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(buffers: 2);
        sender.Guest.Post(0, (uint)Hypercall.SendDma, sender.Key(1), List).Post(1, (uint)Hypercall.SendDma, sender.Key(1), List);
        sender.Guest.Guest.Hypercalls.ExecutePending();
        Assert.Equal((64u, 64u), (receiver.Guest.Word(Array), receiver.Guest.Word(Array + Element)));
    }

    [Fact]
    public void Abi_3_3_ABufferGivenToTheLauncher_IsNotGivenToAPeer()
    {
        (GuestOnNetwork sender, GuestOnNetwork receiver) = Pair(buffers: 2);
        Assert.Equal(LguestError.None, receiver.Guest.Device.GetDma(receiver.Key(1), out uint list));
        Assert.Equal(Array, list);
        Assert.Equal([5u, 64u], SendAndLook(sender, receiver)[..2]);
    }

    [Fact]
    public async Task Abi_10_6_AHaltedReceiver_Wakes()
    {
        GuestOnNetwork sender = network.Join().List(List, 0, (Data, 64));
        GuestOnNetwork receiver = network.JoinBlank().List(Array, 0, (Buffer, 64));
        receiver.Guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.LoadGate(32 + GuestNetwork.Irq, 0xE);
            a.Hypercall(Hypercall.BindDma, receiver.Key(1), Array, (1 << 8) | GuestNetwork.Irq);
            a.Hypercall(Hypercall.Halt);
        }).Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => a.Stop(77));
        Task<uint> running = Task.Run(receiver.Guest.RunToStop, TestContext.Current.CancellationToken);
        while (!receiver.Guest.Guest.IsHalted)
        {
            await Task.Delay(1, TestContext.Current.CancellationToken);
        }
        sender.Send(1, List);
        Assert.Equal(77u, await running);
        Assert.Equal(64u, receiver.Guest.Word(Array));
    }

    [Fact]
    public async Task Abi_10_6_ARunningReceiver_IsKilledByItsOwnBadList()
    {
        GuestOnNetwork sender = network.Join().List(List, 0, (Data, 64));
        GuestOnNetwork receiver = network.Join().List(Array, 0, (0xFFFu, 2));
        Assert.True(receiver.Bind(1, Array, 1));
        receiver.Guest.Program(a =>
        {
            Iced.Intel.Label here = a.CreateLabel();
            a.Label(ref here);
            a.jmp(here);
        });
        Task<ReadResult> running = await receiver.Guest.BeginReadAsync();
        sender.Send(1, List);
        Assert.Equal(LguestError.NoEntry, (await running).Error);
        Assert.Equal("bad DMA entry: 2@0xfff", receiver.Guest.Read().DeathReason);
        Assert.Null(sender.DeathReason);
    }

    [Fact]
    public void Abi_10_7_CodeThatATransferReplaced_IsNotRunAgain()
    {
        const uint Function = 0x9_0000;
        GuestOnNetwork sender = network.Join();
        GuestOnNetwork receiver = network.JoinBlank().List(Array, 0, (Function, 6));
        sender.Guest.Place(Data, TestGuest.Virtual(Function), a => WriteFunction(a, 2));
        sender.List(List, 0, (Data, 6));
        receiver.Guest.Place(Function, TestGuest.Virtual(Function), a => WriteFunction(a, 1));
        receiver.Guest.PrepareData().Program(a =>
        {
            a.Begin();
            a.LoadGate(32 + GuestNetwork.Irq, 0xE);
            a.Hypercall(Hypercall.BindDma, receiver.Key(1), Array, (1 << 8) | GuestNetwork.Irq);
            a.call(TestGuest.Virtual(Function));
            a.Save(eax, List);
            a.Stop(1);
            a.Hypercall(Hypercall.Halt);
        });
        receiver.Guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a =>
        {
            a.call(TestGuest.Virtual(Function));
            a.Save(eax, List + 4);
            a.Stop(2);
        });
        Assert.Equal(1u, receiver.Guest.RunToStop());
        sender.Send(1, List);
        Assert.Equal(2u, receiver.Guest.RunToStop());
        Assert.Equal((1u, 2u), (receiver.Guest.Word(List), receiver.Guest.Word(List + 4)));
    }

    private static void WriteFunction(Iced.Intel.Assembler a, uint result)
    {
        a.mov(eax, result);
        a.ret();
    }

    private static (uint Address, int Length)[] Sections(Random random) =>
        [.. Enumerable.Range(0, random.Next(1, 17)).Select(i =>
        {
            int length = random.Next(4) == 0 ? random.Next(1, 4097) : random.Next(1, 40);
            return (0xA_0000 + (uint)((i * 4096) + random.Next(4097 - length)), length);
        })];

    private static IEnumerable<uint> Addresses((uint Address, int Length) section) =>
        Enumerable.Range(0, section.Length).Select(i => section.Address + (uint)i);

    private static uint[] SendAndLook(GuestOnNetwork sender, GuestOnNetwork receiver)
    {
        sender.Send(1, List);
        return [receiver.Guest.Word(Array), receiver.Guest.Word(Array + Element), receiver.Guest.Word(Array + (2 * Element))];
    }

    private static void AssertNothingHappened(GuestOnNetwork sender, GuestOnNetwork receiver)
    {
        Assert.Equal(Untouched, sender.Guest.Word(List));
        Assert.Equal(0u, receiver.Guest.Word(Array));
        Assert.False(receiver.IsNotified);
        Assert.Null(sender.DeathReason);
        Assert.Null(receiver.DeathReason);
    }

    /// <summary>A sender with a message of 64 bytes, and a receiver that has bound buffers for it to key 1.</summary>
    private (GuestOnNetwork Sender, GuestOnNetwork Receiver) Pair(int buffers = 1, uint pageLimit = TestGuest.Pages, string? otherFile = null)
    {
        GuestOnNetwork sender = network.Join(pageLimit, otherFile).List(List, Untouched, (Data, 64)).Fill(Data, Message);
        GuestOnNetwork receiver = network.Join(pageLimit);
        for (uint i = 0; i < buffers; i++)
        {
            receiver.List(Array + (i * Element), 0, (Buffer + (i * 4096), 64));
        }
        Assert.True(receiver.Bind(1, Array, (uint)buffers));
        return (sender, receiver);
    }
}

/// <summary>The same between Guests of two Hosts: the sender in one, everybody else in the other.</summary>
public sealed class Abi10SharedDmaAcrossHostsTests() : Abi10SharedDmaTests(Hosts.FirstApart);
