// x87

namespace Lguest.X86.Instructions;

internal static class X87Instructions
{
    public static void Register(InstructionTable table)
    {
    }
}
