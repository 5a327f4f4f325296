// A basic block is four or five instructions, and at each border between two the translator would forget what it knew: where the flags
// can be had from, which page was asked for, what the host's units hold. So a hot block is translated together with the blocks that
// usually come behind it, as one straight line with one way in and many ways out: a *superblock*. A loop becomes its own turns, several
// times over, and one probe finds the elements of all of them.
//
// Which blocks come behind is no guess: the interpreter, which has executed them some times before, has linked them and counted. All
// lie in one page and one frame, so whatever makes one of them untrue kills the first, whose doors are the only way in.

using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

/// <summary>The blocks that are translated as one, in one object for all translations.</summary>
internal sealed unsafe class Superblock
{
    /// <summary>The most instructions of one.</summary>
    public const int MaximumInstructions = 2 * BlockDecoder.MaximumInstructions;

    private const int MaximumBlocks = 24;

    /// <summary>How often a loop is written.</summary>
    private const int MaximumTurns = 8;

    private readonly Block*[] blocks = new Block*[MaximumBlocks];
    private readonly int[] starts = new int[MaximumBlocks + 1];
    private readonly DecodedInstruction[] instructions = new DecodedInstruction[MaximumInstructions];
    private readonly InlineEffects[] effects = new InlineEffects[MaximumInstructions];
    private int turns;
    private int turnStart;

    /// <summary>Number of blocks.</summary>
    public int Count { get; private set; }

    /// <summary>The instructions of all blocks.</summary>
    public ReadOnlySpan<DecodedInstruction> Instructions => instructions.AsSpan(0, starts[Count]);

    /// <summary>What the translator knows of each.</summary>
    public ReadOnlySpan<InlineEffects> Effects => effects.AsSpan(0, starts[Count]);

    /// <summary>A block; null behind the last.</summary>
    public Block* this[int number]
    {
        get
        {
            // SAFETY: the address is only handed out.
            unsafe
            {
                return number < Count ? blocks[number] : null;
            }
        }
    }

    /// <summary>A repeated string instruction is among them, whose code is long: its block is translated alone.</summary>
    public bool RepeatsStrings { get; private set; }

    /// <summary>Number of the block that an instruction belongs to.</summary>
    public int NumberAt(int instruction)
    {
        int number = 0;
        while (starts[number + 1] <= instruction)
        {
            number++;
        }
        return number;
    }

    /// <summary>Number of a block's first instruction.</summary>
    public int StartOf(int number) => starts[number];

    /// <summary>Collects the blocks to translate with a hot one.</summary>
    /// <param name="head">The hot block, in flat mode.</param>
    /// <param name="warm">A block that has at most so many executions to go until it is hot itself goes along; -1 for none.</param>
    public void Plan(Block* head, long warm)
    {
        // SAFETY: links between blocks lead to blocks that have memory.
        unsafe
        {
            Count = 0;
            turns = 0;
            RepeatsStrings = false;
            Append(head);
            Block* next = head;
            while (warm >= 0 && next != null && !RepeatsStrings)
            {
                next = Successor(blocks[Count - 1], warm);
                if (next != null)
                {
                    Append(next);
                }
            }
            if (RepeatsStrings && Count > 1)
            {
                Count--;
                RepeatsStrings = false;
            }
            // A turn that was begun and does not lead back would be a second copy of code that is also translated by itself.
            if (turns > 1 && !LeadsTo(blocks[Count - 1], head))
            {
                Count = turnStart;
            }
        }
    }

    private void Append(Block* block)
    {
        // SAFETY: as in Plan; the caller has made sure that there is room.
        unsafe
        {
            if (block == blocks[0] || Count == 0)
            {
                turns++;
                turnStart = Count;
            }
            int start = Count == 0 ? 0 : starts[Count];
            starts[Count] = start;
            blocks[Count++] = block;
            starts[Count] = start + block->Count;
            new ReadOnlySpan<DecodedInstruction>(Processor.InstructionOf(block, 0), block->Count).CopyTo(instructions.AsSpan(start));
            for (int i = start; i < starts[Count]; i++)
            {
                effects[i] = instructions[i].Handler == 0
                    ? new InlineEffects(InlineForm.Called, true, true, false, true)
                    : InlineForms.Describe(in instructions[i].Instruction, block->Mode);
                RepeatsStrings |= effects[i].Form == InlineForm.RepeatedString;
            }
        }
    }

    /// <summary>The block that most often comes behind another, if it can be written there.</summary>
    private Block* Successor(Block* last, long warm)
    {
        // SAFETY: as in Plan.
        unsafe
        {
            InlineForm end = effects[starts[Count] - 1].Form;
            Block* taken = end is InlineForm.Jump or InlineForm.JumpIf ? last->Taken.Target : null;
            Block* next = end is InlineForm.JumpIf or < InlineForm.Jump and not (InlineForm.Called or InlineForm.InterruptFlag) ? last->Next.Target : null;
            Block* likely = taken == null || (next != null && next->Heat < taken->Heat) ? next : taken;
            uint eip = likely == taken ? last->TakenEip : last->EndEip;
            return likely != null && likely->Eip == eip && IsOfOneMind(likely) && likely->Heat <= warm && CanFollow(likely) ? likely : null;
        }
    }

    /// <summary>Whether a block lies in the page and frame of the first, and assumes the same.</summary>
    private bool IsOfOneMind(Block* block)
    {
        // SAFETY: as in Plan.
        unsafe
        {
            Block* head = blocks[0];
            const uint page = 0xFFFF_F000;
            return block->Mode == head->Mode && block->Frame == head->Frame
                && ((block->Eip ^ head->Eip) & page) == 0 && (((block->EndEip - 1) ^ head->Eip) & page) == 0
                && (((head->EndEip - 1) ^ head->Eip) & page) == 0;
        }
    }

    /// <summary>A block follows if it has no code of its own to jump to, once in each turn; the first block follows to begin another turn.</summary>
    private bool CanFollow(Block* block)
    {
        // SAFETY: as in Plan.
        unsafe
        {
            if (Count == MaximumBlocks || starts[Count] + block->Count > MaximumInstructions)
            {
                return false;
            }
            if (block == blocks[0])
            {
                return turns < MaximumTurns;
            }
            bool isNew = block->Translation.EntrySaved == null;
            for (int i = turnStart; i < Count; i++)
            {
                isNew &= blocks[i] != block;
            }
            return isNew;
        }
    }

    private static bool LeadsTo(Block* last, Block* head)
    {
        // SAFETY: as in Plan.
        unsafe
        {
            return last->Taken.Target == head || last->Next.Target == head;
        }
    }
}
