// The Guest's one-shot timer. It is only a number: who looks at it, and who sleeps until it comes, is the run loop's affair.

using Lguest.Platform;

namespace Lguest.Host;

// H:045 The Guest's timer. Systems used to be woken a hundred or a thousand times a second, whether there was something to do or not. A
// Guest with a one-shot timer says instead when it wants to be woken next, in nanoseconds, and is left alone until then. All the Host has
// to keep is that moment.
/// <summary>The clock event of one Guest (ABI 6.8).</summary>
/// <param name="time">The Guest's.</param>
internal sealed class Clock(GuestTime time)
{
    /// <summary>When the timer expires, in nanoseconds of <see cref="GuestTime.Now"/>.</summary>
    public long Deadline { get; private set; } = MonotonicClock.Never;

    /// <summary>LHCALL_SET_CLOCKEVENT: arms the timer, or disarms it with 0.</summary>
    /// <param name="nanoseconds">Time from now.</param>
    public void Set(uint nanoseconds) => Deadline = nanoseconds == 0 ? MonotonicClock.Never : time.Now + nanoseconds;

    /// <summary>Whether the timer has expired; it tells only once.</summary>
    public bool TryExpire()
    {
        if (Deadline == MonotonicClock.Never || time.Now < Deadline)
        {
            return false;
        }
        Deadline = MonotonicClock.Never;
        return true;
    }
}
