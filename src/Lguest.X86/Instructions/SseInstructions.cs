// SSE and SSE2: the floating-point half of the XMM registers, their moves and their control. Packed integers are in MmxInstructions.

namespace Lguest.X86.Instructions;

internal static class SseInstructions
{
    public static void Register(InstructionTable table)
    {
        SseMoves.Register(table);
        SseShuffles.Register(table);
        SseArithmetic.Register(table);
        SseCompare.Register(table);
        SseConvert.Register(table);
        SseControl.Register(table);
    }
}
