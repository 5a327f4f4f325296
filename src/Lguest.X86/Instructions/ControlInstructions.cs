// jumps, calls, returns, loops, ENTER, LEAVE, BOUND

namespace Lguest.X86.Instructions;

internal static class ControlInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
