// Who expires a board's timers: the thread of a Guest that sleeps, or the one that watches beside a Guest that computes. What goes on behind a
// wait never does so on the watching thread, which the end of a test waits for.

using Lguest.Pc.Board;

namespace Lguest.Pc.Tests.Board;

public sealed class BoardTimeTests : IDisposable
{
    // Far more than any of these waits takes.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly BoardTime time = new();

    public void Dispose() => time.Dispose();

    [Fact]
    public void ASleepingGuestExpiresItsTimersItself()
    {
        int expiredOn = 0;
        using ITimer timer = MakeTimer(() => expiredOn = Environment.CurrentManagedThreadId);
        time.Wake();
        time.Sleep();
        Assert.Equal(0, expiredOn);
        long before = time.GetTimestamp();
        Start(timer, TimeSpan.FromMilliseconds(20));
        time.Sleep();
        Assert.Equal(Environment.CurrentManagedThreadId, expiredOn);
        Assert.True(time.GetTimestamp() - before >= 20_000_000);
    }

    [Fact]
    public async Task AThreadWatchesBesideAGuestThatComputes()
    {
        var expired = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using ITimer timer = MakeTimer(expired.SetResult);
        Start(timer, TimeSpan.FromMilliseconds(1));
        await expired.Task.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task NobodyWatchesAfterASleepUntilTheGuestComputes()
    {
        var expired = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
        using ITimer other = MakeTimer(() => { });
        using ITimer timer = MakeTimer(() => expired.SetResult(Environment.CurrentManagedThreadId));
        // The watching thread sleeps until then, and finds nothing to do.
        Start(other, TimeSpan.FromMilliseconds(5));
        time.Wake();
        time.Sleep();
        Start(timer, TimeSpan.FromMilliseconds(1));
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.False(expired.Task.IsCompleted);
        int self = Environment.CurrentManagedThreadId;
        time.Watch();
        Assert.Equal(self, await expired.Task);
        var again = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using ITimer later = MakeTimer(again.SetResult);
        Start(later, TimeSpan.FromMilliseconds(1));
        await again.Task.WaitAsync(Patience, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task ATimerThatIsStartedWhileTheGuestSleepsIsNotMissed()
    {
        int count = 0;
        using ITimer timer = MakeTimer(() =>
        {
            count++;
            // As a chip's interrupt does: on a busy host the Guest may not sleep yet, and then the watching thread expires it.
            time.Wake();
        });
        Task sleeping = Task.Run(
            () =>
            {
                while (count == 0)
                {
                    time.Sleep();
                }
            },
            TestContext.Current.CancellationToken);
        await Task.Delay(20, TestContext.Current.CancellationToken);
        Start(timer, TimeSpan.FromMilliseconds(1));
        await sleeping.WaitAsync(Patience, TestContext.Current.CancellationToken);
        Assert.Equal(1, count);
    }

    private static void Start(ITimer timer, TimeSpan due) => timer.Change(due, Timeout.InfiniteTimeSpan);

    private ITimer MakeTimer(Action expired) => time.CreateTimer(_ => expired(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
}
