// Two Guests of one image, one run by the translator, which goes ahead, the other by the interpreter, which follows it to every place at
// which it stopped. There everything that a program could see is compared: the processors each time, the memories after every million
// instructions.
//
// Nothing else tells them apart: time is the number of instructions, and keys are pressed at stops. So a run repeats itself from its seed,
// and when the two differ it does: up to the last place where they were alike, then in the smallest steps, and at last so that the
// interpreter says what it executes between two stops.

using System.Text;
using Iced.Intel;
using Lguest.Launcher;
using Lguest.X86;
using Lguest.X86.State;

namespace Lguest.LockStep;

/// <summary>How a comparison ended.</summary>
/// <param name="Report">What differed, and where; empty when nothing did.</param>
/// <param name="Instructions">Instructions that both have executed.</param>
/// <param name="Stops">Places at which the processors were compared.</param>
/// <param name="MemoryComparisons">Places at which the memories were compared.</param>
/// <param name="Screen">What the Guests wrote.</param>
public sealed record LockStepResult(string Report, long Instructions, long Stops, long MemoryComparisons, string Screen);

/// <summary>Runs Guests in lock-step.</summary>
/// <param name="kernel">Path of the kernel.</param>
/// <param name="initrd">Path of the initial RAM disk.</param>
/// <param name="seed">Chooses the moment at which the Guests start, and the distances between stops.</param>
public sealed class LockStepRun(string kernel, string initrd, int seed)
{
    private const long MemoryInterval = 1_000_000;
    private const int MostTraced = 120;

    private readonly MachineOptions options = new() { Kernel = kernel, Initrd = initrd, MemoryBytes = 48 << 20 };

    /// <summary>Instructions after which to end, if there is still something to do then.</summary>
    public long Limit { get; init; } = long.MaxValue;

    /// <summary>The longest distance between stops, in instructions; short ones are as frequent as long ones.</summary>
    public int LongestDistance { get; init; } = 100_000;

    /// <summary>Lets the Guests compress and add up more than a test has time for.</summary>
    public bool Thorough { get; init; }

    /// <summary>How often the lines are typed.</summary>
    public int Rounds { get; init; } = 1;

    /// <summary>Executions after which a block is translated.</summary>
    public int TranslateAfter { get; init; } = 16;

    /// <summary>Bytes of the translator's code cache.</summary>
    public nuint CodeCacheBytes { get; init; } = new ProcessorOptions().CodeCacheBytes;

    /// <summary>Called with what the Guests show; null for nobody.</summary>
    public Action<string>? Shown { get; init; }

    /// <summary>Called with the translator's Guest at each stop, for those who test whether differences are found; null for nobody.</summary>
    internal Action<SteppedGuest>? Disturb { get; init; }

    /// <summary>Runs and compares; at a difference, looks for its origin.</summary>
    public LockStepResult Run()
    {
        Attempt first = Try([], Shown);
        if (first.Differences.Length == 0)
        {
            return first.ToResult("");
        }
        var report = new StringBuilder($"After {first.Alike.Instructions} instructions, stop {first.AlikeStops}, alike; at stop {first.Distances.Count}, seed {seed}:\n{first.Differences}");
        Attempt last = first;
        foreach (int stopsBetweenMemory in (ReadOnlySpan<int>)[64, 1])
        {
            Attempt finer = Try(last.Distances[..(int)last.AlikeStops], null, stopsBetweenMemory);
            if (finer.Differences.Length == 0)
            {
                report.AppendLine("In smaller steps it does not happen.");
                break;
            }
            report.Append($"In small steps, after {finer.Alike.Instructions} instructions:\n{finer.Differences}");
            last = finer;
        }
        report.Append(Try(last.Distances, null, traceFrom: last.AlikeStops).Trace);
        return first.ToResult(report.ToString());
    }

    /// <summary>Runs until something differs, or to the end.</summary>
    /// <param name="distances">Distances of the first stops.</param>
    /// <param name="shown">Called with what the Guests show.</param>
    /// <param name="stopsBetweenMemory">For small steps behind these: how many there are from one comparison of memory to the next; 0 for random steps.</param>
    /// <param name="traceFrom">The stop after which the interpreter says what it does.</param>
    private Attempt Try(IReadOnlyList<long> distances, Action<string>? shown, int stopsBetweenMemory = 0, long traceFrom = long.MaxValue)
    {
        bool smallSteps = stopsBetweenMemory > 0;
        var random = new Random(seed);
        long start = random.NextInt64(1, 1_000_000_000_000);
        string[] lines = [.. Enumerable.Repeat(Thorough ? Workload.Long : Workload.Short, Rounds).SelectMany(static lines => lines)];
        var translated = new ProcessorOptions { Engine = EngineKind.Translator, TranslateAfter = TranslateAfter, CodeCacheBytes = CodeCacheBytes };
        using var leader = new SteppedGuest(options, translated, start, new TypedConsole(lines, shown));
        using var follower = new SteppedGuest(options, new ProcessorOptions { Engine = EngineKind.Interpreter, StopsExactly = true },
            start, new TypedConsole(lines, null));
        var attempt = new Attempt();
        long nextMemory = 0;
        bool replays = distances.Count > 0;
        while (true)
        {
            int stop = attempt.Distances.Count;
            long distance = stop < distances.Count ? distances[stop] : smallSteps ? 1 : Distance(random);
            bool traced = stop >= traceFrom;
            attempt.Distances.Add(distance);
            bool lives = leader.RunTo(leader.Processor.CompletedInstructions + distance);
            bool follows = traced ? follower.Trace(leader.Stop, () => attempt.NoteInstruction(follower)) : follower.RunTo(leader.Stop);
            Disturb?.Invoke(leader);
            bool ends = !lives || !follows || leader.Console.IsFinished || leader.Stop.Instructions >= Limit;
            string differences = Differences.OfProcessors(follower, leader);
            if (leader.Death != follower.Death)
            {
                differences += $"  end: expected {follower.Death ?? "none"}, got {leader.Death ?? "none"}\n";
            }
            bool comparesMemory = ends || differences.Length > 0 || stop + 1 == distances.Count || leader.Stop.Instructions >= nextMemory
                || (smallSteps && stop >= distances.Count && (stop - distances.Count) % stopsBetweenMemory == 0);
            if (comparesMemory)
            {
                attempt.MemoryComparisons++;
                differences += Differences.OfMemory(follower, leader);
                nextMemory = leader.Stop.Instructions + MemoryInterval;
            }
            attempt.Differences = differences;
            bool givesUp = replays && stop >= distances.Count && leader.Stop.Instructions > attempt.Alike.Instructions + (2 * MemoryInterval);
            if (ends || givesUp || differences.Length > 0 || (traced && stop + 1 == distances.Count))
            {
                attempt.Reached = leader.Stop;
                attempt.Screen = leader.Console.Screen;
                return attempt;
            }
            if (leader.Stop == attempt.Reached && leader.Console.WaitingInput == 0)
            {
                throw new InvalidOperationException($"The Guests wait for something that does not come:\n{leader.Console.Screen}");
            }
            attempt.Reached = leader.Stop;
            if (comparesMemory)
            {
                attempt.Alike = leader.Stop;
                attempt.AlikeStops = attempt.Distances.Count;
            }
            leader.DeliverInput();
            follower.DeliverInput();
        }
    }

    /// <summary>A distance whose logarithm is evenly spread.</summary>
    private long Distance(Random random) => (long)Math.Exp(random.NextDouble() * Math.Log(LongestDistance));

    /// <summary>One run, as far as it came.</summary>
    private sealed class Attempt
    {
        private readonly Queue<string> trace = new();
        private readonly uint[] registers = new uint[8];
        private string executed = "";

        public List<long> Distances { get; } = [];

        public string Differences { get; set; } = "";

        /// <summary>Where everything was alike last, memory included, and after how many stops that was.</summary>
        public Place Alike { get; set; }

        public long AlikeStops { get; set; }

        public Place Reached { get; set; }

        public long MemoryComparisons { get; set; }

        public string Screen { get; set; } = "";

        public string Trace => $"The interpreter there:\n{string.Join('\n', trace)}\n{executed}\n";

        /// <summary>Notes the instruction that comes next, and what the one before has changed.</summary>
        public void NoteInstruction(SteppedGuest guest)
        {
            ref CpuState state = ref guest.Processor.State;
            var text = new StringBuilder(executed);
            for (int i = 0; i < registers.Length; i++)
            {
                if (registers[i] != state.General[i])
                {
                    registers[i] = state.General[i];
                    text.Append($" {(Register32)i}={registers[i]:x}");
                }
            }
            trace.Enqueue(text.ToString());
            if (trace.Count > MostTraced)
            {
                trace.Dequeue();
            }
            Instruction? instruction = guest.Processor.PeekInstruction();
            executed = $"  {guest.Processor.CompletedInstructions} {state.Eip:x8}  {instruction?.ToString() ?? "(not mapped)"}  ; flags {state.Eflags:x}";
        }

        public LockStepResult ToResult(string report) => new(report, Reached.Instructions, Distances.Count, MemoryComparisons, Screen);
    }
}
