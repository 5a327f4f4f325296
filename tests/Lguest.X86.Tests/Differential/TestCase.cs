// One instruction with everything that it can see: what an oracle and the processor start from.

using Iced.Intel;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Differential;

/// <summary>An instruction, the registers before it, and its scratch memory.</summary>
internal sealed class TestCase
{
    /// <summary>The instruction.</summary>
    public required Instruction Instruction { get; init; }

    /// <summary>Registers before it.</summary>
    public required NativeState Before { get; init; }

    /// <summary>Scratch memory before it.</summary>
    public required byte[] Scratch { get; init; }

    /// <summary>Offset of the memory operand in the scratch memory, or -1.</summary>
    public required int Offset { get; init; }

    /// <summary>CL before it.</summary>
    public byte Cl => (byte)Before.General[1];
}
