// The waiting primitives of the platform: nothing is early, nothing is lost.

using Lguest.Platform;

namespace Lguest.Host.Tests;

public class PreciseTimerTests
{
    [Fact]
    public void Event_SetBeforeTheWait_IsNotLost_AndResets()
    {
        using var signal = new PreciseEvent();
        signal.Set();
        signal.Set();
        Assert.True(signal.Wait(MonotonicClock.Never));
        Assert.False(signal.Wait(MonotonicClock.Now));
    }

    [Fact]
    public void Event_IsNeverEarly()
    {
        using var signal = new PreciseEvent();
        foreach (long nanoseconds in (ReadOnlySpan<long>)[0, 1, 1_000, 250_000, 1_500_000, 20_000_000])
        {
            long deadline = MonotonicClock.Now + nanoseconds;
            Assert.False(signal.Wait(deadline));
            Assert.True(MonotonicClock.Now >= deadline);
        }
    }

    [Fact]
    public async Task Event_WakesASleeper_AThousandTimes()
    {
        using var there = new PreciseEvent();
        using var back = new PreciseEvent();
        const int Rounds = 1000;
        Task echo = Task.Run(
            () =>
            {
                for (int i = 0; i < Rounds; i++)
                {
                    there.Wait(MonotonicClock.Never);
                    back.Set();
                }
            },
            TestContext.Current.CancellationToken);
        for (int i = 0; i < Rounds; i++)
        {
            there.Set();
            Assert.True(back.Wait(MonotonicClock.Never));
        }
        await echo;
    }

    [Fact]
    public void Event_SurvivesSettingAtTheDeadline()
    {
        using var signal = new PreciseEvent();
        using var timer = new PreciseTimer(signal.Set, "test");
        for (int i = 0; i < 2000; i++)
        {
            long deadline = MonotonicClock.Now + 50_000;
            timer.Arm(deadline);
            if (!signal.Wait(deadline))
            {
                Assert.True(signal.Wait(MonotonicClock.Never));
            }
        }
    }

    [Fact]
    public void Timer_FiresOnce_NotBeforeItsMoment()
    {
        using var fired = new PreciseEvent();
        using var timer = new PreciseTimer(fired.Set, "test");
        long deadline = MonotonicClock.Now + 2_000_000;
        timer.Arm(deadline);
        Assert.True(fired.Wait(MonotonicClock.Never));
        Assert.True(MonotonicClock.Now >= deadline);
        Assert.False(fired.Wait(MonotonicClock.Now + 5_000_000));
    }

    [Fact]
    public void Timer_MovedEarlier_FiresEarlier_MovedLaterOrDisarmed_DoesNot()
    {
        using var fired = new PreciseEvent();
        using var timer = new PreciseTimer(fired.Set, "test");
        timer.Arm(MonotonicClock.Now + 3_600_000_000_000);
        timer.Arm(MonotonicClock.Now + 1_000_000);
        Assert.True(fired.Wait(MonotonicClock.Never));

        timer.Arm(MonotonicClock.Now + 1_000_000);
        long later = MonotonicClock.Now + 20_000_000;
        timer.Arm(later);
        Assert.True(fired.Wait(MonotonicClock.Never));
        Assert.True(MonotonicClock.Now >= later);

        timer.Arm(MonotonicClock.Now + 10_000_000);
        timer.Arm(MonotonicClock.Never);
        Assert.False(fired.Wait(MonotonicClock.Now + 30_000_000));
    }
}
