// Between the engine and the block cache: finding the block at EIP, decoding it when it is new, and noticing when code changes.

using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.Instructions;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor : ICodeTracker
{
    private const int LongestInstruction = 15;

    private readonly BlockCache blocks;
    private readonly BlockDecoder blockDecoder = new();
    private readonly FetchReader fetchReader;
    private readonly Decoder decoder16;
    private readonly Decoder decoder32;

    /// <summary>All decoded blocks.</summary>
    internal BlockCache Blocks => blocks;

    /// <summary>Drops decoded code that a write has changed.</summary>
    void ICodeTracker.CodeFrameWritten(uint frame, uint offset, uint length)
    {
        if (blocks.Invalidate(frame, offset, length))
        {
            leaveBlocks = true;
        }
    }

    /// <summary>Recomputes what blocks may assume from the segment registers.</summary>
    private void UpdateMode()
    {
        ref SegmentRegisters segments = ref state->Segments;
        ref Segment code = ref segments[(int)SegmentName.CS];
        state->General[GeneralRegisters.FsBaseIndex] = segments[(int)SegmentName.FS].Base;
        state->General[GeneralRegisters.GsBaseIndex] = segments[(int)SegmentName.GS].Base;
        // The same offset lies elsewhere in its page when the base is not a page's.
        uint mode = (code.Big ? BlockMode.Code32 : 0) | ((code.Base & 0xFFF) << BlockMode.BaseShift);
        bool flat = !UsesRealSegments && IsFlatCode(code) && !alignmentChecks && !watchpointsArmed
            && IsFlat(segments[(int)SegmentName.DS]) && IsFlat(segments[(int)SegmentName.ES])
            && IsFlat(segments[(int)SegmentName.SS]) && segments[(int)SegmentName.SS].Big;
        if (flat)
        {
            mode |= BlockMode.Flat
                | (IsUnlimited(segments[(int)SegmentName.FS]) ? BlockMode.FsUnlimited : 0)
                | (IsUnlimited(segments[(int)SegmentName.GS]) ? BlockMode.GsUnlimited : 0);
        }
        if (mode != context->BlockMode)
        {
            context->BlockMode = mode;
            leaveBlocks = true;
        }
    }

    /// <summary>Finds or decodes the block at EIP.</summary>
    /// <param name="link">Where to remember the block for next time, or null.</param>
    /// <returns>Null when the code cannot be fetched; the exception is noted.</returns>
    internal Block* FindBlock(BlockLink* link)
    {
        // SAFETY: blocks, and the links in them, keep their memory until one is decoded; the cache counts those that lose it then.
        unsafe
        {
            uint eip = state->Eip;
            ref Segment code = ref state->Segments[(int)SegmentName.CS];
            if (eip > code.Limit)
            {
                Fault(Vector.GeneralProtection);
                return null;
            }
            if (!TryFillExecute(code.Base + eip, out uint physical))
            {
                return null;
            }
            Block* block = blocks.Find(physical, eip, context->BlockMode);
            if (block != null && block->Length - 1 > code.Limit - eip)
            {
                block = null;
            }
            if (block != null && CrossesPage(block, code.Base) && (!LastFrameMatches(block, code.Base) || block->Mode == Block.Dead))
            {
                blocks.Kill(block);
                block = null;
            }
            if (block == null)
            {
                long evicted = blocks.Evicted;
                block = DecodeBlock(physical);
                if (blocks.Evicted != evicted)
                {
                    link = null;
                }
                if (block == null)
                {
                    return null;
                }
            }
            if ((context->BlockMode & BlockMode.Flat) != 0 && !CrossesPage(block, 0))
            {
                blocks.JumpTable[BlockCache.JumpIndex(eip)] = block;
                if (link != null)
                {
                    BlockLink.Connect(link, block);
                }
            }
            return block;
        }
    }

    private static bool CrossesPage(Block* block, uint codeBase)
    {
        // SAFETY: the caller's block is alive.
        unsafe
        {
            uint first = codeBase + block->Eip;
            return ((first ^ (first + block->Length - 1)) & PageMask) != 0;
        }
    }

    private bool LastFrameMatches(Block* block, uint codeBase)
    {
        // SAFETY: the caller's block is alive.
        unsafe
        {
            uint last = codeBase + block->EndEip - 1;
            return TryFillExecute(last, out uint physical) && physical >> 12 == block->LastFrame;
        }
    }

    private Block* DecodeBlock(uint physical)
    {
        ref Segment code = ref state->Segments[(int)SegmentName.CS];
        uint start = state->Eip;
        bool wholeSegment = code.Limit == 0xFFFF_FFFF;
        Decoder decoder = code.Big ? decoder32 : decoder16;
        fetchReader.Start(code.Base + start);
        decoder.IP = start;
        blockDecoder.Begin(context->BlockMode);
        uint end = start;
        uint lastPhysical = physical;
        uint cr2 = state->Cr2;
        while (true)
        {
            Instruction instruction = decoder.Decode();
            bool crosses = (((code.Base + start) ^ (code.Base + end + (uint)instruction.Length - 1)) & PageMask) != 0;
            bool failed = fetchReader.Failed || !IsWhole(instruction, end, code.Limit);
            if (blockDecoder.Count > 0 && (crosses || failed))
            {
                // Nobody has got that far yet: the fault, if there is one, comes when somebody does.
                state->Cr2 = cr2;
                break;
            }
            if (failed)
            {
                return null;
            }
            bool last = blockDecoder.Add(instruction);
            end += (uint)instruction.Length;
            lastPhysical = fetchReader.LastPhysical;
            if (last || crosses || !wholeSegment || ((code.Base + end) & 0xFFF) == 0)
            {
                break;
            }
        }
        blockDecoder.End();
        return StoreBlock(physical, start, end - start, lastPhysical >> 12);
    }

    private Block* StoreBlock(uint physical, uint eip, uint length, uint lastFrame)
    {
        // SAFETY: Reserve gives room for the largest possible block: head, 257 operations and 64 instructions.
        unsafe
        {
            byte* place = blocks.Reserve();
            var block = (Block*)place;
            *block = new Block
            {
                Eip = eip,
                Mode = context->BlockMode,
                Frame = physical >> 12,
                LastFrame = lastFrame,
                Count = blockDecoder.Count,
                Length = length,
                TakenEip = blockDecoder.TakenEip,
                OpCount = blockDecoder.OpCount,
                Heat = InitialHeat(),
            };
            blockDecoder.CopyTo(place + sizeof(Block));
            TrackCode(block->Frame);
            TrackCode(block->LastFrame);
            blocks.Commit(block, physical);
            return block;
        }
    }

    /// <summary>From now on writes to a frame are noticed.</summary>
    private void TrackCode(uint frame)
    {
        if (memory.FrameHoldsCode(frame))
        {
            return;
        }
        memory.SetFrameHoldsCode(frame, true);
        // SAFETY: the address is only compared.
        unsafe
        {
            byte* page = memory.FrameAddress(frame);
            foreach (AddressSpace space in addressSpaces)
            {
                space.ProtectHostPage(page);
            }
        }
    }

    /// <summary>Decodes the one instruction at EIP without remembering it.</summary>
    /// <exception cref="GuestFault">It cannot be fetched.</exception>
    private DecodedInstruction Fetch()
    {
        ref Segment code = ref state->Segments[(int)SegmentName.CS];
        Decoder decoder = code.Big ? decoder32 : decoder16;
        fetchReader.Start(code.Base + state->Eip);
        decoder.IP = state->Eip;
        Instruction instruction = decoder.Decode();
        if (fetchReader.Failed || !IsWhole(instruction, state->Eip, code.Limit))
        {
            throw guestFault;
        }
        return new DecodedInstruction { Instruction = instruction, Handler = InstructionTable.Instance.IndexOf(instruction) };
    }

    /// <summary>Whether an instruction lies inside the segment and is not too long; otherwise notes #GP(0).</summary>
    private bool IsWhole(in Instruction instruction, uint eip, uint limit)
    {
        // The decoder gives up at the longest length that exists.
        bool tooLong = instruction.IsInvalid && instruction.Length == LongestInstruction;
        if (tooLong || eip > limit || (uint)instruction.Length - 1 > limit - eip)
        {
            Fault(Vector.GeneralProtection);
            return false;
        }
        return true;
    }

    /// <summary>Feeds the decoder from linear memory, page by page as it asks.</summary>
    private sealed class FetchReader(Processor cpu) : CodeReader
    {
        private uint linear;
        private uint physical;
        private bool translated;

        /// <summary>A byte that the decoder needed could not be fetched; the exception is noted.</summary>
        public bool Failed { get; private set; }

        /// <summary>Physical address of the last byte read.</summary>
        public uint LastPhysical => physical - 1;

        public void Start(uint address)
        {
            linear = address;
            Failed = false;
            translated = false;
        }

        public override int ReadByte()
        {
            if (!translated || (linear & 0xFFF) == 0)
            {
                translated = cpu.TryFillExecute(linear, out physical);
                if (!translated)
                {
                    Failed = true;
                    return -1;
                }
            }
            linear++;
            return cpu.memory.Read<byte>(physical++);
        }
    }
}
