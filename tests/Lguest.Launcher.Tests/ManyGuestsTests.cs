// Sixteen Guests of one Host, all computing at once, while one after the other is ended. Whoever is left must go on, and go on computing
// right: each sends the steps of a sequence of its own, and what comes out is compared step by step.

using Lguest.Host;
using static Iced.Intel.AssemblerRegisters;
using static Lguest.Launcher.Tests.TinyGuest;

namespace Lguest.Launcher.Tests;

public class ManyGuestsTests
{
    private const int Guests = LguestAbi.DefaultMaximumGuests;
    private const uint Factor = 1_664_525;
    private const uint Summand = 1_013_904_223;
    private const int Rounds = 500;

    [Fact]
    public async Task SixteenGuestsUnderLoad_OneEndedAfterTheOther_TheOthersComputeOn()
    {
        var host = new LguestHost();
        Member[] members = [.. Enumerable.Range(0, Guests).Select(number => new Member(host, (uint)number))];
        try
        {
            foreach (Member member in members)
            {
                _ = member.Start();
            }
            foreach (Member member in members)
            {
                await member.Output.ReachAsync(3);
            }
            await using (var tooMany = new Member(host, Guests))
            {
                var error = await Assert.ThrowsAsync<MachineConfigurationException>(tooMany.Start);
                Assert.Equal("The Host runs as many Guests as it may.", error.Message);
            }

            for (int victim = 0; victim < Guests - 1; victim++)
            {
                await members[victim].EndAsync(victim % 3);
                foreach (Member survivor in members[(victim + 1)..])
                {
                    await survivor.Output.ReachAsync(survivor.Output.Steps + 2);
                }
            }
            // The places of the dead are free again.
            await using var late = new Member(host, Guests);
            _ = late.Start();
            await late.Output.ReachAsync(3);
            await members[^1].Output.ReachAsync(members[^1].Output.Steps + 2);
        }
        finally
        {
            foreach (Member member in members)
            {
                await member.DisposeAsync();
            }
        }
        Assert.All(members, static member => Assert.Null(member.Output.Mistake));
    }

    [Fact]
    public async Task AGuestTakesWhatItTouches_AndNotWhatItWasPromised()
    {
        await using var member = new Member(new LguestHost(), 1, memoryBytes: 512 << 20);
        _ = member.Start();
        await member.Output.ReachAsync(1);
        (long guest, long tables) = member.Machine.CountResidentMemory();
        Assert.InRange(guest, 4096, 16 << 20);
        Assert.InRange(tables, 4 * 4096, 4 << 20);
    }

    /// <summary>A Guest that computes, its console, and how it is ended.</summary>
    private sealed class Member : IAsyncDisposable
    {
        private readonly CancellationTokenSource stop = new();
        private Task<MachineResult>? run;

        public Member(LguestHost host, uint seed, long memoryBytes = 4 << 20)
        {
            Output = new SequenceStream(seed);
            using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(c =>
            {
                Initialize(c);
                c.mov(esi, seed);
                var next = c.CreateLabel();
                var round = c.CreateLabel();
                c.Label(ref next);
                c.mov(ecx, Rounds);
                c.Label(ref round);
                c.imul(esi, esi, unchecked((int)Factor));
                c.add(esi, Summand);
                c.loop(round);
                c.mov(__dword_ptr[PageOffset + Text], esi);
                SetList(c, List, (Text, 4));
                Call(c, Hypercall.SendDma, 0, List, 0);
                c.jmp(next);
            })).ToBytes());
            Machine = new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = memoryBytes, Host = host, ConsoleOutput = Output });
        }

        public Machine Machine { get; }

        public SequenceStream Output { get; }

        public Task Start() => run = Machine.RunAsync(stop.Token);

        /// <summary>Ends the Guest in one of three ways.</summary>
        public async Task EndAsync(int way)
        {
            switch (way)
            {
                case 0:
                    await stop.CancelAsync();
                    Assert.Equal(MachineEnd.Stopped, (await run!).End);
                    break;
                case 1:
                    Output.IsGone = true;
                    await Assert.ThrowsAsync<IOException>(() => run!);
                    break;
            }
            await Machine.DisposeAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await Machine.DisposeAsync();
            stop.Dispose();
        }
    }

    /// <summary>Checks the steps of a sequence as they come.</summary>
    private sealed class SequenceStream(uint seed) : TestStream
    {
        private readonly Lock gate = new();
        private uint state = seed;
        private int steps;
        private int awaited = int.MaxValue;
        private TaskCompletionSource reached = new();

        public volatile bool IsGone;

        public string? Mistake { get; private set; }

        public int Steps
        {
            get
            {
                lock (gate)
                {
                    return steps;
                }
            }
        }

        public Task ReachAsync(int count)
        {
            lock (gate)
            {
                awaited = count;
                reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                if (steps >= count)
                {
                    reached.SetResult();
                }
                return reached.Task.WaitAsync(TimeSpan.FromMinutes(2), TestContext.Current.CancellationToken);
            }
        }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            if (IsGone)
            {
                throw new IOException("gone");
            }
            lock (gate)
            {
                for (int round = 0; round < Rounds; round++)
                {
                    state = unchecked((state * Factor) + Summand);
                }
                uint sent = buffer.Length == sizeof(uint) ? BitConverter.ToUInt32(buffer) : 0;
                if (buffer.Length != sizeof(uint) || sent != state)
                {
                    Mistake ??= $"Step {steps}: {sent:x8} instead of {state:x8}";
                }
                if (++steps >= awaited)
                {
                    reached.TrySetResult();
                }
            }
        }
    }
}
