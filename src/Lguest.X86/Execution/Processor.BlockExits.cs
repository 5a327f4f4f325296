// What both engines do when an instruction of a block has no fast form, or cannot complete: its reference handler runs in its place, or
// the block is left before it. Either way EIP and the count of instructions must be as if blocks did not exist.

using Lguest.X86.Execution;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    /// <summary>Executes an instruction of a block by its reference handler.</summary>
    /// <param name="block">The block.</param>
    /// <param name="instruction">Number of the instruction in it.</param>
    /// <param name="mayGoOn">Whether the block can go on behind it.</param>
    /// <returns>True when the block can go on behind it; otherwise EIP says where to go on and the counts are right.</returns>
    private bool RunReference(Block* block, int instruction, bool mayGoOn)
    {
        // SAFETY: the instruction belongs to the block, whose instructions follow its operations.
        unsafe
        {
            DecodedInstruction* decoded = InstructionOf(block, instruction);
            uint next = decoded->Instruction.NextIP32;
            uncounted = block->Count - instruction;
            state->Eip = next - (uint)decoded->Instruction.Length;
            NextEip = next;
            handlers[decoded->Handler](this, in decoded->Instruction);
            state->Eip = NextEip;
            bool goOn = !leaveBlocks && NextEip == next && mayGoOn;
            if (!goOn)
            {
                context->InstructionCount -= uncounted - 1;
            }
            uncounted = 0;
            return goOn;
        }
    }

    /// <summary>Leaves a block before one of its instructions: EIP and counts become those of that instruction.</summary>
    private void LeaveAt(Block* block, int instruction)
    {
        // SAFETY: as in RunReference.
        unsafe
        {
            DecodedInstruction* decoded = InstructionOf(block, instruction);
            state->Eip = decoded->Instruction.NextIP32 - (uint)decoded->Instruction.Length;
            context->InstructionCount -= block->Count - instruction;
        }
    }

    internal static DecodedInstruction* InstructionOf(Block* block, int instruction)
    {
        // SAFETY: behind its OpCount operations a block holds its Count instructions.
        unsafe
        {
            return (DecodedInstruction*)((Op*)(block + 1) + block->OpCount) + instruction;
        }
    }
}
