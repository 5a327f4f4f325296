// DMA between Guests of two processes that really are two, in heavy traffic, while one of them is killed or stopped in the middle of it.

namespace Lguest.Host.Tests;

public sealed class CourierProcessTests : IDisposable
{
    private readonly GuestNetwork network = new(Hosts.Each);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => network.Dispose();

    [Fact]
    public async Task Abi_10_6_TwoProcesses_SendFiveThousandMessagesEachWay_AllArriveInOrder()
    {
        const uint Messages = 5000;
        GuestOnNetwork here = TrafficGuest.Join(network, own: 1, peer: 2, Messages, ordered: true);
        Task<uint> running = TrafficGuest.Run(here);
        using var there = new PeerProcess(network.FilePath, own: 2, peer: 1, Messages, ordered: true);
        Assert.Equal(Messages, await there.WaitAsync(Cancellation));
        Assert.Equal(1u, await running);
        Assert.Equal(Messages, here.Guest.Word(TrafficGuest.Received));
    }

    [Fact]
    public async Task Abi_10_6_AProcessKilledInTheMiddle_DisturbsNobody()
    {
        const uint Messages = 2000;
        GuestOnNetwork one = TrafficGuest.Join(network, own: 3, peer: 4, Messages, ordered: true);
        GuestOnNetwork other = TrafficGuest.Join(network, own: 4, peer: 3, Messages, ordered: true);
        GuestOnNetwork peer = TrafficGuest.Join(network, own: 1, peer: 2, uint.MaxValue, ordered: false);
        Task<uint>[] survivors = [TrafficGuest.Run(one), TrafficGuest.Run(other), TrafficGuest.Run(peer)];
        for (int round = 0; round < 12; round++)
        {
            // It sends and receives as fast as it can; whatever it is doing when the signal comes, it does not finish.
            using var victim = new PeerProcess(network.FilePath, own: 2, peer: 1, uint.MaxValue, ordered: false);
            await Traffic(peer);
            victim.Kill();
        }
        peer.Guest.SetWord(TrafficGuest.Limit, 0);
        Assert.All(await Task.WhenAll(survivors), static mark => Assert.Equal(1u, mark));
        Assert.Equal((Messages, Messages), (one.Guest.Word(TrafficGuest.Received), other.Guest.Word(TrafficGuest.Received)));
    }

    [Fact]
    public async Task Abi_10_6_AStoppedProcess_HoldsUpNobody_AndIsFoundAgain()
    {
        GuestOnNetwork peer = TrafficGuest.Join(network, own: 1, peer: 2, uint.MaxValue, ordered: false);
        peer.Guest.Host.Courier.Patience = 5;
        using var sleeper = new PeerProcess(network.FilePath, own: 2, peer: 1, uint.MaxValue, ordered: false);
        for (int round = 0; round < 2; round++)
        {
            Task<ReadResult> running = Task.Run(peer.Guest.Read, Cancellation);
            await Traffic(peer);
            sleeper.Freeze();
            // The Guest is sending to a process that does not answer, and its Launcher gets through to it.
            Task<LguestError> breaking = Task.Run(() => peer.Guest.Break(true), Cancellation);
            Assert.Equal(LguestError.TryAgain, (await running).Error);
            Assert.Equal(LguestError.None, peer.Guest.Break(false));
            Assert.Equal(LguestError.None, await breaking);
            sleeper.Thaw();
        }
        Task<uint> rest = TrafficGuest.Run(peer);
        await Traffic(peer);
        sleeper.Freeze();
        peer.Guest.SetWord(TrafficGuest.Limit, 0);
        Assert.Equal(1u, await rest);
    }

    /// <summary>Waits until messages flow both ways.</summary>
    private static async Task Traffic(GuestOnNetwork guest)
    {
        uint sent = guest.Guest.Word(TrafficGuest.Sent) + 50;
        uint received = guest.Guest.Word(TrafficGuest.Received) + 50;
        while (guest.Guest.Word(TrafficGuest.Sent) < sent || guest.Guest.Word(TrafficGuest.Received) < received)
        {
            Assert.Null(guest.DeathReason);
            await Task.Delay(1, Cancellation);
        }
    }
}
