// Walks through everything that the caches of a processor know, and counts it. On the way it checks that every list has only living
// members and leads back to itself: a block that was given up and is still in some list would be found here, before a Guest finds it.

using Lguest.X86.Execution;
using Lguest.X86.Translation;

namespace Lguest.X86.Tests.Translation;

/// <summary>What the caches hold.</summary>
/// <param name="Held">Blocks that have memory, dead ones too.</param>
/// <param name="Translations">Blocks that are translated.</param>
/// <param name="Members">Members of all lists of living blocks.</param>
internal readonly record struct CacheCount(long Held, int Translations, int Members)
{
    /// <summary>Counts, and fails a test when a list is not whole.</summary>
    public static CacheCount Of(Processor processor)
    {
        // SAFETY: nobody runs; every address was put there by the caches.
        unsafe
        {
            int members = 0;
            int translations = 0;
            List<(uint First, uint Count)> exits = LivingExits(processor);
            long held = processor.Blocks.Held;
            long walked = 0;
            for (Block* block = processor.Blocks.Oldest; walked < held; block = processor.Blocks.Behind(block))
            {
                walked++;
                Block* first = block->Taken.Target;
                Block* second = block->Next.Target;
                Assert.True(first == null || first->Mode != Block.Dead, "A link leads to a dead block.");
                Assert.True(second == null || second->Mode != Block.Dead, "A link leads to a dead block.");
                if (block->Mode == Block.Dead)
                {
                    Assert.True(block->Translation.EntrySaved == null && block->Incoming == null && block->InBucket.Place == null && block->InFrame.Place == null);
                    continue;
                }
                Assert.True(*block->InBucket.Place == &block->InBucket && *block->InFrame.Place == &block->InFrame);
                members += 2 + CountLinks(block);
                if (block->Translation.EntrySaved != null)
                {
                    translations++;
                    members += CountJumps(block, processor.Translator!, exits);
                }
            }
            Assert.Equal(processor.Translator is { } translator ? translator.Made - translator.Forgotten : 0, translations);
            return new CacheCount(held, translations, members);
        }
    }

    private static unsafe int CountLinks(Block* block)
    {
        // SAFETY: as in Of.
        unsafe
        {
            int count = 0;
            for (ListNode* node = block->Incoming; node != null; node = node->Next)
            {
                Assert.True(BlockLink.Of(node)->Target == block && *node->Place == node);
                count++;
            }
            return count;
        }
    }

    /// <summary>The exits of all translations: a jump is one of a superblock, whichever of its blocks it is in.</summary>
    private static unsafe List<(uint First, uint Count)> LivingExits(Processor processor)
    {
        // SAFETY: as in Of.
        unsafe
        {
            var exits = new List<(uint, uint)>();
            long walked = 0;
            for (Block* block = processor.Blocks.Oldest; walked < processor.Blocks.Held; block = processor.Blocks.Behind(block))
            {
                walked++;
                exits.Add((block->Translation.Record, block->Translation.Records));
            }
            return exits;
        }
    }

    private static unsafe int CountJumps(Block* block, Translator translator, List<(uint First, uint Count)> exits)
    {
        // SAFETY: as in Of.
        unsafe
        {
            int count = 0;
            for (ListNode* node = block->Translation.Incoming; node != null; node = node->Next)
            {
                ExitRecord* record = (ExitRecord*)((byte*)node - ExitRecord.InIncomingOffset);
                byte* target = Emitter.Target((byte*)record->Next);
                fixed (ExitRecord* first = &translator[0])
                {
                    uint exit = (uint)(record - first);
                    Assert.True(*node->Place == node && exits.Exists(range => exit - range.First < range.Count), "A jump of a translation that was given up is linked.");
                }
                Assert.True(target == block->Translation.EntrySaved || target == block->Translation.EntryNative, "A jump leads elsewhere than its list says.");
                count++;
            }
            return count;
        }
    }
}
