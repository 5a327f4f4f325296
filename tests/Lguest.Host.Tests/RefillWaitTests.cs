// The retry of ABI 10.6 on a clock that only counts: how often, how long, and for whom.

namespace Lguest.Host.Tests;

public class RefillWaitTests
{
    private static readonly DmaKey Receiver = new("file", 0, 4);

    private readonly List<long> pauses = [];
    private readonly RefillWait refill;

    public RefillWaitTests() => refill = new RefillWait(pauses.Add);

    [Fact]
    public void Abi_10_6_TheWaitsGrow_UntilTheSenderGivesUp()
    {
        Assert.False(SendRefilledAfter(int.MaxValue));
        Assert.Equal([100_000, 200_000, 400_000, 800_000, 1_600_000], pauses);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(5)]
    public void Abi_10_6_TheFirstFreeBufferEndsTheWait(int waits)
    {
        Assert.True(SendRefilledAfter(waits));
        Assert.Equal(waits, pauses.Count);
    }

    [Fact]
    public void Abi_10_6_ALateReceiverGetsOneShortWait_UntilItTakesOne()
    {
        SendRefilledAfter(int.MaxValue);
        AssertWaits(1, SendRefilledAfter, int.MaxValue);
        AssertWaits(1, SendRefilledAfter, 1);
        AssertWaits(RefillWait.Count, SendRefilledAfter, int.MaxValue);
    }

    [Fact]
    public void Abi_10_6_OneLateReceiverDoesNotShortenTheWaitForAnother()
    {
        SendRefilledAfter(int.MaxValue);
        AssertWaits(RefillWait.Count, after => SendRefilledAfter(after, Receiver with { Offset = 8 }), int.MaxValue);
    }

    [Fact]
    public void Abi_10_6_OneLateReceiverTooManyForgivesAll()
    {
        for (uint i = 0; i < RefillWait.MaximumLate; i++)
        {
            SendRefilledAfter(int.MaxValue, Receiver with { Offset = 4 * (i + 1) });
        }
        AssertWaits(1, SendRefilledAfter, int.MaxValue);
        SendRefilledAfter(int.MaxValue, Receiver with { Page = 1 });
        AssertWaits(RefillWait.Count, SendRefilledAfter, int.MaxValue);
    }

    private bool SendRefilledAfter(int waits) => SendRefilledAfter(waits, Receiver);

    /// <summary>Sends to a receiver that has no free buffer before its sender has waited so often; false when the sender gives up.</summary>
    private bool SendRefilledAfter(int needed, DmaKey key)
    {
        for (int waits = 0; refill.TryWait(key, waits); waits++)
        {
            if (waits + 1 == needed)
            {
                refill.Forgive(key);
                return true;
            }
        }
        return false;
    }

    private void AssertWaits(int expected, Func<int, bool> send, int refilledAfter)
    {
        pauses.Clear();
        send(refilledAfter);
        Assert.Equal(expected, pauses.Count);
        Assert.Equal(RefillWait.First, pauses[0]);
    }
}
