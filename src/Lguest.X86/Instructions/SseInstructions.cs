// SSE and SSE2

namespace Lguest.X86.Instructions;

internal static class SseInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
