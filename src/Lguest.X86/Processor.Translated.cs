// The translating engine seen from C#: which block to run, whether it is worth translating, and what to do when translated code leaves.
// Blocks are interpreted first; one that has been executed often enough is translated, and from then on C# only hears of it when
// something is missing. The state is the same for both engines, only the six status flags change their form on the way in and out.

using Lguest.X86.Execution;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Translation;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const long NeverHot = long.MaxValue;
    private const uint SavedOverflow = 1;

    private readonly Translator? translator;
    private bool stoppedAtHotBlock;

    /// <summary>The translator, or null when the interpreter executes everything.</summary>
    internal Translator? Translator => translator;
    private readonly long[] codeExits = new long[Enum.GetValues<CodeExit>().Length];

    /// <summary>How often translated code has returned to C#, by reason.</summary>
    internal IReadOnlyDictionary<CodeExit, long> CodeExits => Enum.GetValues<CodeExit>().ToDictionary(kind => kind, kind => codeExits[(int)kind]);

    /// <summary>The engine that executes most instructions.</summary>
    public EngineKind Engine => translator is null ? EngineKind.Interpreter : EngineKind.Translator;

    /// <summary>Executions after which a new block of the current mode is worth translating.</summary>
    private long InitialHeat() =>
        options.StopsExactly ? 0 : translator is not null && (context->BlockMode & BlockMode.Flat) != 0 ? options.TranslateAfter : NeverHot;

    /// <summary>The same as ExecuteBlocks, with translated code where there is some.</summary>
    private bool ExecuteTranslated(Translator code)
    {
        // SAFETY: blocks keep their memory until finding a block has to decode one, and code and exit records theirs until a block is translated;
        // what was given up is counted, and nothing kept across that is used when it was. Records and places in the code come from the translator.
        unsafe
        {
            leaveBlocks = false;
            context->JumpCache = code.JumpCache;
            while (true)
            {
                Block* block = FindBlockAtEip();
                if (block == null)
                {
                    return true;
                }
                if (WantsAttention)
                {
                    return false;
                }
                if (!IsTranslated(code, block))
                {
                    stoppedAtHotBlock = false;
                    bool faulted = ExecuteBlocks();
                    if (!stoppedAtHotBlock)
                    {
                        return faulted;
                    }
                    continue;
                }
                context->FlagsWord = PackFlags(state->Flags.Value);
                switch (RunTranslated(code, code.EntryOf(block)))
                {
                    case TranslatedEnd.Fault:
                        return true;
                    case TranslatedEnd.Leave:
                        return false;
                }
            }
        }
    }

    /// <summary>Why translated code does not go on.</summary>
    private enum TranslatedEnd
    {
        /// <summary>It does.</summary>
        None,

        /// <summary>An exception is noted.</summary>
        Fault,

        /// <summary>The outer loop is wanted.</summary>
        Leave,

        /// <summary>EIP is at a block that is not translated.</summary>
        Interpret,
    }

    private TranslatedEnd RunTranslated(Translator code, nint entry)
    {
        // SAFETY: as in ExecuteTranslated.
        unsafe
        {
            while (true)
            {
                context->Tlb = currentTlb.Data;
                context->SupervisorTlb = currentSpace.Supervisor.Data;
                int exit = code.Enter(context, entry);
                // SYSENTER and SYSEXIT change rings in place.
                currentTlb = TlbFor(state->PrivilegeLevel == 3);
                ExitRecord record = exit == Translator.IndirectExit ? new ExitRecord { Kind = CodeExit.Indirect } : code[exit];
                codeExits[(int)record.Kind]++;
                if (TargetOf(record) is { } target)
                {
                    TranslatedEnd end = Follow(code, target, exit, record.Kind, out entry);
                    if (end != TranslatedEnd.None)
                    {
                        return end;
                    }
                    continue;
                }
                switch (record.Kind)
                {
                    case CodeExit.ReadMiss or CodeExit.WriteMiss or CodeExit.RunMiss:
                        if ((context->Address & 0xFFF) + record.Size <= MachineMemory.FrameSize)
                        {
                            uint operand = context->Address + record.Offset;
                            long forgotten = code.Forgotten;
                            bool filled = TryFillData(currentTlb, operand, record.Writes, out _);
                            // Marking a table's entry as used may have changed code there, maybe this block's.
                            if (!filled || forgotten != code.Forgotten)
                            {
                                BringHome(code);
                                LeaveAt(record.Block, record.Instruction);
                                return filled ? TranslatedEnd.Interpret : TranslatedEnd.Fault;
                            }
                            TlbEntry* found = Entry(currentTlb.Data, operand);
                            if ((record.ProbeWrites ? found->WriteTag : found->ReadTag) == (operand & PageMask))
                            {
                                entry = Behind(record.BehindAtRetry, record.Retry);
                                continue;
                            }
                        }
                        if (record.Kind == CodeExit.RunMiss)
                        {
                            code.NoteRunMiss(exit);
                        }
                        break;
                    case CodeExit.Interrupt or CodeExit.InterruptReturn when TryCross(record, out bool mayBeInterrupted):
                        if (mayBeInterrupted)
                        {
                            BringHome(code);
                            return TranslatedEnd.Leave;
                        }
                        if (Follow(code, state->Eip, exit, record.Kind, out entry) is not TranslatedEnd.None and TranslatedEnd crossed)
                        {
                            return crossed;
                        }
                        continue;
                    case CodeExit.Attention:
                        BringHome(code);
                        LeaveAt(record.Block, record.Instruction);
                        return TranslatedEnd.Leave;
                    case CodeExit.Float when TryBringFloatIn(code, record.Units):
                        entry = Behind(record.BehindAtRetry, record.Retry);
                        continue;
                }
                UnpackFlags();
                if (record.TouchesFloat)
                {
                    BringFloatHome(code);
                }
                if (!RunReference(record.Block, record.Instruction, record.Next != 0))
                {
                    BringFloatHome(code);
                    return TranslatedEnd.Leave;
                }
                if (record.Units > context->FloatLive && !TryBringFloatIn(code, record.Units))
                {
                    context->InstructionCount -= record.Block->Count - record.Instruction - 1;
                    return TranslatedEnd.Interpret;
                }
                context->FlagsWord = PackFlags(state->Flags.Value);
                entry = Behind(record.BehindAtNext, record.Next);
            }
        }
    }

    /// <summary>The way back into the middle of a superblock, where R9 is not ESP.</summary>
    private nint Behind(int bytes, nint entry)
    {
        // SAFETY: the state is the processor's own.
        unsafe
        {
            state->General[Esp] -= (uint)bytes;
            return entry;
        }
    }

    /// <summary>INT n or IRETD in the short way, if that leads to where it led before.</summary>
    /// <param name="record">The exit.</param>
    /// <param name="mayBeInterrupted">External interrupts have become allowed, and one may have waited for that.</param>
    private bool TryCross(in ExitRecord record, out bool mayBeInterrupted)
    {
        // SAFETY: as in ExecuteTranslated.
        unsafe
        {
            DecodedInstruction* decoded = InstructionOf(record.Block, record.Instruction);
            bool wasAllowed = (state->SystemFlags & Eflags.Interrupt) != 0;
            bool crossed = record.Kind == CodeExit.Interrupt
                ? TryEnterAsBefore(decoded->Instruction.Immediate8, decoded->Instruction.NextIP32)
                : TryLeaveAsBefore();
            if (crossed)
            {
                context->InstructionCount -= record.Block->Count - record.Instruction - 1;
            }
            mayBeInterrupted = !wasAllowed && (state->SystemFlags & Eflags.Interrupt) != 0;
            return crossed;
        }
    }

    /// <summary>Where an exit wants to go on, if that is all that it wants. The counts are right afterwards.</summary>
    private uint? TargetOf(in ExitRecord record)
    {
        // SAFETY: as in ExecuteTranslated.
        unsafe
        {
            switch (record.Kind)
            {
                case CodeExit.Indirect:
                    return context->Address;
                case CodeExit.Link or CodeExit.LinkAcrossPages:
                    return (uint)record.Retry;
                case CodeExit.Remapped:
                    context->InstructionCount -= record.Block->Count;
                    return record.Block->Eip;
                default:
                    return null;
            }
        }
    }

    /// <summary>Goes on at an address in translated code, if there is some, and lets whoever asked find it without C# next time.</summary>
    private TranslatedEnd Follow(Translator code, uint eip, int exit, CodeExit kind, out nint entry)
    {
        // SAFETY: as in ExecuteTranslated.
        unsafe
        {
            entry = 0;
            state->Eip = eip;
            long forgotten = code.Forgotten;
            Block* target = FindBlockAtEip();
            TranslatedEnd end = target == null ? TranslatedEnd.Fault
                : WantsAttention ? TranslatedEnd.Leave
                : IsTranslated(code, target) ? TranslatedEnd.None : TranslatedEnd.Interpret;
            if (end != TranslatedEnd.None)
            {
                BringHome(code);
                return end;
            }
            entry = code.EntryOf(target);
            if (forgotten == code.Forgotten)
            {
                Remember(code, exit, kind, target);
            }
            return end;
        }
    }

    /// <summary>Lets an exit lead to its target by itself from now on.</summary>
    private void Remember(Translator code, int exit, CodeExit kind, Block* target)
    {
        // SAFETY: as in ExecuteTranslated; the slot's number is cut to the cache.
        unsafe
        {
            switch (kind)
            {
                case CodeExit.Indirect when options.ChainBlocks:
                    JumpCacheEntry* slot = code.JumpCache + (target->Eip % JumpCacheEntry.Count);
                    slot->Key = ((ulong)context->BlockMode << 32) | target->Eip;
                    slot->Mapping = ExecuteEntry.Pack(target->Eip, target->Frame);
                    slot->Code = (byte*)code.EntryOf(target);
                    break;
                case CodeExit.Link or CodeExit.LinkAcrossPages when options.ChainBlocks:
                    code.Link(exit, target);
                    break;
            }
        }
    }

    /// <summary>Whether a block has translated code, which it gets now if it is hot.</summary>
    private bool IsTranslated(Translator code, Block* block)
    {
        // SAFETY: as in ExecuteTranslated.
        unsafe
        {
            if (block->Translation.EntrySaved != null)
            {
                return true;
            }
            if (block->Heat > 0)
            {
                return false;
            }
            code.Translate(block);
            return true;
        }
    }

    private Block* FindBlockAtEip()
    {
        // SAFETY: as in ExecuteTranslated; both indices are cut to their tables.
        unsafe
        {
            uint eip = state->Eip;
            Block* block = blocks.JumpTable[BlockCache.JumpIndex(eip)];
            if (block != null && block->Eip == eip && block->Mode == context->BlockMode)
            {
                // In a flat block EIP is the linear address. A walk through the page tables may mark entries as used, and change code there.
                if (!TryFillExecute(eip, out uint physical))
                {
                    return null;
                }
                if (physical >> 12 == block->Frame && block->Mode == context->BlockMode)
                {
                    return block;
                }
            }
            return FindBlock(null);
        }
    }

    /// <summary>Status flags as LAHF and SETO would leave them.</summary>
    private static uint PackFlags(uint flags) => ((flags & Eflags.Status & 0xFF) << 8) | ((flags & Eflags.Overflow) != 0 ? SavedOverflow : 0);

    /// <summary>Leaves nothing of the Guest's state in the host's registers or in their form.</summary>
    private void BringHome(Translator code)
    {
        UnpackFlags();
        BringFloatHome(code);
    }

    private void UnpackFlags() => state->Flags.Value = SavedStatus(context->FlagsWord);

    /// <summary>Status flags from what LAHF and SETO left.</summary>
    private static uint SavedStatus(uint word) => ((word >> 8) & Eflags.Status & 0xFF) | ((word & SavedOverflow) != 0 ? Eflags.Overflow : 0);
}
