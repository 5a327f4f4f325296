// What is found out about a superblock before any of it is written: which flags somebody will ask for, where they had better be at the
// start, which accesses share probes, and where to look whether the outer loop is wanted.

using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    /// <summary>What is known of the instruction that is being written.</summary>
    private ref readonly InlineEffects Effects => ref superblock.Effects[current];

    private void Analyse()
    {
        runs.Clear();
        PlanSharing(superblock.Effects);
        pollAt = PollPlace();
        for (int number = 0; number < superblock.Count; number++)
        {
            MarkNeeded(number);
        }
    }

    /// <summary>Finds out behind which instructions of a block somebody may ask for the flags; behind the last somebody does, wherever it leads.</summary>
    private void MarkNeeded(int number)
    {
        ReadOnlySpan<InlineEffects> effects = superblock.Effects;
        bool needed = true;
        for (int i = superblock.StartOf(number + 1) - 1; i >= superblock.StartOf(number); i--)
        {
            neededAfter[i] = needed;
            bool reads = effects[i].ReadsFlags || effects[i].Observable || i == pollAt;
            needed = reads || (needed && !effects[i].WritesAllFlags);
        }
    }

    private void PlanSharing(ReadOnlySpan<InlineEffects> effects)
    {
        int accesses = 0;
        foreach (ref readonly InlineEffects effect in effects)
        {
            accesses += effect.Observable && effect.Form != InlineForm.Called ? 1 : 0;
        }
        if (accesses > 1)
        {
            runs.Plan(superblock.Instructions, effects);
        }
    }

    /// <summary>Before which instruction to ask for attention, so that every loop asks; -1 for none.</summary>
    /// <remarks>
    /// A loop goes back somewhere, and who takes a way back has come past the first one of its superblock: asking there is enough. Just
    /// before flags change is where it costs least: it spoils flags that nobody needs but who answers the call.
    /// </remarks>
    private int PollPlace()
    {
        int place = -1;
        for (int number = 0; number < superblock.Count && place < 0; number++)
        {
            place = PollPlaceIn(number);
        }
        return place;
    }

    /// <summary>The same for one block, as if it were alone.</summary>
    private int PollPlaceIn(int number)
    {
        // SAFETY: as in Translate.
        unsafe
        {
            int first = superblock.StartOf(number);
            int last = superblock.StartOf(number + 1) - 1;
            if (!GoesBack(superblock[number], last))
            {
                return -1;
            }
            int place = last;
            while (place > first && !superblock.Effects[place].WritesFlags)
            {
                place--;
            }
            place = superblock.Effects[place].WritesFlags ? place : last;
            // Between STI and what stands behind it nobody may be let in.
            while (place > first && superblock.Effects[place - 1].Form == InlineForm.InterruptFlag)
            {
                place--;
            }
            return place;
        }
    }

    private bool GoesBack(Block* candidate, int last)
    {
        // SAFETY: as in Translate.
        unsafe
        {
            bool backward = candidate->TakenEip <= superblock.Instructions[last].Instruction.IP32
                && superblock.Effects[last].Form is InlineForm.Jump or InlineForm.JumpIf or InlineForm.Call;
            // Behind the last byte of all comes the first: a way back without a branch.
            bool wraps = candidate->EndEip < candidate->Eip;
            return backward || wraps;
        }
    }

    /// <summary>Where the first instructions want the flags.</summary>
    private FlagPlaces StartingPlaces()
    {
        if (CrossesPage)
        {
            return FlagPlaces.Saved;
        }
        ReadOnlySpan<InlineEffects> effects = superblock.Effects;
        for (int i = 0; i < effects.Length; i++)
        {
            if (effects[i].Observable || i == pollAt)
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
