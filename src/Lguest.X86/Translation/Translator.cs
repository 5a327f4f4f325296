// P:480 The translator. The interpreter decodes a block once and then still has to look at each operation every time it comes by. The
// translator writes the block out as machine code of the host: an ADD of the Guest becomes an ADD of the host, and the host's own
// processor does the looking.
//
// Guest and host are cousins, so most of it is renaming. The eight registers of the Guest live in eight of the host's sixteen for as
// long as translated code runs; the others hold the soft-TLB, the processor's state, a counter of instructions, three words to work
// with, and RAX the flags (FlagTracker tells of those). What the host cannot do for the Guest is done around it: an access to memory
// first asks the soft-TLB, a branch first finds the translation of its target, and whatever is not in InlineForms leaves for C#.
//
// A block has two doors, one for who comes with the flags in the host's register and one for who has them saved in RAX. It is written
// for the one that suits its first instructions, and the other door puts the flags right. When the bytes that a block came from change,
// or its memory is needed for others, every jump to it is turned back into what it was before it was linked: an exit to C#. :*

using Iced.Intel;
using Lguest.Platform;
using Lguest.X86.Execution;
using Lguest.X86.Memory;

namespace Lguest.X86.Translation;

/// <summary>Turns decoded blocks of flat 32-bit code into host code.</summary>
internal sealed unsafe partial class Translator : IDisposable
{
    private const HostRegister Temporary = HostRegister.R15;
    private const HostRegister LinearAddress = HostRegister.R10;
    private const HostRegister HostBase = HostRegister.R11;
    private const HostRegister ExitNumber = HostRegister.R11;
    private const HostRegister Counter = HostRegister.R12;
    private const HostRegister Tlb = HostRegister.R13;
    private const HostRegister Context = HostRegister.R14;
    private const HostRegister GuestEax = HostRegister.R8;
    private const HostRegister GuestEsp = HostRegister.R9;

    /// <summary>Misses after which a block shares no probes any more.</summary>
    private const int MostSharingMisses = 32;

    /// <summary>More exits than one block can have.</summary>
    private const int RecordsOfBlock = 1024;

    private readonly CodeArena arena;
    private readonly Emitter hot;
    private readonly Emitter cold;
    private readonly FlagTracker flags;
    private readonly SharedRuns runs = new();
    private readonly HostMemory jumpCacheMemory = new((nuint)(JumpCacheEntry.Count * sizeof(JumpCacheEntry)));
    private readonly InlineEffects[] effects = new InlineEffects[BlockDecoder.MaximumInstructions];
    private readonly bool[] neededAfter = new bool[BlockDecoder.MaximumInstructions];
    private readonly HostMemory recordMemory;
    private readonly ExitRecord* records;
    private readonly Ring recordRing;
    private uint nextRecord;
    private uint recordsCommitted;
    private int recordCount;
    private Block* block;
    private DecodedInstruction* instructions;
    private int current;
    private int firstRecord;
    private int pollAt;
    private bool touchesFloat;
    private byte* exitWithNativeFlags;
    private byte* exitWithSavedFlags;
    private byte* indirectBranch;

    /// <summary>Takes memory for translations.</summary>
    /// <param name="cacheBytes">The most that they may take, a multiple of 8192: one half is for code, the other for exit records, which take as much.</param>
    /// <exception cref="PlatformNotSupportedException">This host's way to executable memory is not known.</exception>
    /// <exception cref="OutOfMemoryException">The host refuses.</exception>
    public Translator(nuint cacheBytes)
    {
        arena = new CodeArena(cacheBytes / 2);
        recordRing = new Ring((uint)(cacheBytes / 2 / (nuint)sizeof(ExitRecord)), RecordsOfBlock);
        recordMemory = new HostMemory(cacheBytes / 2);
        records = (ExitRecord*)recordMemory.Address;
        jumpCacheMemory.Commit(0, jumpCacheMemory.Size);
        hot = arena.Hot;
        cold = arena.Cold;
        flags = new FlagTracker(hot);
        WriteThunks();
        arena.KeepWhatIsThere();
    }

    /// <summary>Where indirect branches look for their targets.</summary>
    public JumpCacheEntry* JumpCache => (JumpCacheEntry*)jumpCacheMemory.Address;

    /// <summary>What an exit number means.</summary>
    public ref ExitRecord this[int exit]
    {
        get
        {
            // SAFETY: emitted code leaves with numbers of records that were written with it.
            unsafe
            {
                return ref records[exit];
            }
        }
    }

    /// <summary>Address that C# enters a block at.</summary>
    public nint EntryOf(Block* entered)
    {
        // SAFETY: the caller's block is alive and translated.
        unsafe
        {
            return (nint)entered->Translation.EntrySaved + arena.WriteToRun;
        }
    }

    /// <summary>Where the code is.</summary>
    public CodeArena Arena => arena;

    /// <summary>Translates a block; the oldest translations make room for it.</summary>
    /// <param name="source">A flat block.</param>
    /// <param name="decoded">Its instructions.</param>
    public void Translate(Block* source, DecodedInstruction* decoded)
    {
        // SAFETY: the caller's block is alive, with as many instructions as it says.
        unsafe
        {
            Forget(source);
            while (oldest != null && !(arena.HasRoom(oldest) && recordRing.HasRoom(nextRecord, oldest->Translation.Record)))
            {
                Forget(oldest);
            }
            arena.Begin();
            recordCount = (int)nextRecord;
            block = source;
            instructions = decoded;
            Analyse();
            arena.Align();
            FlagPlaces start = StartingPlaces();
            WriteDoors(start);
            hot.LoadAddress(Counter, HostOperand.At(Counter, block->Count), 8);
            flags.Begin(start);
            BeginFloat();
            current = 0;
            if (CrossesPage)
            {
                WriteCheckOfLastPage();
            }
            bool ended = false;
            for (current = 0; current < block->Count; current++)
            {
                ended = WriteInstruction(in decoded[current].Instruction);
            }
            if (!ended)
            {
                current = block->Count - 1;
                NoteX87(hot);
                WriteEdge(block->EndEip);
            }
            Enter();
        }
    }

    private void Analyse()
    {
        // SAFETY: as in Translate.
        unsafe
        {
            int count = block->Count;
            for (int i = 0; i < count; i++)
            {
                ref readonly Instruction instruction = ref instructions[i].Instruction;
                effects[i] = instructions[i].Handler == 0
                    ? new InlineEffects(InlineForm.Called, true, true, false, true)
                    : InlineForms.Describe(in instruction, block->Mode);
            }
            PlanSharing();
            pollAt = PollPlace(count);
            bool needed = true;
            for (int i = count - 1; i >= 0; i--)
            {
                neededAfter[i] = needed;
                bool reads = effects[i].ReadsFlags || effects[i].Observable || i == pollAt;
                needed = reads || (needed && !effects[i].WritesAllFlags);
            }
        }
    }

    private void PlanSharing()
    {
        // SAFETY: as in Translate.
        unsafe
        {
            int accesses = 0;
            for (int i = 0; i < block->Count; i++)
            {
                accesses += effects[i].Observable && effects[i].Form != InlineForm.Called ? 1 : 0;
            }
            if (accesses > 1 && block->SharingMisses < MostSharingMisses)
            {
                runs.Plan(instructions, effects.AsSpan(0, block->Count));
            }
            else
            {
                runs.Clear();
            }
        }
    }

    /// <summary>A block has missed a run, and not because the soft-TLB did not know it yet; after many times it is written without runs.</summary>
    /// <param name="missed">The block.</param>
    /// <param name="decoded">Its instructions.</param>
    public void NoteSharingMiss(Block* missed, DecodedInstruction* decoded)
    {
        // SAFETY: as in Translate.
        unsafe
        {
            if (++missed->SharingMisses == MostSharingMisses && missed->Mode != Block.Dead)
            {
                Translate(missed, decoded);
            }
        }
    }

    /// <summary>Before which instruction to ask for attention, so that every loop asks; -1 for none.</summary>
    /// <remarks>Just before flags change is where asking costs least: it spoils flags that nobody needs but who answers the call.</remarks>
    private int PollPlace(int count)
    {
        // SAFETY: as in Translate.
        unsafe
        {
            InlineForm last = effects[count - 1].Form;
            bool backward = block->TakenEip <= instructions[count - 1].Instruction.IP32
                && last is InlineForm.Jump or InlineForm.JumpIf or InlineForm.Call;
            // Behind the last byte of all comes the first: a way back without a branch.
            bool wraps = block->EndEip < block->Eip;
            if (!backward && !wraps)
            {
                return -1;
            }
            for (int i = count - 1; i >= 0; i--)
            {
                if (effects[i].WritesFlags)
                {
                    return i;
                }
            }
            return count - 1;
        }
    }

    /// <summary>Where the first instructions of the block want the flags.</summary>
    private FlagPlaces StartingPlaces()
    {
        // SAFETY: as in Translate.
        unsafe
        {
            for (int i = 0; i < block->Count; i++)
            {
                if (effects[i].Observable || i == pollAt || CrossesPage)
                {
                    return FlagPlaces.Saved;
                }
                if (effects[i].ReadsFlags || (effects[i].WritesFlags && !effects[i].WritesAllFlags))
                {
                    return FlagPlaces.Native;
                }
                if (effects[i].WritesAllFlags)
                {
                    return FlagPlaces.Dead;
                }
            }
            return FlagPlaces.Native;
        }
    }

    private void WriteDoors(FlagPlaces start)
    {
        // SAFETY: the addresses are only kept.
        unsafe
        {
            ref BlockTranslation translation = ref block->Translation;
            byte* first = hot.Cursor;
            if (start == FlagPlaces.Native)
            {
                hot.RestoreFlags();
                translation.EntrySaved = first;
                translation.EntryNative = hot.Cursor;
                return;
            }
            if (start == FlagPlaces.Saved)
            {
                hot.SaveFlags();
            }
            translation.EntryNative = first;
            translation.EntrySaved = hot.Cursor;
        }
    }

    private bool CrossesPage
    {
        get
        {
            // SAFETY: as in Translate.
            unsafe
            {
                return ((block->Eip ^ (block->EndEip - 1)) & 0xFFFF_F000) != 0;
            }
        }
    }

    /// <summary>Who comes to an instruction across a page border has made sure of its first page only.</summary>
    private void WriteCheckOfLastPage()
    {
        // SAFETY: as in WriteEdgeAcrossPages.
        unsafe
        {
            uint last = block->EndEip - 1;
            _ = hot.MoveImmediate64(HostBase, (long)ExecuteEntry.Pack(last, block->LastFrame));
            hot.ArithmeticStore(Alu.Compare, 8, ExecuteEntryOf(last), HostBase);
            hot.JumpIf(HostCondition.NotEqual, cold.Cursor);
            WriteExit(cold, NewRecord(CodeExit.Remapped), flags.Places);
        }
    }

    private static HostOperand ExecuteEntryOf(uint linear) => HostOperand.At(
        Tlb, SoftTlb.DataBytes + (int)((linear >> 12) % SoftTlb.ExecuteEntries * (uint)sizeof(ExecuteEntry)));

    /// <summary>A record of an exit of the instruction that is being written.</summary>
    private int NewRecord(CodeExit kind)
    {
        // SAFETY: the block is only kept; the instruction is one of those that Translate was given.
        unsafe
        {
            return Add(new ExitRecord { Kind = kind, Instruction = (byte)current, Block = block, Units = unitsLive, TouchesFloat = touchesFloat });
        }
    }

    private int Add(in ExitRecord record)
    {
        const uint step = 4096;
        if (recordCount == recordsCommitted)
        {
            recordMemory.Commit((nuint)recordCount * (nuint)sizeof(ExitRecord), step * (nuint)sizeof(ExitRecord));
            recordsCommitted += step;
        }
        // SAFETY: Translate has made room for the records of a block.
        unsafe
        {
            records[recordCount] = record;
        }
        return recordCount++;
    }

    /// <summary>Writes an exit from a point where the flags are where the tracker says.</summary>
    private void WriteExit(Emitter emitter, int record, FlagPlaces places)
    {
        // SAFETY: the thunks were written by the constructor.
        unsafe
        {
            NoteX87(emitter);
            if ((places & (FlagPlaces.Saved | FlagPlaces.Native)) == 0)
            {
                flags.Recover(emitter);
            }
            bool saved = (places & (FlagPlaces.Saved | FlagPlaces.Native)) == FlagPlaces.Saved;
            WriteExit(emitter, record, saved ? exitWithSavedFlags : exitWithNativeFlags);
        }
    }

    private static void WriteExit(Emitter emitter, int record, byte* thunk)
    {
        // SAFETY: the thunk's address is only subtracted.
        unsafe
        {
            emitter.MoveImmediate(ExitNumber, (uint)record);
            emitter.Jump(thunk);
        }
    }

    /// <summary>Writes one instruction; true when it has also written where the block goes on.</summary>
    private bool WriteInstruction(in Instruction i)
    {
        // SAFETY: the addresses are only kept.
        unsafe
        {
            if (current == pollAt)
            {
                WritePoll();
            }
            touchesFloat = InlineFloat.Touches(i);
            firstRecord = recordCount;
            bool ends = false;
            if (effects[current].Form == InlineForm.Called)
            {
                WriteCall(i, block->Count - 1 == current);
                ends = block->Count - 1 == current;
            }
            else
            {
                ends = WriteInline(i);
            }
            for (int record = firstRecord; record < recordCount && !ends; record++)
            {
                // Behind the instruction the code would count on the run that was not found.
                records[record].Next = records[record].Kind == CodeExit.RunMiss ? 0 : (nint)hot.Cursor + arena.WriteToRun;
            }
            return ends;
        }
    }

    private void WritePoll()
    {
        // SAFETY: the addresses are only subtracted.
        unsafe
        {
            flags.BeforeClobber();
            hot.Arithmetic(Alu.Compare, 8, Counter, HostOperand.At(Context, ContextLayout.AttentionAt));
            hot.JumpIf(HostCondition.AboveOrEqual, cold.Cursor);
            WriteExit(cold, NewRecord(CodeExit.Attention), flags.Places);
        }
    }

    /// <summary>Goes on at a known address, by a jump that can be linked.</summary>
    private void WriteEdge(uint target) => WriteEdge(hot, target, flags.Places);

    private void WriteEdge(Emitter emitter, uint target, FlagPlaces places)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            if (((target ^ block->Eip) & 0xFFFF_F000) != 0)
            {
                WriteEdgeAcrossPages(emitter, target, places);
                return;
            }
            if ((places & (FlagPlaces.Native | FlagPlaces.Saved)) == 0)
            {
                flags.Recover(emitter);
                places = FlagPlaces.Native;
            }
            WriteLink(emitter.Jump(cold.Cursor), target, (places & FlagPlaces.Native) == 0);
        }
    }

    /// <summary>The exit that a branch leads to until it is linked, at the cold cursor.</summary>
    private void WriteLink(byte* distance, uint target, bool saved)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            int record = NewRecord(CodeExit.Link);
            records[record].Retry = (nint)target;
            records[record].Next = (nint)distance;
            records[record].Unlinked = (nint)cold.Cursor;
            records[record].FlagsSaved = saved;
            WriteExit(cold, record, saved ? exitWithSavedFlags : exitWithNativeFlags);
        }
    }

    /// <summary>The same, to another page: what is mapped there may change, so the instruction TLB is asked each time.</summary>
    private void WriteEdgeAcrossPages(Emitter emitter, uint target, FlagPlaces places)
    {
        // SAFETY: the addresses are only kept and subtracted; the entry's place is inside the instruction TLB.
        unsafe
        {
            if ((places & (FlagPlaces.Saved | FlagPlaces.Replay)) == 0)
            {
                emitter.SaveFlags();
                places = FlagPlaces.Saved;
            }
            places &= ~FlagPlaces.Native;
            bool saved = (places & FlagPlaces.Saved) != 0;
            int record = NewRecord(CodeExit.LinkAcrossPages);
            records[record].Retry = (nint)target;
            records[record].FlagsSaved = saved;
            records[record].Unlinked = (nint)emitter.MoveImmediate64(HostBase, unchecked((long)NothingIsMappedSo));
            emitter.ArithmeticStore(Alu.Compare, 8, ExecuteEntryOf(target), HostBase);
            byte* toExit = emitter.JumpIf(HostCondition.NotEqual, cold.Cursor);
            if (!saved)
            {
                flags.Recover(emitter);
            }
            records[record].Next = (nint)emitter.Jump(cold.Cursor);
            Emitter.Patch(toExit, cold.Cursor);
            WriteExit(cold, record, places);
        }
    }

    /// <summary>Releases the code; nobody may be running it.</summary>
    public void Dispose()
    {
        arena.Dispose();
        recordMemory.Dispose();
        jumpCacheMemory.Dispose();
    }
}
