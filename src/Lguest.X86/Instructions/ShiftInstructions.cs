// shifts and rotates

namespace Lguest.X86.Instructions;

internal static class ShiftInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
