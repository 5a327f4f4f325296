// Decoded blocks, found again by physical address, and dropped when the bytes they came from change. Blocks live in one arena that is
// only ever emptied whole, and never while one of them runs: a block that dies under its own feet can finish its current operation.

using Lguest.Platform;
using Lguest.X86.Memory;

namespace Lguest.X86.Execution;

/// <summary>All decoded blocks of one processor.</summary>
internal sealed unsafe class BlockCache : IDisposable
{
    /// <summary>Entries of the table that finds a block by EIP alone.</summary>
    public const int JumpEntries = 1 << 14;

    private const int Buckets = 1 << 15;
    private const int GranuleBytes = 32;
    private const uint ArenaBytes = 64 << 20;
    private const uint LargestBlock = 64 * 1024;

    /// <summary>Bytes of the arena that are committed at once.</summary>
    private const uint Step = 512 * 1024;

    private readonly MachineMemory memory;
    private readonly HostMemory arena = new(ArenaBytes);
    private readonly HostMemory lookup = new((Buckets + JumpEntries) * (nuint)sizeof(Block*));
    private readonly HostMemory frameTable = new(MachineMemory.FrameCount * (nuint)sizeof(CodeFrame));
    private readonly Block** buckets;
    private readonly CodeFrame* frames;
    private uint used;
    private uint committed;

    /// <summary>What is known of the code in a frame.</summary>
    private struct CodeFrame
    {
        /// <summary>The blocks that begin here, by <see cref="Block.FrameNext"/>.</summary>
        public Block* First;

        /// <summary>The blocks that begin in another frame and end here, by <see cref="Block.CrossingNext"/>.</summary>
        public Block* FirstCrossing;

        /// <summary>A bit for each granule that has been decoded.</summary>
        public UInt128 Granules;
    }

    /// <summary>Makes an empty cache.</summary>
    public BlockCache(MachineMemory memory)
    {
        this.memory = memory;
        lookup.Commit(0, lookup.Size);
        // SAFETY: each block of memory has room for its tables, one for both lookups side by side.
        unsafe
        {
            JumpTable = (Block**)lookup.Address;
            buckets = JumpTable + JumpEntries;
            frames = (CodeFrame*)frameTable.Address;
        }
    }

    /// <summary>Blocks by <see cref="JumpIndex"/> of their EIP; a hint that must be checked.</summary>
    public Block** JumpTable { get; }

    /// <summary>Learns of blocks that die; null when blocks are interpreted only.</summary>
    public Translation.Translator? Translator { get; set; }

    /// <summary>How often the arena was emptied.</summary>
    public long Flushes { get; private set; }

    /// <summary>Blocks decoded so far.</summary>
    public long Decoded { get; private set; }

    /// <summary>Place of an EIP in the jump table.</summary>
    public static uint JumpIndex(uint eip) => (eip ^ (eip >> 14)) & (JumpEntries - 1);

    /// <summary>Finds a block; null when it is not decoded.</summary>
    public Block* Find(uint physical, uint eip, uint mode)
    {
        // SAFETY: chains link blocks of the arena; Clear resets chains and arena together.
        unsafe
        {
            Block** link = buckets + Bucket(physical, eip);
            while (*link != null)
            {
                Block* block = *link;
                if (block->Mode == Block.Dead)
                {
                    // Code that changes itself again and again would otherwise search through all that it has been.
                    *link = block->HashNext;
                    continue;
                }
                if (block->Eip == eip && block->Mode == mode && block->Frame == physical >> 12)
                {
                    return block;
                }
                link = &block->HashNext;
            }
            return null;
        }
    }

    /// <summary>Room for a block being decoded. Empties the cache when it is nearly full, so no block may be running.</summary>
    public byte* Reserve()
    {
        if (used + LargestBlock > ArenaBytes)
        {
            Clear();
        }
        if (used + LargestBlock > committed)
        {
            arena.Commit(committed, Step);
            committed += Step;
        }
        // SAFETY: used is below the arena's size.
        unsafe
        {
            return arena.Address + used;
        }
    }

    /// <summary>Enters a block that was built at the reserved place.</summary>
    public void Commit(Block* block, uint physical, uint bytes)
    {
        // SAFETY: the decoder kept the block within LargestBlock bytes of the reserved place.
        unsafe
        {
            used += (bytes + 15) & ~15u;
            Decoded++;
            Block** bucket = buckets + Bucket(physical, block->Eip);
            block->HashNext = *bucket;
            *bucket = block;
            block->FrameNext = frames[block->Frame].First;
            frames[block->Frame].First = block;
            if (block->LastFrame != block->Frame)
            {
                block->CrossingNext = frames[block->LastFrame].FirstCrossing;
                frames[block->LastFrame].FirstCrossing = block;
            }
            uint firstPart = MachineMemory.FrameSize - (physical & 0xFFF);
            if (block->Length <= firstPart)
            {
                MarkCode(block->Frame, physical & 0xFFF, block->Length);
            }
            else
            {
                MarkCode(block->Frame, physical & 0xFFF, firstPart);
                MarkCode(block->LastFrame, 0, block->Length - firstPart);
            }
        }
    }

    /// <summary>Drops the blocks of a frame if a write touches bytes that were decoded.</summary>
    /// <returns>True when blocks were dropped.</returns>
    public bool Invalidate(uint frame, uint offset, uint length)
    {
        // SAFETY: as in Find; frame numbers are below FrameCount; a dead block stays readable until the arena is emptied.
        unsafe
        {
            if ((frames[frame].Granules & Granules(offset, length)) == 0)
            {
                return false;
            }
            for (Block* block = frames[frame].First; block != null; block = block->FrameNext)
            {
                Kill(block);
            }
            for (Block* block = frames[frame].FirstCrossing; block != null; block = block->CrossingNext)
            {
                Kill(block);
            }
            frames[frame] = default;
        }
        memory.SetFrameHoldsCode(frame, false);
        return true;
    }

    /// <summary>Notes that a frame's bytes are code. The caller has taken the frame's write permission out of every TLB.</summary>
    private void MarkCode(uint frame, uint offset, uint length)
    {
        // SAFETY: as in Invalidate.
        unsafe
        {
            frames[frame].Granules |= Granules(offset, length);
        }
    }

    private static UInt128 Granules(uint offset, uint length)
    {
        int first = (int)offset / GranuleBytes;
        int last = (int)(offset + length - 1) / GranuleBytes;
        return (UInt128.MaxValue >> (127 - (last - first))) << first;
    }

    // By both addresses: each process has a library somewhere else, and all of them have it in the same frames.
    private static uint Bucket(uint physical, uint eip) => ((physical + ((eip >> 12) * 0x85EB_CA6B)) * 0x9E37_79B1) >> 17;

    /// <summary>Makes every lookup and link miss a block from now on.</summary>
    public void Kill(Block* block)
    {
        // SAFETY: the caller's block is in the arena.
        unsafe
        {
            block->Mode = Block.Dead;
            Translator?.Kill(block);
        }
    }

    private void Clear()
    {
        Translator?.Flush();
        new Span<byte>(lookup.Address, (JumpEntries + Buckets) * sizeof(Block*)).Clear();
        for (uint frame = 0; frame < MachineMemory.FrameCount; frame++)
        {
            if (memory.FrameHoldsCode(frame))
            {
                // SAFETY: as in Invalidate.
                unsafe
                {
                    frames[frame] = default;
                }
                memory.SetFrameHoldsCode(frame, false);
            }
        }
        used = 0;
        Flushes++;
    }

    /// <summary>Releases the arena.</summary>
    public void Dispose()
    {
        arena.Dispose();
        lookup.Dispose();
        frameTable.Dispose();
    }
}
