// Both engines boot the same Guest side by side and do the same in it: forks, pipes, signals, floating point, compression. Wherever the
// translator stops, the interpreter stops at the same instruction, and nothing that a program could see may differ, nor anything in memory.

using System.Globalization;
using Lguest.LockStep;
using Lguest.X86;
using Lguest.X86.State;

namespace Lguest.Boot.Tests;

public class LockStepTests
{
    private const uint UnusedAddress = 0x5_0000;

    /// <summary>LGUEST_TEST_SEED, or 1: when the Guests start, and where they stop.</summary>
    private static int Seed { get; } =
        Environment.GetEnvironmentVariable("LGUEST_TEST_SEED") is { Length: > 0 } text ? int.Parse(text, CultureInfo.InvariantCulture) : 1;

    [Fact]
    public void BothEnginesDoTheSameFromTheFirstInstructionOn()
    {
        Assert.SkipUnless(Engines.CanTranslate(out string? whyNot), whyNot ?? "");
        LockStepResult result = new LockStepRun(DefaultGuest.Kernel, DefaultGuest.Initrd, Seed) { LongestDistance = 50_000 }.Run();
        Assert.Equal("", result.Report);
        Assert.True(result.Instructions > 100_000_000, $"only {result.Instructions} instructions:\n{result.Screen}");
        Assert.Contains("\r\nalarm\r\n", result.Screen);
        Assert.Contains("\r\nSEGV 139\r\n", result.Screen);
    }

    [Fact]
    public void BothEnginesDoTheSameWhenTheCodeCacheIsAlwaysFull()
    {
        Assert.SkipUnless(Engines.CanTranslate(out string? whyNot), whyNot ?? "");
        var run = new LockStepRun(DefaultGuest.Kernel, DefaultGuest.Initrd, Seed)
        {
            CodeCacheBytes = 512 << 10,
            TranslateAfter = 2,
            Limit = 40_000_000,
        };
        LockStepResult result = run.Run();
        Assert.Equal("", result.Report);
        Assert.True(result.Instructions > 30_000_000, $"only {result.Instructions} instructions:\n{result.Screen}");
    }

    [Theory]
    [InlineData(true, "  memory 00050000: expected ")]
    [InlineData(false, "  R7: expected ")]
    public void ADifferenceIsFoundAndSaid(bool inMemory, string said)
    {
        Assert.SkipUnless(Engines.CanTranslate(out string? whyNot), whyNot ?? "");
        var run = new LockStepRun(DefaultGuest.Kernel, DefaultGuest.Initrd, Seed)
        {
            Limit = 3_000_000,
            Disturb = leader =>
            {
                if (leader.Stop.Instructions < 1_000_000)
                {
                    return;
                }
                if (inMemory)
                {
                    leader.Memory.Write(UnusedAddress, (byte)0xA5);
                }
                else
                {
                    leader.Processor.State.Fpu.Registers[7] = new Float80(0x3FFF, 0xC123_4567_89AB_CDEF);
                }
            },
        };
        string report = run.Run().Report;
        Assert.Contains(said, report);
        Assert.Contains($"seed {Seed}", report);
        Assert.Contains("The interpreter there:", report);
    }
}
