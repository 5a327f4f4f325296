// AAA to DAS

namespace Lguest.X86.Instructions;

internal static class DecimalInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
