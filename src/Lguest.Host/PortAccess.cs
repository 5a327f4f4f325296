// The only instructions of a Guest that the Host understands: IN and OUT, which an old PC's kernel cannot leave alone.

namespace Lguest.Host;

/// <summary>Emulation of IN and OUT after a general protection fault (ABI 7.6).</summary>
internal static class PortAccess
{
    private const byte OperandSizePrefix = 0x66;

    // H:130 Once, the Host has to understand an instruction. Linux probes a few ports of the old PC while it boots, with IN and OUT, and
    // cannot be talked out of it. In ring 1 these fault; so the Host looks at the bytes at EIP and, if they are such an instruction,
    // answers like an empty bus: what is written goes nowhere, what is read is all ones. Then it steps over it.
    //
    // Mind that reading the instruction means to trust EIP, which is the Guest's. It is a kernel address or it is not looked at, and
    // GuestMemory checks it like any other. Most hypervisors do this sort of work all day long, for every instruction that touches a
    // device; here it happens a handful of times in a Guest's life.
    /// <summary>Executes the instruction at EIP if it is IN or OUT.</summary>
    /// <returns>False when it is something else.</returns>
    public static bool TryEmulate(Guest guest)
    {
        ref LguestRegisters registers = ref guest.Registers;
        if (registers.Eip < guest.PageOffset)
        {
            return false;
        }
        uint address = registers.Eip - guest.PageOffset;
        uint length = 0;
        byte opcode = Fetch(guest, address);
        if (opcode == OperandSizePrefix)
        {
            length = 1;
            opcode = Fetch(guest, address + 1);
        }
        switch (opcode)
        {
            case 0xE4 or 0xE5 or 0xE6 or 0xE7:
                length += 2;
                break;
            case 0xEC or 0xED or 0xEE or 0xEF:
                length += 1;
                break;
            default:
                return false;
        }

        bool isInput = (opcode & 0x02) == 0;
        if (isInput)
        {
            bool wide = (opcode & 0x01) != 0;
            registers.Eax |= wide ? 0xFFFF_FFFF : 0xFF;
        }
        registers.Eip += length;
        guest.Statistics.PortAccesses++;
        return true;
    }

    private static byte Fetch(Guest guest, uint address)
    {
        Span<byte> opcode = stackalloc byte[1];
        guest.Memory.ReadBlock(address, opcode);
        return opcode[0];
    }
    // :*
}
