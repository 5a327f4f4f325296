// The outer loop: it lets the engine run, and between two instructions does what a processor does there: takes an interrupt, delivers
// an exception, single-steps, or gives up control to whoever owns ring 0.

using Lguest.X86.Execution;
using Lguest.X86.Instructions;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private readonly InstructionHandler[] handlers = InstructionTable.Instance.Handlers;
    private int interruptRequest;
    private int returnRequest;
    private bool leaveBlocks;
    private int uncounted;

    /// <summary>EIP behind the current instruction; control instructions overwrite it.</summary>
    internal uint NextEip { get; set; }

    /// <summary>The next instruction runs before any interrupt is taken (after STI, MOV SS and POP SS).</summary>
    internal bool InterruptShadow
    {
        get;
        set
        {
            field = value;
            leaveBlocks = true;
        }
    }

    /// <summary>Instructions completed since the processor was made.</summary>
    /// <remarks>
    /// May be asked by any thread. Translated code counts in a register, so while the processor runs the answer may be old; but asking
    /// calls the count home within microseconds, and who asks again hears it.
    /// </remarks>
    public long InstructionCount
    {
        get
        {
            Interlocked.Exchange(ref context->AttentionAt, 0);
            return Volatile.Read(ref context->InstructionCount);
        }
    }

    /// <summary>Runs until a gate leads into the Host's ring, the processor halts or shuts down, or somebody calls it back.</summary>
    public ProcessorExit Run()
    {
        hostExitPending = false;
        while (true)
        {
            bool shadow = InterruptShadow;
            if (shadow)
            {
                InterruptShadow = false;
            }
            else
            {
                // Nothing below may be read before this is written: who asks in between would write his zero first, and it would be lost.
                Interlocked.Exchange(ref context->AttentionAt, stopAt);
                LookForStop();
                if (Volatile.Read(ref returnRequest) != 0 && Interlocked.Exchange(ref returnRequest, 0) != 0)
                {
                    return new ProcessorExit(ExitKind.Requested, 0, 0);
                }
                TakeInterrupt();
            }
            if (!hostExitPending)
            {
                bool stepping = (state->SystemFlags & Eflags.Trap) != 0 || breakpointsArmed;
                if (stepping)
                {
                    StepWithDebug();
                }
                else if (shadow)
                {
                    StepInShadow();
                }
                else
                {
                    state->SystemFlags &= ~Eflags.Resume;
                    if (!TryExecute(onlyFirst: false))
                    {
                        DeliverPendingException();
                    }
                }
            }
            if (hostExitPending)
            {
                return hostExit;
            }
        }
    }

    /// <summary>Asks for an external interrupt, as a device would at the processor's INTR pin; a later request replaces an earlier one.</summary>
    /// <remarks>May be called from any thread; a running processor answers within microseconds if IF is set.</remarks>
    public void RequestInterrupt(byte vector)
    {
        Volatile.Write(ref interruptRequest, 0x100 | vector);
        SignalInterrupt();
    }

    /// <summary>Says that the interrupt controller may have something to deliver.</summary>
    /// <remarks>May be called from any thread; a running processor asks the controller within microseconds if IF is set.</remarks>
    public void SignalInterrupt()
    {
        // In this order: who allows interrupts in between has not seen the first, but sees the second.
        Interlocked.Exchange(ref context->InterruptMayWait, 1);
        Interlocked.Exchange(ref context->AttentionAt, 0);
    }

    /// <summary>Makes <see cref="Run"/> return <see cref="ExitKind.Requested"/> between two instructions, the present call or the next one.</summary>
    /// <remarks>May be called from any thread; a running processor answers within microseconds, whatever its interrupt flag.</remarks>
    public void RequestReturn()
    {
        Volatile.Write(ref returnRequest, 1);
        Interlocked.Exchange(ref context->AttentionAt, 0);
    }

    /// <summary>Ends a turn of a repeated instruction that has more to do: it goes on at itself, without asking breakpoints again.</summary>
    internal void RepeatInstruction()
    {
        NextEip = state->Eip;
        state->SystemFlags |= Eflags.Resume;
    }

    /// <summary>Executes one instruction on the reference path, without delivering an exception that it raises.</summary>
    /// <returns>True when it completed; false with the exception noted.</returns>
    internal bool TryStepReference()
    {
        try
        {
            DecodedInstruction decoded = Fetch();
            state->SystemFlags &= ~Eflags.Resume;
            NextEip = decoded.Instruction.NextIP32;
            handlers[decoded.Handler](this, in decoded.Instruction);
            state->Eip = NextEip;
            context->InstructionCount++;
            return true;
        }
        catch (GuestFault)
        {
            return false;
        }
    }

    /// <summary>Delivers the requested interrupt if IF allows it. Whatever sets IF comes back to the outer loop, and so here.</summary>
    private void TakeInterrupt()
    {
        if ((state->SystemFlags & Eflags.Interrupt) == 0)
        {
            return;
        }
        if (Volatile.Read(ref context->InterruptMayWait) != 0)
        {
            // Before looking: who asks from now on is not forgotten.
            Interlocked.Exchange(ref context->InterruptMayWait, 0);
        }
        byte vector = 0;
        bool requested = Volatile.Read(ref interruptRequest) != 0;
        if (requested)
        {
            vector = (byte)Interlocked.Exchange(ref interruptRequest, 0);
        }
        if (requested || (options.InterruptController is { } controller && controller.TryAcknowledge(out vector)))
        {
            // There may be another, for which the gate closes now.
            Volatile.Write(ref context->InterruptMayWait, 1);
            DeliverExternal(vector);
        }
    }

    /// <summary>Executes the one instruction behind STI. A kernel does that often, so it comes from a decoded block.</summary>
    private void StepInShadow()
    {
        state->SystemFlags &= ~Eflags.Resume;
        if (!TryExecute(onlyFirst: true))
        {
            DeliverPendingException();
        }
    }

    private bool TryExecuteFirstOfBlock()
    {
        // SAFETY: the block is used before anything can empty the cache.
        unsafe
        {
            Block* block = FindBlock(null);
            if (block == null)
            {
                return false;
            }
            context->InstructionCount += block->Count;
            RunReference(block, 0, mayGoOn: false);
            return true;
        }
    }

    private bool TryExecuteBlocks() =>
        !(translator is not null ? ExecuteTranslated(translator) : options.StopsExactly ? ExecuteUpToStop() : ExecuteBlocks());

    /// <summary>Executes decoded blocks, or the first instruction of one; false when an exception is to be delivered.</summary>
    private bool TryExecute(bool onlyFirst)
    {
        try
        {
            return onlyFirst ? TryExecuteFirstOfBlock() : TryExecuteBlocks();
        }
        catch (GuestFault)
        {
            if (translator is not null)
            {
                BringFloatHome(translator);
            }
            context->InstructionCount -= uncounted;
            uncounted = 0;
            return false;
        }
    }
}
