// CLC to STD, LAHF, SAHF, PUSHF, POPF

namespace Lguest.X86.Instructions;

internal static class FlagInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
