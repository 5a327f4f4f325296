// Decoded blocks, found again by physical address, and given up when the bytes they came from change or when their memory is needed for
// newer ones. Memory is needed only where a block is decoded, and so never while one runs: a block that dies under its own feet can finish
// its current operation.
//
// The blocks of one page are given up together, so that a translation may be made of several of them.

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
    private const int Alignment = 16;
    private const uint PageMask = 0xFFFF_F000;

    /// <summary>Writes beside the code of a frame for which it makes way the first time: they take about as long as decoding it again.</summary>
    private const uint FirstPatience = 256;

    /// <summary>How often the patience is doubled.</summary>
    private const int MostGivenWay = 10;

    /// <summary>Bytes of the arena that are committed at once.</summary>
    private const uint Step = 512 * 1024;

    private readonly MachineMemory memory;
    private readonly Ring ring;
    private readonly HostMemory arena;
    private readonly HostMemory lookup = new((Buckets + JumpEntries) * (nuint)sizeof(Block*));
    private readonly HostMemory frameTable = new(MachineMemory.FrameCount * (nuint)sizeof(CodeFrame));
    private readonly ListNode** buckets;
    private readonly CodeFrame* frames;
    private uint next;
    private uint oldest;
    private uint committed;

    /// <summary>What is known of the code in a frame.</summary>
    private struct CodeFrame
    {
        /// <summary>The blocks that begin here, by <see cref="Block.InFrame"/>.</summary>
        public ListNode* First;

        /// <summary>The blocks that begin in another frame and end here, by <see cref="Block.InLastFrame"/>.</summary>
        public ListNode* FirstCrossing;

        /// <summary>A bit for each granule that has been decoded.</summary>
        public UInt128 Granules;

        /// <summary>Writes beside these since there is code, each of which had to be looked at.</summary>
        public uint WritesBeside;

        /// <summary>How often there were so many that the code was dropped.</summary>
        public int GivenWay;
    }

    /// <summary>Makes an empty cache.</summary>
    /// <param name="memory">Where the code comes from.</param>
    /// <param name="bytes">The most that all blocks may take, a multiple of 4096; committed as it is used.</param>
    public BlockCache(MachineMemory memory, nuint bytes)
    {
        this.memory = memory;
        arena = new HostMemory(bytes);
        lookup.Commit(0, lookup.Size);
        // SAFETY: each block of memory has room for its tables, one for both lookups side by side.
        unsafe
        {
            ring = new Ring((uint)bytes, (uint)(sizeof(Block) + BlockDecoder.LargestCopy + Alignment));
            JumpTable = (Block**)lookup.Address;
            buckets = (ListNode**)(JumpTable + JumpEntries);
            frames = (CodeFrame*)frameTable.Address;
        }
    }

    /// <summary>Blocks by <see cref="JumpIndex"/> of their EIP; a hint that must be checked.</summary>
    public Block** JumpTable { get; }

    /// <summary>Learns of blocks that die; null when blocks are interpreted only.</summary>
    public Translation.Translator? Translator { get; set; }

    /// <summary>Blocks whose memory was needed for newer ones.</summary>
    public long Evicted { get; private set; }

    /// <summary>Blocks that have memory now, dead ones too.</summary>
    public long Held => Decoded - Evicted;

    /// <summary>Blocks decoded so far.</summary>
    public long Decoded { get; private set; }

    /// <summary>The block that will be given up next, if there is one.</summary>
    public Block* Oldest
    {
        get
        {
            // SAFETY: oldest is below the arena's size.
            unsafe
            {
                return (Block*)(arena.Address + oldest);
            }
        }
    }

    /// <summary>Place of an EIP in the jump table.</summary>
    public static uint JumpIndex(uint eip) => (eip ^ (eip >> 14)) & (JumpEntries - 1);

    /// <summary>Finds a block; null when it is not decoded.</summary>
    public Block* Find(uint physical, uint eip, uint mode)
    {
        // SAFETY: lists have blocks of the arena as members, and none whose memory has been given up.
        unsafe
        {
            for (ListNode* node = buckets[Bucket(physical, eip)]; node != null; node = node->Next)
            {
                Block* block = Block.Of(node, Block.InBucketOffset);
                if (block->Eip == eip && block->Mode == mode && block->Frame == physical >> 12)
                {
                    return block;
                }
            }
            return null;
        }
    }

    /// <summary>Room for a block being decoded. It may be an old one's, so no block may be running.</summary>
    public byte* Reserve()
    {
        while (Held > 0 && !ring.HasRoom(next, oldest))
        {
            EvictOldest();
        }
        if (next + ring.Largest > committed)
        {
            arena.Commit(committed, Step);
            committed += Step;
        }
        // SAFETY: next is below the arena's size.
        unsafe
        {
            return arena.Address + next;
        }
    }

    /// <summary>Enters a block that was built at the reserved place.</summary>
    public void Commit(Block* block, uint physical)
    {
        // SAFETY: the decoder kept the block within the largest size.
        unsafe
        {
            oldest = Held == 0 ? next : oldest;
            next = ring.Behind(next, SizeOf(block));
            Decoded++;
            ListNode.Insert(&block->InBucket, buckets + Bucket(physical, block->Eip));
            ListNode.Insert(&block->InFrame, &frames[block->Frame].First);
            if (block->LastFrame != block->Frame)
            {
                ListNode.Insert(&block->InLastFrame, &frames[block->LastFrame].FirstCrossing);
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

    /// <summary>Drops the blocks of a frame if a write touches bytes that were decoded, or if there have been many that did not.</summary>
    /// <remarks>
    /// Old code in a page that now holds data would make every write slow. Code that is still in use comes back, and makes way twice as late the next time.
    /// </remarks>
    /// <returns>True when blocks were dropped.</returns>
    public bool Invalidate(uint frame, uint offset, uint length)
    {
        // SAFETY: as in Find; frame numbers are below FrameCount; a dead block stays readable until its memory is needed.
        unsafe
        {
            CodeFrame* written = frames + frame;
            if ((written->Granules & Granules(offset, length)) == 0)
            {
                if (++written->WritesBeside < FirstPatience << written->GivenWay)
                {
                    return false;
                }
                written->GivenWay = Math.Min(written->GivenWay + 1, MostGivenWay);
            }
            while (written->First != null)
            {
                Kill(Block.Of(written->First, Block.InFrameOffset));
            }
            while (written->FirstCrossing != null)
            {
                Kill(Block.Of(written->FirstCrossing, Block.InLastFrameOffset));
            }
        }
        return true;
    }

    /// <summary>Lets nothing lead to a block any more.</summary>
    public void Kill(Block* block)
    {
        // SAFETY: as in Find.
        unsafe
        {
            block->Mode = Block.Dead;
            Translator?.Forget(block);
            while (block->Incoming != null)
            {
                BlockLink.Connect(BlockLink.Of(block->Incoming), null);
            }
            ListNode.Remove(&block->InBucket);
            ListNode.Remove(&block->InFrame);
            ListNode.Remove(&block->InLastFrame);
            Block** jump = JumpTable + JumpIndex(block->Eip);
            *jump = *jump == block ? null : *jump;
            ForgetFrameWithoutCode(block->Frame);
            if (block->LastFrame != block->Frame)
            {
                ForgetFrameWithoutCode(block->LastFrame);
            }
        }
    }

    private void EvictOldest()
    {
        // SAFETY: the oldest block is where it was built.
        unsafe
        {
            Block* block = Oldest;
            if (block->Mode != Block.Dead)
            {
                KillPage(block->Frame, block->Eip & PageMask);
            }
            System.Diagnostics.Debug.Assert(block->Translation.EntrySaved == null, "A dead block is not translated.");
            // It may have died while it ran, and found its way on before it came to its end.
            BlockLink.Connect(&block->Taken, null);
            BlockLink.Connect(&block->Next, null);
            oldest = (uint)((byte*)Behind(block) - arena.Address);
            Evicted++;
        }
    }

    private void KillPage(uint frame, uint page)
    {
        // SAFETY: as in Find.
        unsafe
        {
            ListNode* following;
            for (ListNode* node = frames[frame].First; node != null; node = following)
            {
                following = node->Next;
                Block* block = Block.Of(node, Block.InFrameOffset);
                if ((block->Eip & PageMask) == page)
                {
                    Kill(block);
                }
            }
        }
    }

    private void ForgetFrameWithoutCode(uint frame)
    {
        // SAFETY: as in Invalidate.
        unsafe
        {
            if (frames[frame].First == null && frames[frame].FirstCrossing == null)
            {
                frames[frame].Granules = 0;
                frames[frame].WritesBeside = 0;
                memory.SetFrameHoldsCode(frame, false);
            }
        }
    }

    /// <summary>The place of the block that was decoded behind another.</summary>
    public Block* Behind(Block* block)
    {
        // SAFETY: the caller's block is in the arena.
        unsafe
        {
            return (Block*)(arena.Address + ring.Behind((uint)((byte*)block - arena.Address), SizeOf(block)));
        }
    }

    private static uint SizeOf(Block* block)
    {
        // SAFETY: the caller's block has memory.
        unsafe
        {
            byte* end = (byte*)(Processor.InstructionOf(block, 0) + block->Count);
            return (uint)(end - (byte*)block + Alignment - 1) / Alignment * Alignment;
        }
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

    /// <summary>Releases the arena.</summary>
    public void Dispose()
    {
        arena.Dispose();
        lookup.Dispose();
        frameTable.Dispose();
    }
}
