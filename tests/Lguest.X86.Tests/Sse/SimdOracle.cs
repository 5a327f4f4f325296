// The two processors side by side: the CPU below us and the one under test, given the same instruction and the same state.

using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Sse;

/// <summary>Runs one instruction on the native CPU and on the processor and compares what they leave behind.</summary>
public sealed class SimdOracle : IDisposable
{
    private const int Window = 32;

    private readonly NativeCpu native = new();
    private readonly TestMachine machine = new();

    public SimdOracle() => machine.State.Cr4 |= Cr4.OsFxsr | Cr4.OsXmmExceptions;

    /// <summary>The first difference, or null.</summary>
    /// <param name="instruction">Memory operands are relative to EBX or at EDI.</param>
    /// <param name="before">State before; EBX and EDI are overwritten with the addresses of memory operands.</param>
    /// <param name="offset">Where in that memory <paramref name="scratch"/> is put and compared.</param>
    /// <param name="scratch">32 bytes.</param>
    internal string? Compare(in Instruction instruction, in NativeState before, int offset, byte[] scratch)
    {
        NativeState expected = before;
        expected.General[(int)Register32.Ebx] = native.ScratchAddress;
        expected.General[(int)Register32.Edi] = native.ScratchAddress + (uint)offset + 5;
        expected.CopyTo(ref machine.State);
        machine.Memory.Write(native.ScratchAddress + (uint)offset, scratch);
        scratch.CopyTo(native.Scratch[offset..]);

        native.Run(NativeCpu.Encode(instruction), ref expected);
        machine.Load(TestMachine.Encode(instruction));
        if (!machine.Step())
        {
            return $"fault {machine.FaultVector}";
        }
        var actual = NativeState.From(machine.State);
        string? difference = SimdCompare.Difference(before, expected, actual);
        return difference is null && !native.Scratch.Slice(offset, Window).SequenceEqual(machine.Read(native.ScratchAddress + (uint)offset, Window))
            ? "memory"
            : difference;
    }

    /// <summary>Runs an instruction on the native CPU alone.</summary>
    internal NativeState RunNative(in Instruction instruction, in NativeState before)
    {
        NativeState state = before;
        native.Run(NativeCpu.Encode(instruction), ref state);
        return state;
    }

    public void Dispose()
    {
        machine.Dispose();
        native.Dispose();
    }
}
