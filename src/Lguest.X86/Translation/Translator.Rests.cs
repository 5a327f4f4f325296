// What happens when a run of bytes that a superblock shares a probe for is not to be had as one: because it lies across a page border, or
// because one of its bytes must not be written without notice. The first time C# executes the instruction, and has the superblock written
// again, now with a second way: behind the superblock stands, for each of its runs, the rest of the block that the run begins in, without
// any runs. Who misses a run goes that way, and finds the next block by a jump like everybody else.

using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    private readonly Rest[] rests = new Rest[SharedRuns.Limit];
    private int restCount;
    private int restInstructions;

    /// <summary>The rest of a block of the superblock.</summary>
    private struct Rest
    {
        /// <summary>Number of the block.</summary>
        public int Block;

        /// <summary>Number of the first instruction, in the superblock.</summary>
        public int First;

        /// <summary>Where the distance of the jump is that leads there.</summary>
        public byte* Distance;

        /// <summary>That jump comes with the flags saved rather than native.</summary>
        public bool FlagsSaved;

        /// <summary>The exit that it is if there is no room.</summary>
        public int Exit;
    }

    /// <summary>A run was missed, and not because the soft-TLB did not know it yet.</summary>
    /// <param name="exit">Number of the miss.</param>
    public void NoteRunMiss(int exit)
    {
        // SAFETY: the superblock that was left has not been given up, nor has its first block.
        unsafe
        {
            var head = (Block*)records[exit].Unlinked;
            if (!head->MissesRuns && head->Mode != Block.Dead)
            {
                head->MissesRuns = true;
                Translate(head);
            }
        }
    }

    /// <summary>Writes, at the cold cursor, the way out of a probe for a run.</summary>
    private void WriteRunMiss(int record)
    {
        // SAFETY: the addresses are only kept.
        unsafe
        {
            Block* head = superblock[0];
            int end = blockStart + block->Count;
            records[record].Unlinked = (nint)head;
            // In a rest attention might be asked for at once, which must not be right behind STI.
            bool behindSti = current > blockStart && superblock.Effects[current - 1].Form == InlineForm.InterruptFlag;
            if (!head->MissesRuns || behindSti || superblock.RepeatsStrings || restCount == rests.Length
                || restInstructions + end - current > Superblock.MaximumInstructions)
            {
                WriteExit(cold, record, flags.Places);
                return;
            }
            NoteX87(cold);
            FlagPlaces places = flags.Places;
            if ((places & (FlagPlaces.Saved | FlagPlaces.Native)) == 0)
            {
                flags.Recover(cold);
            }
            WriteSettled(cold);
            int number = superblock.NumberAt(current);
            rests[restCount++] = new Rest
            {
                Block = number,
                First = current,
                FlagsSaved = (places & (FlagPlaces.Saved | FlagPlaces.Native)) == FlagPlaces.Saved,
                Distance = cold.Jump(cold.Cursor),
                Exit = record,
            };
            restInstructions += end - current;
        }
    }

    private void WriteRests()
    {
        // SAFETY: as in Translate.
        unsafe
        {
            int count = restCount;
            runs.Clear();
            for (int i = 0; i < count; i++)
            {
                ref readonly Rest rest = ref rests[i];
                block = superblock[rest.Block];
                following = null;
                blockStart = superblock.StartOf(rest.Block);
                int poll = PollPlaceIn(rest.Block);
                pollAt = poll < 0 ? poll : Math.Max(poll, rest.First);
                MarkNeeded(rest.Block);
                arena.Align();
                byte* native = hot.Cursor;
                hot.SaveFlags();
                Emitter.Patch(rest.Distance, rest.FlagsSaved ? hot.Cursor : native);
                if (!HasRoomFor(BytesBeforeLastRest, RecordsBeforeLastRest))
                {
                    WriteExit(hot, rest.Exit, exitWithSavedFlags);
                    continue;
                }
                flags.Begin(FlagPlaces.Saved);
                stackBehind = 0;
                BeginFloat();
                WriteInstructions(rest.First);
            }
            restCount = 0;
            restInstructions = 0;
        }
    }
}
