// A processor that is told to stop after so many instructions: wherever the translator comes to stand, the interpreter must be able to
// stand, too, with the same state; and being stopped must change nothing of what a program does.

using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Programs;

public sealed class StopTests : IDisposable
{
    private const int Programs = 60;
    private const int LongestProgram = 20_000;
    private const byte StopVector = 0x30;

    private readonly ProgramMachine leader = new(paging: true);
    private readonly ProgramMachine follower = new(paging: true, stopsExactly: true);

    [Theory]
    [InlineData(1)]
    [InlineData(300)]
    public void AnExactProcessorStandsWhereAnotherOneStoppedAsItLiked(int distance)
    {
        Random random = TestSettings.RandomFor($"stops {distance}");
        var generator = new ProgramGenerator(random, new ProgramOptions
        {
            FloatingPoint = true,
            SelfModifying = true,
            Alias = ProgramMachine.Alias,
            PageFaults = true,
        });
        long stops = 0;
        for (int round = TestSettings.RoundsOf(Programs); round > 0; round--)
        {
            RandomProgram program = generator.Next(random.Next(3, 40));
            byte[] code = program.Assemble(out _);
            byte[] data = new byte[RandomProgram.DataSize];
            random.NextBytes(data);
            leader.Load(program, code, data, new NativeState { ValidTags = 0xFF });
            follower.Load(program, code, data, new NativeState { ValidTags = 0xFF });
            long start = leader.Processor.CompletedInstructions;
            long offset = follower.Processor.CompletedInstructions - start;
            long deliveryOffset = follower.Processor.Deliveries - leader.Processor.Deliveries;
            ProcessorExit end;
            do
            {
                long wanted = leader.Processor.CompletedInstructions + random.Next(1, 2 * distance);
                end = Run(leader.Processor, wanted, 0);
                stops += end.Vector == StopVector ? 1 : 0;
                ProcessorExit same = end.Vector == StopVector
                    ? Run(follower.Processor, leader.Processor.CompletedInstructions + offset, leader.Processor.Deliveries + deliveryOffset - 1)
                    : Run(follower.Processor, long.MaxValue, 0);
                string where = $"{TestSettings.Description}, program {round}, {leader.Processor.CompletedInstructions - start} instructions";
                Assert.Equal((where, end), (where, same));
                Assert.Equal((where, leader.Processor.CompletedInstructions + offset), (where, follower.Processor.CompletedInstructions));
                Assert.Equal((where, leader.State.Eip), (where, follower.State.Eip));
                Assert.Equal((where, leader.State.Eflags), (where, follower.State.Eflags));
                Assert.Equal(((ReadOnlySpan<uint>)leader.State.General)[..8].ToArray(), ((ReadOnlySpan<uint>)follower.State.General)[..8].ToArray());
                Assert.True(leader.Memory().AsSpan().SequenceEqual(follower.Memory()), where);
            }
            while (end.Vector == StopVector && leader.Processor.CompletedInstructions - start < LongestProgram);
        }
        // Most random programs are over before 300 instructions.
        Assert.True(stops > Programs / 4, $"only {stops} stops");
    }

    public void Dispose()
    {
        leader.Dispose();
        follower.Dispose();
    }

    private static ProcessorExit Run(Processor processor, long instructions, long deliveries)
    {
        processor.StopReached = () => processor.RequestInterrupt(StopVector);
        processor.StopAt(instructions, deliveries);
        return processor.Run();
    }
}
