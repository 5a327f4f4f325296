// Which translations there are, and what leads to them. The memory for code is bounded, so each is given up one day: because its bytes have
// changed, because it is translated anew, or because it is the oldest and in the way. Then every jump to it becomes again what it was
// before it was linked, an exit to C#; whoever still wants to go there comes out, and the block is translated again at once, since it is
// as hot as before.

using Lguest.X86.Execution;
using Lguest.X86.Memory;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    /// <summary>No entry of the instruction TLB.</summary>
    private const ulong NothingIsMappedSo = ulong.MaxValue;

    private Block* oldest;
    private Block* newest;

    /// <summary>Translations that have been given up, because their bytes changed or their memory was needed.</summary>
    public long Forgotten { get; private set; }

    /// <summary>Translations that have been made.</summary>
    public long Made { get; private set; }

    /// <summary>Enters the translation that has been written as the newest.</summary>
    private void Enter()
    {
        // SAFETY: as in Translate; older translations belong to blocks that have memory, or they would have been forgotten.
        unsafe
        {
            ref BlockTranslation translation = ref block->Translation;
            arena.End(ref translation);
            translation.Record = nextRecord;
            translation.Records = (uint)recordCount - nextRecord;
            nextRecord = recordRing.Behind(nextRecord, Math.Max(translation.Records, 1));
            translation.Older = newest;
            if (newest != null)
            {
                newest->Translation.Newer = block;
            }
            newest = block;
            oldest = oldest == null ? block : oldest;
            Made++;
        }
    }

    /// <summary>Gives a block's translation up, if there is one: nothing leads there any more. Nobody may be inside translated code.</summary>
    public void Forget(Block* forgotten)
    {
        // SAFETY: as in Enter. Records of translations that have not been given up stay where they are, and so do the jumps that they tell of.
        unsafe
        {
            ref BlockTranslation translation = ref forgotten->Translation;
            if (translation.EntrySaved == null)
            {
                return;
            }
            while (translation.Incoming != null)
            {
                Unlink((ExitRecord*)((byte*)translation.Incoming - ExitRecord.InIncomingOffset));
            }
            for (uint i = 0; i < translation.Records; i++)
            {
                ListNode.Remove(&records[translation.Record + i].InIncoming);
            }
            JumpCacheEntry* jump = JumpCache + (forgotten->Eip % JumpCacheEntry.Count);
            if ((nint)jump->Code == EntryOf(forgotten))
            {
                *jump = default;
            }
            Block* older = translation.Older;
            Block* newer = translation.Newer;
            oldest = oldest == forgotten ? newer : oldest;
            newest = newest == forgotten ? older : newest;
            if (older != null)
            {
                older->Translation.Newer = newer;
            }
            if (newer != null)
            {
                newer->Translation.Older = older;
            }
            translation = default;
            Forgotten++;
        }
    }

    /// <summary>Links a branch to the block that it leads to.</summary>
    /// <param name="exit">The exit of the branch, whose translation has not been given up.</param>
    /// <param name="target">A block that has been translated.</param>
    public void Link(int exit, Block* target)
    {
        // SAFETY: the places were recorded when the branch was written.
        unsafe
        {
            // Most often the link is as it should be, and only the instruction TLB had to be filled. To write code that has just run, be it with
            // what is there, would cost the host's processor all that it has prepared.
            ExitRecord* link = records + exit;
            byte* place = (byte*)link->Next;
            byte* entry = link->FlagsSaved ? target->Translation.EntrySaved : target->Translation.EntryNative;
            ulong mapping = ExecuteEntry.Pack(target->Eip, target->Frame);
            bool acrossPages = link->Kind == CodeExit.LinkAcrossPages;
            if (Emitter.Target(place) != entry)
            {
                Emitter.Patch(place, entry);
            }
            else if (!acrossPages || *(ulong*)link->Unlinked == mapping)
            {
                return;
            }
            if (acrossPages)
            {
                *(ulong*)link->Unlinked = mapping;
            }
            ListNode.Remove(&link->InIncoming);
            ListNode.Insert(&link->InIncoming, &target->Translation.Incoming);
        }
    }

    private static void Unlink(ExitRecord* link)
    {
        // SAFETY: as in Link.
        unsafe
        {
            if (link->Kind == CodeExit.LinkAcrossPages)
            {
                *(ulong*)link->Unlinked = NothingIsMappedSo;
            }
            else
            {
                Emitter.Patch((byte*)link->Next, (byte*)link->Unlinked);
            }
            ListNode.Remove(&link->InIncoming);
        }
    }
}
