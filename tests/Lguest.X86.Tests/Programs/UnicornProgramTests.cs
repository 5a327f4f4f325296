using System.Buffers.Binary;
using System.Text;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Programs;

/// <summary>Random programs through the whole engine, against Unicorn: what a single instruction leaves behind is what the next one needs.</summary>
public sealed class UnicornProgramTests : IDisposable
{
    private const int ProgramsEach = 100;
    private const int StepLimit = 300_000;
    private const uint Gdt = 0x1000;

    private readonly Unicorn unicorn = new();
    private readonly ProgramMachine machine = new(false);

    public UnicornProgramTests()
    {
        unicorn.Map(0, ProgramMachine.Size);
        ulong[] descriptors = [0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x00CF_9300_1000_FFFF, 0xFFCF_93FF_FF00_FFFF];
        for (int i = 0; i < descriptors.Length; i++)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(unicorn.Memory(Gdt + (uint)(i * 8), 8), descriptors[i]);
        }
        unicorn.SetGdt(Gdt, 0x27);
        unicorn.LoadSegment(SegmentName.CS, 0x08);
        unicorn.LoadSegment(SegmentName.SS, 0x10);
        unicorn.LoadSegment(SegmentName.DS, 0x10);
        unicorn.LoadSegment(SegmentName.ES, 0x10);
        unicorn.LoadSegment(SegmentName.FS, 0x18);
        unicorn.LoadSegment(SegmentName.GS, 0x20);
        unicorn.Save();
    }

    [Theory]
    [InlineData(false, 1, 6)]
    [InlineData(false, 5, 20)]
    [InlineData(false, 20, 50)]
    [InlineData(true, 5, 20)]
    public void EngineAgreesWithUnicorn(bool selfModifying, int shortest, int longest)
    {
        Random random = TestSettings.RandomFor($"unicorn {selfModifying} {longest}");
        var options = new ProgramOptions { SelfModifying = selfModifying, DefinedFlagsOnly = true };
        var generator = new ProgramGenerator(random, options);
        for (int round = TestSettings.RoundsOf(ProgramsEach); round > 0; round--)
        {
            RandomProgram program = generator.Next(random.Next(shortest, longest));
            byte[] data = new byte[RandomProgram.DataSize];
            random.NextBytes(data);
            var registers = new NativeState { Eflags = (uint)random.Next() & Eflags.Status };
            var values = new ValueSource(random);
            for (int i = 0; i < 8; i++)
            {
                registers.General[i] = values.NextUInt32();
            }
            if (Differences(program, data, registers).Length > 0)
            {
                program = program.Minimise(smaller => Differences(smaller, data, registers).Length > 0);
                Assert.Fail($"{TestSettings.Description}, program {round}\n{program.Listing()}{Differences(program, data, registers)}");
            }
        }
    }

    public void Dispose()
    {
        unicorn.Dispose();
        machine.Dispose();
    }

    private string Differences(RandomProgram program, byte[] data, in NativeState registers)
    {
        byte[] code = program.Assemble(out uint exit);
        machine.Load(program, code, data, registers);
        byte[] memory = machine.Memory();
        ProcessorExit end = machine.Processor.Run();

        unicorn.Reset();
        for (int i = 0; i < 8; i++)
        {
            unicorn.SetGeneral(i, registers.General[i]);
        }
        unicorn.SetGeneral((int)Register32.Esp, RandomProgram.StackTop);
        unicorn.Eflags = registers.Eflags | Eflags.Interrupt | Eflags.AlwaysOne;
        int dataBytes = (int)(RandomProgram.CodeStart - RandomProgram.Data);
        memory.AsSpan(0, dataBytes).CopyTo(unicorn.Memory(RandomProgram.Data, dataBytes));
        unicorn.WriteCode(program.Start, code);
        unicorn.Eip = program.Start;
        Unicorn.Outcome outcome = unicorn.Run(StepLimit, exit);

        var text = new StringBuilder();
        Note(text, "end", outcome.Completed ? 0x1Fu : (uint)outcome.Vector, end.Vector);
        Note(text, "eip", unicorn.Eip, machine.State.Eip - (outcome.Completed ? 2u : 0));
        Note(text, "eflags", unicorn.Eflags, machine.State.Eflags & ~Eflags.Resume);
        for (int i = 0; i < 8; i++)
        {
            Note(text, $"{(Register32)i}", unicorn.GetGeneral(i), machine.State.General[i]);
        }
        memory = machine.Memory();
        Compare(RandomProgram.Data, dataBytes);
        Compare(program.Start, code.Length);
        return text.ToString();

        void Compare(uint address, int length)
        {
            Span<byte> expected = unicorn.Memory(address, length);
            for (int i = 0, shown = 0; i < length && shown < 8; i++)
            {
                byte actual = memory[(int)(address - RandomProgram.Data) + i];
                if (expected[i] != actual)
                {
                    Note(text, $"memory {address + (uint)i:x}", expected[i], actual);
                    shown++;
                }
            }
        }
    }

    private static void Note(StringBuilder text, string what, uint expected, uint actual)
    {
        if (expected != actual)
        {
            text.AppendLine($"  {what}: expected {expected:x}, got {actual:x}");
        }
    }
}
