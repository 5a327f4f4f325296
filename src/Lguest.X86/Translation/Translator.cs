// P:480 The translator. The interpreter decodes a block once and then still has to look at each operation every time it comes by. The
// translator writes the block out as machine code of the host: an ADD of the Guest becomes an ADD of the host, and the host's own
// processor does the looking.
//
// Guest and host are cousins, so most of it is renaming. The eight registers of the Guest live in eight of the host's sixteen for as
// long as translated code runs; the others hold the soft-TLB, the processor's state, a counter of instructions, three words to work
// with, and RAX the flags (FlagTracker tells of those). What the host cannot do for the Guest is done around it: an access to memory
// first asks the soft-TLB, a branch first finds the translation of its target, and whatever is not in InlineForms leaves for C#.
//
// Blocks that mostly come one behind the other are written as one piece (Superblock.cs). A piece has two doors, one for who comes with the
// flags in the host's register and one for who has them saved in RAX. It is written for the one that suits its first instructions, and the
// other door puts the flags right. When the bytes that a block came from change, or its memory is needed for others, every jump to it is
// turned back into what it was before it was linked: an exit to C#. :*

using System.Diagnostics;
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

    /// <summary>More exits than one translation can have.</summary>
    private const int RecordsOfBlock = 1024;

    // The longest code of a block is that of 64 times POP FS, some 11 KiB of it cold, and it has the most exits, 250. As long as no more than this is
    // used there is room for two: the block that comes next, and one behind it to which it leads without a jump.
    private const int BytesBeforeLastBlocks = 12 * 1024;
    private const int RecordsBeforeLastBlocks = 480;

    // And here for one.
    private const int BytesBeforeLastRest = 20 * 1024;
    private const int RecordsBeforeLastRest = 740;

    private readonly CodeArena arena;
    private readonly Emitter hot;
    private readonly Emitter cold;
    private readonly FlagTracker flags;
    private readonly SharedRuns runs = new();
    private readonly HeldRuns heldRuns;
    private readonly HostMemory jumpCacheMemory = new((nuint)(JumpCacheEntry.Count * sizeof(JumpCacheEntry)));
    private readonly Superblock superblock = new();
    private readonly bool[] neededAfter = new bool[Superblock.MaximumInstructions];
    private readonly long warm;
    private readonly HostMemory recordMemory;
    private readonly ExitRecord* records;
    private readonly Ring recordRing;
    private uint nextRecord;
    private uint recordsCommitted;
    private int recordCount;
    private Block* block;
    private Block* following;
    private int blockStart;
    private int current;
    private int firstRecord;
    private int pollAt;
    private bool touchesFloat;
    private byte* exitWithNativeFlags;
    private byte* exitWithSavedFlags;
    private byte* indirectBranch;

    /// <summary>Takes memory for translations.</summary>
    /// <param name="cacheBytes">The most that they may take, a multiple of 8192: one half is for code, the other for exit records, which take as much.</param>
    /// <param name="warm">A block that has at most so many executions to go until it is hot goes along with a hot one before it; -1 for none.</param>
    /// <exception cref="PlatformNotSupportedException">This host's way to executable memory is not known.</exception>
    /// <exception cref="OutOfMemoryException">The host refuses.</exception>
    public Translator(nuint cacheBytes, long warm)
    {
        this.warm = warm;
        arena = new CodeArena(cacheBytes / 2);
        recordRing = new Ring((uint)(cacheBytes / 2 / (nuint)sizeof(ExitRecord)), RecordsOfBlock);
        recordMemory = new HostMemory(cacheBytes / 2);
        records = (ExitRecord*)recordMemory.Address;
        jumpCacheMemory.Commit(0, jumpCacheMemory.Size);
        hot = arena.Hot;
        cold = arena.Cold;
        flags = new FlagTracker(hot);
        heldRuns = new HeldRuns(hot);
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

    /// <summary>What was translated last.</summary>
    public Superblock Superblock => superblock;

    /// <summary>Where the code is.</summary>
    public CodeArena Arena => arena;

    /// <summary>Translates a block and those that usually come behind it; the oldest translations make room for it.</summary>
    /// <param name="head">A flat block.</param>
    public void Translate(Block* head)
    {
        // SAFETY: the caller's block is alive, and so is what the superblock finds; all lie in one page, and are given up together.
        unsafe
        {
            Forget(head);
            while (oldest != null && !(arena.HasRoom(oldest) && recordRing.HasRoom(nextRecord, oldest->Translation.Record)))
            {
                Forget(oldest);
            }
            arena.Begin();
            recordCount = (int)nextRecord;
            superblock.Plan(head, warm);
            Analyse();
            arena.Align();
            block = head;
            FlagPlaces start = StartingPlaces();
            WriteDoors(start);
            flags.Begin(start);
            heldRuns.Clear();
            stackBehind = 0;
            BeginFloat();
            int number = 0;
            do
            {
                WriteBlock(number++);
            }
            while (following != null);
            WriteRests();
            block = head;
            Enter();
        }
    }

    private void WriteBlock(int number)
    {
        // SAFETY: as in Translate.
        unsafe
        {
            block = superblock[number];
            following = HasRoomFor(BytesBeforeLastBlocks, RecordsBeforeLastBlocks) ? superblock[number + 1] : null;
            blockStart = superblock.StartOf(number);
            current = blockStart;
            hot.LoadAddress(Counter, HostOperand.At(Counter, block->Count), 8);
            if (CrossesPage)
            {
                WriteCheckOfLastPage();
            }
            WriteInstructions(blockStart);
        }
    }

    /// <summary>Whether so little of the room for a translation is used that there is enough for what must not be given up half-way.</summary>
    private bool HasRoomFor(int bytes, int exits) => arena.Written < bytes && recordCount - (int)nextRecord < exits;

    /// <summary>Writes the instructions of the block from one of them on.</summary>
    private void WriteInstructions(int first)
    {
        // SAFETY: as in Translate.
        unsafe
        {
            bool ended = false;
            int end = blockStart + block->Count;
            for (current = first; current < end; current++)
            {
                ended = WriteInstruction(in superblock.Instructions[current].Instruction);
            }
            current = end - 1;
            if (!ended && following == null)
            {
                NoteX87(hot);
                WriteEdge(block->EndEip);
            }
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
            return Add(new ExitRecord { Kind = kind, Instruction = (byte)(current - blockStart), Block = block, Units = unitsLive, TouchesFloat = touchesFloat, BehindAtRetry = (short)stackBehind });
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
            WriteSettled(emitter);
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
            SettleStackFor(i);
            touchesFloat = InlineFloat.Touches(i);
            firstRecord = recordCount;
            bool ends = false;
            if (Effects.Form == InlineForm.Called)
            {
                ends = current - blockStart == block->Count - 1;
                WriteCall(i, ends);
            }
            else
            {
                ends = WriteInline(i);
            }
            for (int record = firstRecord; record < recordCount && !ends; record++)
            {
                // Behind the instruction the code would count on the run that was not found.
                bool comesBack = records[record].Kind != CodeExit.RunMiss;
                records[record].Next = comesBack ? (nint)hot.Cursor + arena.WriteToRun : 0;
                records[record].BehindAtNext = (short)stackBehind;
                if (comesBack)
                {
                    heldRuns.Clear();
                }
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
    private void WriteEdge(uint target)
    {
        SettleStack();
        WriteEdge(hot, target, flags.Places);
    }

    private void WriteEdge(Emitter emitter, uint target, FlagPlaces places, bool call = false)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            Debug.Assert(stackBehind == 0, "Nobody there knows.");
            if (((target ^ block->Eip) & 0xFFFF_F000) != 0)
            {
                WriteEdgeAcrossPages(emitter, target, places, call);
                return;
            }
            if ((places & (FlagPlaces.Native | FlagPlaces.Saved)) == 0)
            {
                flags.Recover(emitter);
                places = FlagPlaces.Native;
            }
            WriteLink(call ? emitter.Call(cold.Cursor) : emitter.Jump(cold.Cursor), target, (places & FlagPlaces.Native) == 0);
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
    private void WriteEdgeAcrossPages(Emitter emitter, uint target, FlagPlaces places, bool call)
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
            records[record].Next = (nint)(call ? emitter.Call(cold.Cursor) : emitter.Jump(cold.Cursor));
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
