// moves to segment registers, LDS, far transfers

namespace Lguest.X86.Instructions;

internal static class SegmentInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
