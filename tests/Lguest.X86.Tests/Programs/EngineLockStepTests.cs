using System.Text;
using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Programs;

/// <summary>The engine with its fast forms, chained blocks and code tracking must do exactly what the reference path does one instruction at a time.</summary>
public sealed class EngineLockStepTests : IDisposable
{
    private const int ProgramsEach = 150;
    private const int LongProgramsEach = 40;
    private const int StepLimit = 300_000;
    private const byte ExitVector = 0x1F;

    /// <summary>A cache that holds about 400 blocks; the longest programs have several times as many.</summary>
    private const int SmallCache = 256 << 10;

    private readonly Dictionary<(bool Paging, bool Small), (ProgramMachine Engine, ProgramMachine Reference)> machines = [];

    [Theory]
    [InlineData(false, false, false)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(false, false, true)]
    [InlineData(false, true, true)]
    [InlineData(true, true, true)]
    public void EngineAgreesWithReference(bool floatingPoint, bool selfModifying, bool paging) =>
        Compare(TestSettings.RandomFor($"{floatingPoint} {selfModifying} {paging}"), floatingPoint, selfModifying, paging);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void EngineAgreesWithReferenceWhileAnotherThreadCallsItAway(bool selfModifying)
    {
        // Nobody wants an interrupt, but the engine has to look, wherever it is: it leaves its blocks and comes back.
        Processor processor = MachinesFor(paging: true).Engine.Processor;
        using var stop = new CancellationTokenSource();
        var caller = new Thread(() =>
        {
            while (!stop.IsCancellationRequested)
            {
                _ = processor.InstructionCount;
                Thread.SpinWait(20);
            }
        });
        caller.Start();
        try
        {
            Compare(TestSettings.RandomFor($"called away {selfModifying}"), floatingPoint: true, selfModifying, paging: true);
        }
        finally
        {
            stop.Cancel();
            caller.Join();
        }
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void EngineAgreesWithReferenceWhenTheCacheIsTooSmall(bool selfModifying, bool paging)
    {
        BlockCache blocks = MachinesFor(paging, small: true).Engine.Processor.Blocks;
        Compare(TestSettings.RandomFor($"small cache {selfModifying} {paging}"), floatingPoint: true, selfModifying, paging, small: true);
        Assert.True(blocks.Evicted > blocks.Decoded / 2, $"{blocks.Evicted} of {blocks.Decoded} blocks were given up");
    }

    private void Compare(Random random, bool floatingPoint, bool selfModifying, bool paging, bool small = false)
    {
        var options = new ProgramOptions
        {
            FloatingPoint = floatingPoint,
            SelfModifying = selfModifying,
            Alias = paging ? ProgramMachine.Alias : 0,
            PageFaults = paging,
        };
        var generator = new ProgramGenerator(random, options);
        for (int round = TestSettings.RoundsOf(small ? LongProgramsEach : ProgramsEach); round > 0; round--)
        {
            RandomProgram program = generator.Next(small ? random.Next(100, 200) : random.Next(3, 40));
            byte[] data = new byte[RandomProgram.DataSize];
            random.NextBytes(data);
            NativeState registers = Registers(random);
            string differences = Differences(program, data, registers, paging, small);
            if (differences.Length > 0)
            {
                string whole = program.Listing();
                program = program.Minimise(smaller => Differences(smaller, data, registers, paging, small).Length > 0);
                string again = Differences(program, data, registers, paging, small);
                Assert.Fail($"{TestSettings.Description}, program {round}\n"
                    + (again.Length > 0 ? program.Listing() + again : $"{whole}{differences}(not again)"));
            }
        }
    }

    [Theory]
    [InlineData(0x1_0FFF, false)]
    [InlineData(0x1_1000, false)]
    [InlineData(0x1_1002, false)]
    [InlineData(0x1_0FFF, true)]
    [InlineData(0x1_1002, true)]
    public void AnInstructionAcrossAPageBorderIsWatchedOnBothSides(uint patched, bool paging)
    {
        const uint atBorder = 0x1_0FFE;
        const uint before = 15;
        var program = new RandomProgram(
            new ProgramOptions(),
            atBorder - before,
            [
                new Statement((a, _) =>
                {
                    a.mov(ebp, 5);
                    Label top = a.CreateLabel();
                    a.Label(ref top);
                    a.add(eax, 0x0102_0304);
                    a.inc(__byte_ptr[patched + (paging ? ProgramMachine.Alias : 0)]);
                    a.dec(ebp);
                    a.jne(top);
                }),
            ]);
        byte[] code = program.Assemble(out _);
        Assert.Equal(0x05, code[before]);
        Assert.Equal("", Differences(program, new byte[RandomProgram.DataSize], new NativeState(), paging));
    }

    public void Dispose()
    {
        foreach ((ProgramMachine engine, ProgramMachine reference) in machines.Values)
        {
            engine.Dispose();
            reference.Dispose();
        }
    }

    private static NativeState Registers(Random random)
    {
        var values = new ValueSource(random);
        var state = new NativeState { Eflags = (uint)random.Next() & Eflags.Status, ValidTags = 0xFF };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = values.NextUInt32();
            state.SetXmm(i, values.NextXmm());
            state.SetSt(i, values.NextFloat80());
        }
        return state;
    }

    private (ProgramMachine Engine, ProgramMachine Reference) MachinesFor(bool paging, bool small = false)
    {
        if (!machines.TryGetValue((paging, small), out (ProgramMachine Engine, ProgramMachine Reference) pair))
        {
            machines[(paging, small)] = pair = (new ProgramMachine(paging, codeCacheBytes: small ? SmallCache : null), new ProgramMachine(paging));
        }
        return pair;
    }

    private string Differences(RandomProgram program, byte[] data, in NativeState registers, bool paging, bool small = false)
    {
        (ProgramMachine engine, ProgramMachine reference) = MachinesFor(paging, small);
        byte[] code = program.Assemble(out uint exit);
        engine.Load(program, code, data, registers);
        reference.Load(program, code, data, registers);

        int steps = 0;
        while (reference.State.Eip != exit && steps < StepLimit && reference.Step())
        {
            steps++;
        }
        if (steps == StepLimit)
        {
            return "";
        }
        bool ended = reference.State.Eip == exit;
        long before = engine.Processor.InstructionCount;
        ProcessorExit end = engine.Processor.Run();

        var text = new StringBuilder();
        byte vector = ended ? ExitVector : reference.FaultVector;
        uint eip = reference.State.Eip + (ended ? 2u : 0);
        Note(text, "vector", vector, end.Vector);
        Note(text, "eip", eip, engine.State.Eip);
        Note(text, "cr2", reference.State.Cr2, engine.State.Cr2);
        Note(text, "instructions", (ulong)(steps + (ended ? 1 : 0)), (ulong)(engine.Processor.InstructionCount - before));
        Note(text, "eflags", reference.State.Eflags & ~Eflags.Resume, engine.State.Eflags & ~Eflags.Resume);
        for (int i = 0; i < 8; i++)
        {
            Note(text, $"{(Register32)i}", reference.State.General[i], engine.State.General[i]);
        }
        NativeState expected = NativeState.From(reference.State);
        NativeState actual = NativeState.From(engine.State);
        if (!((ReadOnlySpan<byte>)expected.Fx).SequenceEqual(actual.Fx))
        {
            text.AppendLine("  x87 or SSE state differs");
        }
        byte[] expectedMemory = reference.Memory();
        byte[] actualMemory = engine.Memory();
        for (int i = 0, shown = 0; i < expectedMemory.Length && shown < 8; i++)
        {
            if (expectedMemory[i] != actualMemory[i])
            {
                Note(text, $"memory {RandomProgram.Data + (uint)i:x}", expectedMemory[i], actualMemory[i]);
                shown++;
            }
        }
        return text.ToString();
    }

    private static void Note(StringBuilder text, string what, ulong expected, ulong actual)
    {
        if (expected != actual)
        {
            text.AppendLine($"  {what}: expected {expected:x}, got {actual:x}");
        }
    }
}
