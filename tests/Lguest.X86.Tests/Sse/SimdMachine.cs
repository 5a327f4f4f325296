// A machine with SSE switched on, and the words in which the examples speak of it.

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Sse;

/// <summary>A processor that runs one MMX or SSE instruction at a time.</summary>
internal sealed class SimdMachine : IDisposable
{
    /// <summary>Address that EBX and EDI hold, 16-byte aligned.</summary>
    public const uint Data = 0x2_0000;

    private readonly TestMachine machine = new();

    public SimdMachine()
    {
        State.Cr4 |= Cr4.OsFxsr | Cr4.OsXmmExceptions;
        State.General[(int)Register32.Ebx] = Data;
        State.General[(int)Register32.Edi] = Data;
    }

    public ref CpuState State => ref machine.State;

    public TestMachine Machine => machine;

    /// <summary>MXCSR.</summary>
    public uint Mxcsr
    {
        get => State.Fpu.Mxcsr;
        set => State.Fpu.Mxcsr = value;
    }

    /// <summary>Runs one instruction; null when it completed, otherwise the vector of its exception.</summary>
    public byte? Run(Action<Assembler> write)
    {
        machine.Load(write);
        return machine.Step() ? null : machine.FaultVector;
    }

    /// <summary>Runs one instruction; null when it completed, otherwise the vector of its exception.</summary>
    public byte? Run(in Instruction instruction)
    {
        machine.Load(TestMachine.Encode(instruction));
        return machine.Step() ? null : machine.FaultVector;
    }

    public void SetSingle(int register, params ReadOnlySpan<float> lanes) =>
        State.Fpu.Xmm[register] = Vector128.Create(lanes).AsByte();

    public float[] GetSingle(int register)
    {
        float[] lanes = new float[4];
        State.Fpu.Xmm[register].AsSingle().CopyTo(lanes);
        return lanes;
    }

    public void Dispose() => machine.Dispose();
}
