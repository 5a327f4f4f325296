// MMX

namespace Lguest.X86.Instructions;

internal static class MmxInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
