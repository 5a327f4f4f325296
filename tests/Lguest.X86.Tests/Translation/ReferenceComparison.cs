// What a kernel and its program do together, twice: in blocks, and one instruction at a time by the reference handlers. Both must leave the
// same.

using System.Text;
using Lguest.X86.State;
using Lguest.X86.Tests.Differential;
using Lguest.X86.Tests.SystemLevel;

namespace Lguest.X86.Tests.Translation;

/// <summary>Compares random system programs with the reference path.</summary>
internal static class ReferenceComparison
{
    private const int Rounds = 120;
    private const int MostInstructions = 20_000;

    /// <summary>Runs the program of each of many seeds with both.</summary>
    /// <param name="name">What the seeds are for.</param>
    /// <param name="run">Runs the program of a seed and says what it has left.</param>
    public static void Compare(string name, Func<Engine, int, string> run)
    {
        Random random = TestSettings.RandomFor(name);
        for (int round = TestSettings.RoundsOf(Rounds); round > 0; round--)
        {
            int seed = random.Next();
            string expected = run(Engine.Reference, seed);
            string actual = run(Engine.Blocks, seed);
            Assert.Equal($"{TestSettings.Description}, round {round}: {expected}", $"{TestSettings.Description}, round {round}: {actual}");
        }
    }

    /// <summary>Runs to the end, and says all that the program may have left.</summary>
    public static string RunAndDescribe(SystemMachine m)
    {
        // Some make a loop of which nobody sees the end.
        m.Processor.StopAt(MostInstructions);
        m.Processor.StopReached = m.Processor.RequestReturn;
        ProcessorExit exit = m.Processor.Run();
        return exit.Kind == ExitKind.Requested ? "endless" : Describe(m, exit);
    }

    private static string Describe(SystemMachine m, ProcessorExit exit)
    {
        var text = new StringBuilder($"{exit} ring {m.State.PrivilegeLevel} eip {m.State.Eip:x} eflags {m.State.Eflags & ~Eflags.Resume:x}");
        for (int i = 0; i < 8; i++)
        {
            text.Append($" {m.State.General[i]:x}");
        }
        for (int i = 0; i < 6; i++)
        {
            ref Segment segment = ref m.State.Segments[i];
            text.Append($" {segment.Selector:x}:{segment.Base:x}:{segment.Limit:x}:{segment.Attributes:x}");
        }
        // Not the page tables: a block is decoded as a whole, and marks pages that one instruction at a time may never get to.
        byte[] memory = new byte[0x9_0000];
        m.Memory.Read(0, memory);
        memory.AsSpan((int)SystemMachine.Directory..(int)SystemMachine.Handlers).Clear();
        return text.Append($" memory {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(memory), 0, 8)}").ToString();
    }
}
