// DMA between Guests that really run, each on a thread of its own: everything arrives, once and in order, whatever dies beside it.

using System.Text.RegularExpressions;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Host.Tests;

public sealed partial class DmaTrafficTests : IDisposable
{
    private const uint Buffers = 8;
    private const uint Array = TestGuest.Dma;
    private const uint List = TestGuest.Scratch;
    private const uint Outgoing = TestGuest.Scratch + 0x200;
    private const uint Sent = TestGuest.Scratch + 0x400;
    private const uint Received = TestGuest.Scratch + 0x404;
    private const uint Next = TestGuest.Scratch + 0x408;
    private const uint Limit = TestGuest.Scratch + 0x40C;
    private const uint Text = TestGuest.Scratch + 0x500;
    private const uint HandlerExit = TestGuest.Handler + 0x200;
    private const int MessageSize = 64;

    private readonly GuestNetwork network = new();

    public static TheoryData<int> Seeds => [1, 2, 3, Random.Shared.Next(4, int.MaxValue)];

    public void Dispose() => network.Dispose();

    [Fact]
    public async Task TwoGuestsSendTenThousandMessagesEachWay_AllArriveInOrder()
    {
        const uint Messages = 10_000;
        GuestOnNetwork one = Member(own: 1, peer: 2, Messages, ordered: true);
        GuestOnNetwork other = Member(own: 2, peer: 1, Messages, ordered: true);
        Task<uint> first = Run(one);
        Task<uint> second = Run(other);
        Assert.Equal(1u, await first);
        Assert.Equal(1u, await second);
        Assert.Equal((Messages, Messages), (one.Guest.Word(Received), other.Guest.Word(Received)));
    }

    [Fact]
    public async Task ReceiversThatDieOrLeaveInTheMiddle_DisturbNobody()
    {
        const uint Messages = 2000;
        GuestOnNetwork one = Member(own: 3, peer: 4, Messages, ordered: true);
        GuestOnNetwork other = Member(own: 4, peer: 3, Messages, ordered: true);
        GuestOnNetwork sender = Member(own: 1, peer: 2, uint.MaxValue, ordered: false);
        Task<uint>[] survivors = [Run(one), Run(other), Run(sender)];
        for (int round = 0; round < 30; round++)
        {
            using GuestOnNetwork victim = Member(own: 2, peer: 1, uint.MaxValue, ordered: false);
            Task<ReadResult> dying = Task.Run(victim.Guest.Read, TestContext.Current.CancellationToken);
            while (victim.Guest.Word(Received) < 20 && !dying.IsCompleted)
            {
                await Task.Delay(1, TestContext.Current.CancellationToken);
            }
            switch (round % 3)
            {
                case 0:
                    victim.Guest.Guest.Kill("test");
                    Assert.Equal(LguestError.NoEntry, (await dying).Error);
                    break;
                case 1:
                    for (uint i = 0; i < Buffers; i++)
                    {
                        victim.Guest.SetWord(Array + (i * LguestAbi.DmaSize) + 0x44, 4097);
                    }
                    Assert.Equal(LguestError.NoEntry, (await dying).Error);
                    Assert.StartsWith("bad DMA entry: ", victim.DeathReason);
                    break;
                default:
                    victim.Guest.Device.Dispose();
                    Assert.Equal(LguestError.Interrupted, (await dying).Error);
                    break;
            }
        }
        sender.Guest.SetWord(Limit, 0);
        Assert.All(await Task.WhenAll(survivors), static mark => Assert.Equal(1u, mark));
        Assert.Equal((Messages, Messages), (one.Guest.Word(Received), other.Guest.Word(Received)));
    }

    [Theory]
    [MemberData(nameof(Seeds))]
    public void HostileLists_KillOnlyByTheAbisTexts_AndReachNothingUnlisted(int seed)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int deaths = 0;
        int transfers = 0;
        GuestOnNetwork canary = network.Join();
        Assert.True(canary.Bind(7, Array, 8));
        byte[] untouched = canary.Bytes(0, (int)canary.SharedPage);
        for (int life = 0; life < 20; life++)
        {
            using GuestOnNetwork sender = network.Join(random.Next(2) == 0 ? TestGuest.Pages : TestGuest.Pages + 8);
            using GuestOnNetwork receiver = network.Join(random.Next(2) == 0 ? TestGuest.Pages : TestGuest.Pages + 8);
            for (int step = 0; step < 200 && sender.DeathReason is null && receiver.DeathReason is null; step++)
            {
                uint array = Place(random);
                receiver.Bind((uint)random.Next(2), array, (uint)random.Next(4), (uint)random.Next(3));
                sender.Bind((uint)random.Next(2), Place(random), (uint)random.Next(4), (uint)random.Next(3));
                WriteNonsense(receiver, array, random);
                WriteNonsense(sender, List, random);
                sender.Send((uint)random.Next(2), random.Next(20) == 0 ? Place(random) : List);
                transfers += sender.Guest.Word(List) is 0 or > 65536 ? 0 : 1;
            }
            foreach (GuestOnNetwork guest in (GuestOnNetwork[])[sender, receiver])
            {
                deaths += guest.DeathReason is null ? 0 : 1;
                Assert.True(guest.DeathReason is null || DmaDeath().IsMatch(guest.DeathReason), guest.DeathReason);
                Assert.Equal(-1, guest.Bytes(0xC_0000, 0x3_F000).AsSpan().IndexOfAnyExcept((byte)0));
            }
        }
        Assert.InRange(deaths, 1, 40);
        Assert.NotEqual(0, transfers);
        Assert.Null(canary.DeathReason);
        Assert.False(canary.IsNotified);
        Assert.True(untouched.AsSpan().SequenceEqual(canary.Bytes(0, untouched.Length)));
    }

    [GeneratedRegex(@"^(bad DMA entry: \d+@0x[0-9a-f]+|bad address in registered DMA struct|Error mapping DMA pages|bad address in sending DMA|bad read address 0x[0-9a-f]+ len 100)$")]
    private static partial Regex DmaDeath();

    private static Task<uint> Run(GuestOnNetwork member) =>
        Task.Factory.StartNew(member.Guest.RunToStop, TestContext.Current.CancellationToken, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private static uint Place(Random random) => random.Next(20) switch
    {
        0 => TestGuest.Top - (uint)random.Next(300),
        1 => (uint)random.NextInt64(TestGuest.Top, 1L << 32),
        _ => 0x8_0000 + (uint)random.Next(0x1_0000),
    };

    private static void WriteNonsense(GuestOnNetwork guest, uint address, Random random)
    {
        if (address >= TestGuest.Top - 200)
        {
            return;
        }
        var sections = new (uint, int)[random.Next(17)];
        bool mostlyGood = random.Next(10) != 0;
        for (int i = 0; i < sections.Length; i++)
        {
            uint page = 0xA_0000 + ((uint)random.Next(16) * 4096);
            int length = random.Next(1, 4097);
            sections[i] = mostlyGood || random.Next(5) != 0
                ? (page + (uint)random.Next(4097 - length), length)
                : (TestGuest.Top - 64 + (uint)random.Next(0x1_0000), random.Next(1 << 16));
        }
        guest.List(address, random.Next(4) == 0 ? 1u : 0, sections);
    }

    /// <summary>A Guest that sends numbered messages to a peer, and checks and counts those that come.</summary>
    /// <param name="own">Slot on which it receives.</param>
    /// <param name="peer">Slot to which it sends.</param>
    /// <param name="messages">How many it sends, and how many it waits for.</param>
    /// <param name="ordered">Each message must follow the one before.</param>
    private GuestOnNetwork Member(uint own, uint peer, uint messages, bool ordered)
    {
        GuestOnNetwork member = network.JoinBlank();
        TestGuest guest = member.Guest;
        for (uint i = 0; i < Buffers; i++)
        {
            member.List(Array + (i * LguestAbi.DmaSize), 0, (0x8_0FD8 + (i * 4096), 40), (0x9_0000 + (i * 4096), 24));
        }
        member.List(List, 0, (Outgoing, 24), (Outgoing + 24, 40));
        guest.SetWord(Next, TestGuest.Virtual(Array)).SetWord(Limit, messages);
        guest.PrepareData(TestGuest.Virtual(HandlerExit), TestGuest.Virtual(HandlerExit) + 11);
        guest.Program(a => WriteProgram(a, member.Key(own), member.Key(peer)));
        guest.Place(TestGuest.Handler, TestGuest.Virtual(TestGuest.Handler), a => WriteHandler(a, ordered));
        guest.Place(HandlerExit, TestGuest.Virtual(HandlerExit), static a =>
        {
            a.mov(Word(TestGuest.Data), 0x200);
            a.iretd();
        });
        return member;
    }

    private static void WriteProgram(Assembler a, uint ownKey, uint peerKey)
    {
        Label send = a.CreateLabel();
        Label wait = a.CreateLabel();
        Label done = a.CreateLabel();
        a.Begin();
        a.LoadGate(32 + GuestNetwork.Irq, 0xE);
        a.Hypercall(Hypercall.BindDma, ownKey, Array, (Buffers << 8) | GuestNetwork.Irq);
        a.mov(Word(TestGuest.Data), 0x200);
        a.Label(ref send);
        a.mov(eax, Word(Sent));
        a.cmp(eax, Word(Limit));
        a.jae(wait);
        a.mov(Word(Outgoing), eax);
        a.not(eax);
        a.mov(Word(Outgoing + MessageSize - 4), eax);
        a.mov(Word(List), 0);
        a.Hypercall(Hypercall.SendDma, peerKey, List);
        a.cmp(Word(List), MessageSize);
        a.jne(send);
        a.inc(Word(Sent));
        a.jmp(send);

        // Interrupts are off from the check to HALT, which turns them on.
        a.Label(ref wait);
        a.mov(Word(TestGuest.Data), 0);
        a.mov(eax, Word(Received));
        a.cmp(eax, Word(Limit));
        a.jae(done);
        a.Hypercall(Hypercall.Halt);
        a.jmp(wait);
        a.Label(ref done);
        a.Stop(1);
    }

    /// <summary>Takes all messages, oldest first, and frees their buffers.</summary>
    private static void WriteHandler(Assembler a, bool ordered)
    {
        Label next = a.CreateLabel();
        Label leave = a.CreateLabel();
        Label wrong = a.CreateLabel();
        a.pushad();
        a.mov(esi, Word(Next));
        a.Label(ref next);
        a.cmp(__dword_ptr[esi], 0);
        a.je(leave);
        a.cmp(__dword_ptr[esi], MessageSize);
        a.jne(wrong);
        a.mov(ebx, __dword_ptr[esi + 4]);
        a.mov(eax, __dword_ptr[ebx + unchecked((int)TestGuest.PageOffset)]);
        a.mov(ebx, __dword_ptr[esi + 8]);
        a.mov(ecx, __dword_ptr[ebx + unchecked((int)TestGuest.PageOffset) + 20]);
        a.not(ecx);
        a.cmp(eax, ecx);
        a.jne(wrong);
        if (ordered)
        {
            a.cmp(eax, Word(Received));
            a.jne(wrong);
        }
        a.inc(Word(Received));
        a.mov(__dword_ptr[esi], 0);
        a.add(esi, (int)LguestAbi.DmaSize);
        a.cmp(esi, TestGuest.Virtual(Array + (Buffers * LguestAbi.DmaSize)));
        a.jb(next);
        a.mov(esi, TestGuest.Virtual(Array));
        a.jmp(next);
        a.Label(ref leave);
        a.mov(Word(Next), esi);
        a.popad();
        a.jmp(TestGuest.Virtual(HandlerExit));
        a.Label(ref wrong);
        a.Hypercall(Hypercall.Crash, Text);
    }

    private static AssemblerMemoryOperand Word(uint address) => __dword_ptr[TestGuest.Virtual(address)];
}
