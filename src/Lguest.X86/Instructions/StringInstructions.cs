// MOVS, CMPS, STOS, LODS, SCAS with REP

namespace Lguest.X86.Instructions;

internal static class StringInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
