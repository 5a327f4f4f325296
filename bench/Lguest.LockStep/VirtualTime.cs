// Time that is made of instructions: each takes the same, and who sleeps skips to the moment for which he waits. So a Guest that does the
// same sees the same clock, and its timer comes at the same instruction.

using Lguest.Host;
using Lguest.Platform;
using Lguest.X86;

namespace Lguest.LockStep;

/// <summary>The time of a Guest whose instructions are counted.</summary>
/// <param name="guest">The Guest.</param>
/// <param name="start">Its first nanosecond.</param>
internal sealed class VirtualTime(Guest guest, long start) : GuestTime
{
    /// <summary>Nanoseconds that an instruction takes: more than in truth, so that there are many timer interrupts.</summary>
    private const int InstructionTime = 4;

    private static readonly DateTime FirstDay = new(2030, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    private readonly Processor processor = guest.Processor;
    private long skipped = start;
    private long armed = MonotonicClock.Never;

    /// <summary>Called when the moment changes at which the Guest wants to be kicked.</summary>
    public Action? Armed { get; set; }

    /// <summary>Called when the Guest would sleep without end.</summary>
    public Action? Idle { get; set; }

    /// <summary>The count of instructions at which the Guest wants to be kicked; <see cref="long.MaxValue"/> for none.</summary>
    public long ArmedAt => armed == MonotonicClock.Never || armed <= Now
        ? long.MaxValue
        : processor.CompletedInstructions + ((armed - Now + InstructionTime - 1) / InstructionTime);

    public override long Now => skipped + (processor.CompletedInstructions * InstructionTime);

    public override DateTime UtcNow => FirstDay.AddTicks(Now / TimeSpan.NanosecondsPerTick);

    public override void Arm(long moment)
    {
        armed = moment;
        Armed?.Invoke();
    }

    public override void Wait(PreciseEvent wake, long deadline)
    {
        if (deadline == MonotonicClock.Never)
        {
            Idle?.Invoke();
        }
        else
        {
            skipped += Math.Max(0, deadline - Now);
        }
    }

    public override void Dispose()
    {
    }
}
