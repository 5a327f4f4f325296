// MUL, IMUL, DIV, IDIV

namespace Lguest.X86.Instructions;

internal static class MultiplyInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
