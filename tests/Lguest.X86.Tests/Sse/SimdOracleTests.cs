// Every MMX, SSE and SSE2 encoding against the CPU below us: registers, memory, MXCSR, x87 tags and flags after the instruction must
// agree in every rounding mode, with FZ and DAZ, on random and edge operands.

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Sse;

public sealed class SimdOracleTests(SimdOracle oracle) : IClassFixture<SimdOracle>
{
    private const int Forms = 10;
    private const int Rounds = 40;

    public static TheoryData<string> Codes => [.. SimdForms.Exact.Select(code => code.ToString())];

    [Theory]
    [MemberData(nameof(Codes))]
    public void AgreesWithTheNativeCpu(string name)
    {
        Code code = Enum.Parse<Code>(name);
        int seed = Environment.TickCount;
        var random = new Random(seed);
        for (int form = 0; form < Forms; form++)
        {
            bool memory = SimdForms.HasMemory(code) && (!SimdForms.HasRegister(code) || form % 2 == 0);
            int offset = 16 * random.Next(4);
            Instruction instruction = SimdForms.Create(code, memory, offset, random);
            for (int round = 0; round < Rounds; round++)
            {
                NativeState before = RandomState(random);
                byte[] scratch = SimdValues.Vector(random).ToBytes([.. SimdValues.Vector(random).ToBytes([])]);
                string? difference = oracle.Compare(instruction, before, offset, scratch);
                Assert.True(difference is null, $"{instruction} seed {seed} form {form} round {round} MXCSR {before.Mxcsr:X}: {difference}");
            }
        }
    }

    private static NativeState RandomState(Random random)
    {
        var state = new NativeState
        {
            Eflags = (uint)random.Next(0x1000) & Eflags.Status,
            StatusWord = (ushort)(random.Next(0x10000) & 0x7F00),
            ValidTags = (byte)random.Next(256),
            Mxcsr = SimdValues.Mxcsr(random),
        };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = (uint)random.NextInt64();
            state.SetSt(i, new Float80((ushort)random.Next(0x10000), SimdValues.Vector(random).AsUInt64().ToScalar()));
            state.SetXmm(i, i > 0 && random.Next(4) == 0 ? SimdValues.Near(state.GetXmm(i - 1), random) : SimdValues.Vector(random));
        }
        return state;
    }
}
