// BT to BTC, BSF, BSR

namespace Lguest.X86.Instructions;

internal static class BitInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
