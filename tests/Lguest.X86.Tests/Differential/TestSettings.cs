// Random tests repeat themselves unless they are told not to: the same seed gives the same cases on every machine.

namespace Lguest.X86.Tests.Differential;

/// <summary>Seed and length of the random tests.</summary>
internal static class TestSettings
{
    /// <summary>LGUEST_TEST_SEED, or 1.</summary>
    public static int Seed { get; } = Number("LGUEST_TEST_SEED", 1);

    /// <summary>LGUEST_TEST_ROUNDS in percent of each test's own number of rounds, or 100.</summary>
    public static int Rounds { get; } = Number("LGUEST_TEST_ROUNDS", 100);

    /// <summary>LGUEST_TEST_ENGINE: interpreter, translator (at once), unchained (at once, no block leads to another) or tiered.</summary>
    public static string Engine { get; } = Environment.GetEnvironmentVariable("LGUEST_TEST_ENGINE") is { Length: > 0 } name ? name : "translator";

    /// <summary>The processor that the tests of this run want.</summary>
    public static ProcessorOptions Processor(bool hostOwnsRing0) => new()
    {
        HostOwnsRing0 = hostOwnsRing0,
        Engine = Engine == "interpreter" ? EngineKind.Interpreter : EngineKind.Translator,
        TranslateAfter = Engine switch
        {
            "interpreter" or "translator" or "unchained" => 0,
            "tiered" => 2,
            _ => throw new ArgumentException($"LGUEST_TEST_ENGINE={Engine}: interpreter, translator, unchained and tiered are known."),
        },
        ChainBlocks = Engine != "unchained",
        CodeCacheBytes = 1 << 20,
    };

    /// <summary>Number of rounds of a test whose usual number is <paramref name="usual"/>.</summary>
    public static int RoundsOf(int usual) => Math.Max(1, (int)(usual * (long)Rounds / 100));

    /// <summary>Random numbers of one test; the same for the same seed and name.</summary>
    public static Random RandomFor(string name)
    {
        uint hash = 2166136261;
        foreach (char c in name)
        {
            hash = (hash ^ c) * 16777619;
        }
        return new Random(unchecked((int)hash + (Seed * 7919)));
    }

    /// <summary>What a failure message says about repeating it.</summary>
    public static string Description => $"seed {Seed}, rounds {Rounds} % (LGUEST_TEST_SEED, LGUEST_TEST_ROUNDS), engine {Engine} (LGUEST_TEST_ENGINE)";

    private static int Number(string variable, int otherwise) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } text ? int.Parse(text) : otherwise;
}
