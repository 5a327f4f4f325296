// A processor that stops after so many instructions. Silicon cannot do that; but two engines can only be compared at the same instruction, and a
// Guest does the same twice only if its interrupts come at the same instructions. A PC stops to learn that its Guest computes. The translator leaves its
// code where it asks for attention anyhow, which is up to a block before the count or as far behind it as code without a loop goes. A
// processor that stops exactly can follow it to any place: it lets the interpreter run one block at a time.

using Lguest.X86.Execution;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const ulong NoStop = ulong.MaxValue;

    private readonly uint stopTolerance;
    private ulong stopAt = NoStop;
    private long stopAtDelivery;
    private long deliveries;

    /// <summary>Instructions completed before the current one. Only the processor's own thread may ask.</summary>
    internal long CompletedInstructions => context->InstructionCount - uncounted;

    /// <summary>Exceptions and interrupts that have gone to their gates. With the count of instructions it names a place in a run.</summary>
    internal long Deliveries => deliveries;

    /// <summary>Called by <see cref="Run"/> between two instructions when a stop is reached, before it looks for interrupts.</summary>
    internal Action? StopReached { get; set; }

    private bool WantsAttention => (ulong)context->InstructionCount >= Volatile.Read(ref context->AttentionAt);

    /// <summary>Sets the next stop; only while the processor is not running, or from <see cref="StopReached"/>.</summary>
    /// <param name="instructions">Completed instructions. Processors that do not stop exactly get a few blocks further at least.</param>
    /// <param name="afterDeliveries">Exactly stopping processors: the deliveries that have then taken place.</param>
    internal void StopAt(long instructions, long afterDeliveries = 0)
    {
        // Code that finds the count too near leaves before its first instruction, and would do so again and again.
        stopAt = (ulong)Math.Max(instructions, context->InstructionCount + (2 * stopTolerance));
        Volatile.Write(ref context->AttentionAt, stopAt);
        stopAtDelivery = afterDeliveries;
    }

    /// <summary>The instruction at EIP; null when it cannot be fetched. Only at a stop.</summary>
    internal Iced.Intel.Instruction? PeekInstruction()
    {
        uint cr2 = state->Cr2;
        try
        {
            return Fetch().Instruction;
        }
        catch (GuestFault)
        {
            state->Cr2 = cr2;
            return null;
        }
    }

    private void LookForStop()
    {
        if ((ulong)context->InstructionCount + stopTolerance < stopAt)
        {
            return;
        }
        if (options.StopsExactly && deliveries < stopAtDelivery && (ulong)context->InstructionCount == stopAt)
        {
            // The next instruction raises an exception, which has already been delivered where we want to get to.
            return;
        }
        stopAt = NoStop;
        Volatile.Write(ref context->AttentionAt, NoStop);
        StopReached?.Invoke();
    }

    /// <summary>The same as ExecuteBlocks, one block after the other, and one instruction after the other where a block would go too far.</summary>
    private bool ExecuteUpToStop()
    {
        // SAFETY: the block is used before anything else is looked for.
        unsafe
        {
            do
            {
                Block* block = FindBlockAtEip();
                if (block == null)
                {
                    return true;
                }
                if ((ulong)(context->InstructionCount + block->Count) > stopAt)
                {
                    leaveBlocks = false;
                    if (!TryStepReference())
                    {
                        return true;
                    }
                    if (leaveBlocks)
                    {
                        return false;
                    }
                    continue;
                }
                block->Heat = 1;
                stoppedAtHotBlock = false;
                bool faulted = ExecuteBlocks();
                if (!stoppedAtHotBlock)
                {
                    return faulted;
                }
            }
            while (!WantsAttention);
            return false;
        }
    }
}
