// ADD to TEST, INC, DEC, NEG, NOT, CMPXCHG, XADD

namespace Lguest.X86.Instructions;

internal static class AluInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
