// MOV, MOVZX, MOVSX, LEA, XCHG, PUSH, POP, PUSHA, POPA, CMOVcc, SETcc, BSWAP, CBW to CDQ, XLAT

namespace Lguest.X86.Instructions;

internal static class DataInstructions
{
    public static void Register(InstructionTable table)
    {
    }
}
