// everything that only an operating system uses

namespace Lguest.X86.Instructions;

internal static class SystemInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
