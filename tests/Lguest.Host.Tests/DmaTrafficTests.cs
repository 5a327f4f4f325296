// DMA between Guests that really run, each on a thread of its own: everything arrives, once and in order, whatever dies beside it.

using System.Text.RegularExpressions;

namespace Lguest.Host.Tests;

public partial class DmaTrafficTests : IDisposable
{
    private const uint Array = TrafficGuest.Array;
    private const uint List = TrafficGuest.List;

    private readonly GuestNetwork network;

    public DmaTrafficTests()
        : this(Hosts.One)
    {
    }

    protected DmaTrafficTests(Hosts hosts) => network = new GuestNetwork(hosts);

    public static TheoryData<int> Seeds => [1, 2, 3, Random.Shared.Next(4, int.MaxValue)];

    public void Dispose()
    {
        network.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task TwoGuestsSendTenThousandMessagesEachWay_AllArriveInOrder()
    {
        const uint Messages = 10_000;
        GuestOnNetwork one = TrafficGuest.Join(network, own: 1, peer: 2, Messages, ordered: true);
        GuestOnNetwork other = TrafficGuest.Join(network, own: 2, peer: 1, Messages, ordered: true);
        Task<uint> first = TrafficGuest.Run(one);
        Task<uint> second = TrafficGuest.Run(other);
        Assert.Equal(1u, await first);
        Assert.Equal(1u, await second);
        Assert.Equal((Messages, Messages), (one.Guest.Word(TrafficGuest.Received), other.Guest.Word(TrafficGuest.Received)));
    }

    [Fact]
    public async Task ReceiversThatDieOrLeaveInTheMiddle_DisturbNobody()
    {
        const uint Messages = 2000;
        GuestOnNetwork one = TrafficGuest.Join(network, own: 3, peer: 4, Messages, ordered: true);
        GuestOnNetwork other = TrafficGuest.Join(network, own: 4, peer: 3, Messages, ordered: true);
        GuestOnNetwork sender = TrafficGuest.Join(network, own: 1, peer: 2, uint.MaxValue, ordered: false);
        Task<uint>[] survivors = [TrafficGuest.Run(one), TrafficGuest.Run(other), TrafficGuest.Run(sender)];
        for (int round = 0; round < 30; round++)
        {
            using GuestOnNetwork victim = TrafficGuest.Join(network, own: 2, peer: 1, uint.MaxValue, ordered: false);
            Task<ReadResult> dying = Task.Run(victim.Guest.Read, TestContext.Current.CancellationToken);
            while (victim.Guest.Word(TrafficGuest.Received) < 20 && !dying.IsCompleted)
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
                    for (uint i = 0; i < TrafficGuest.Buffers; i++)
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
        sender.Guest.SetWord(TrafficGuest.Limit, 0);
        Assert.All(await Task.WhenAll(survivors), static mark => Assert.Equal(1u, mark));
        Assert.Equal((Messages, Messages), (one.Guest.Word(TrafficGuest.Received), other.Guest.Word(TrafficGuest.Received)));
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
}

/// <summary>The same between Guests that have a Host each.</summary>
public sealed class DmaTrafficAcrossHostsTests() : DmaTrafficTests(Hosts.Each);
