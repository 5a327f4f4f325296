// The debug registers and single-stepping (Intel SDM volume 3, chapter 17). While a breakpoint on instructions is armed the processor
// runs on the reference path, one instruction at a time; pages with a watchpoint on data stay out of the soft-TLB. Nobody else pays.

using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>Bits of DR6 and DR7.</summary>
internal static class DebugBits
{
    /// <summary>DR6.BD: a debug register was about to be accessed.</summary>
    public const uint AccessDetected = 0x2000;

    /// <summary>DR6.BS: single step.</summary>
    public const uint SingleStep = 0x4000;

    /// <summary>DR7.GD.</summary>
    public const uint GeneralDetect = 0x2000;
}

public sealed unsafe partial class Processor
{
    private const uint WatchExecute = 0;
    private const uint WatchWrite = 1;
    private const uint WatchReadWrite = 3;

    private bool breakpointsArmed;
    private bool watchpointsArmed;
    private uint watchpointsHit;
    private bool singleStepping;

    /// <summary>The debug traps behind the current instruction wait for the next one (MOV SS and POP SS).</summary>
    internal bool DebugShadow { get; set; }

    /// <summary>Writes a debug register and arms what DR7 says.</summary>
    internal void SetDebugRegister(int number, uint value)
    {
        state->Debug[number] = value;
        ArmDebugging();
    }

    private bool BreakpointEnabled(int number) => (state->Debug[7] & (3u << (number * 2))) != 0;

    private uint BreakpointKind(int number) => (state->Debug[7] >> (16 + (number * 4))) & 3;

    private uint BreakpointLength(int number) => ((state->Debug[7] >> (18 + (number * 4))) & 3) switch { 0 => 1, 1 => 2, 2 => 8, _ => 4 };

    private void ArmDebugging()
    {
        bool instructions = false;
        bool data = false;
        for (int i = 0; i < 4; i++)
        {
            if (BreakpointEnabled(i))
            {
                bool execute = BreakpointKind(i) == WatchExecute;
                instructions |= execute;
                data |= !execute;
            }
        }
        breakpointsArmed = instructions || data;
        if (watchpointsArmed || data)
        {
            FlushAddressSpaces();
        }
        watchpointsArmed = data;
        UpdateMode();
        leaveBlocks = true;
    }

    private bool PageIsWatched(uint linearPage)
    {
        if (watchpointsArmed)
        {
            for (int i = 0; i < 4; i++)
            {
                uint first = state->Debug[i];
                uint last = first + BreakpointLength(i) - 1;
                if (BreakpointEnabled(i) && ((first & 0xFFFF_F000) == linearPage || (last & 0xFFFF_F000) == linearPage))
                {
                    return true;
                }
            }
        }
        return false;
    }

    private void NoteDataAccess(uint linear, uint size, bool write)
    {
        if (!watchpointsArmed)
        {
            return;
        }
        for (int i = 0; i < 4; i++)
        {
            uint kind = BreakpointKind(i);
            bool wanted = kind == WatchReadWrite || (kind == WatchWrite && write);
            uint length = BreakpointLength(i);
            uint start = state->Debug[i] & ~(length - 1);
            if (BreakpointEnabled(i) && wanted && linear < start + length && start < linear + size)
            {
                watchpointsHit |= 1u << i;
            }
        }
    }

    /// <summary>One instruction with everything that debugging adds before and behind it.</summary>
    private void StepWithDebug()
    {
        bool resume = (state->SystemFlags & Eflags.Resume) != 0;
        uint hit = resume ? 0 : InstructionBreakpoints();
        if (hit != 0)
        {
            RaiseDebug(hit);
            return;
        }
        singleStepping = (state->SystemFlags & Eflags.Trap) != 0;
        DebugShadow = false;
        if (!TryStepReference())
        {
            watchpointsHit = 0;
            DeliverPendingException();
            return;
        }
        uint reasons = watchpointsHit | (singleStepping ? DebugBits.SingleStep : 0);
        if (reasons != 0 && !hostExitPending && !DebugShadow)
        {
            watchpointsHit = 0;
            RaiseDebug(reasons);
        }
    }

    private uint InstructionBreakpoints()
    {
        uint hit = 0;
        if (breakpointsArmed)
        {
            uint linear = state->Segments[(int)SegmentName.CS].Base + state->Eip;
            for (int i = 0; i < 4; i++)
            {
                if (BreakpointEnabled(i) && BreakpointKind(i) == WatchExecute && state->Debug[i] == linear)
                {
                    hit |= 1u << i;
                }
            }
        }
        return hit;
    }

    private void RaiseDebug(uint reasons)
    {
        state->Debug[6] |= reasons;
        Fault(Vector.Debug);
        DeliverPending();
    }
}
