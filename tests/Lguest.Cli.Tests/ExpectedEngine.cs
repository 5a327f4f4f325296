// The command names the engine that it has chosen; what it should choose depends on the host that the tests run on.

using Lguest.X86;

namespace Lguest.Cli.Tests;

/// <summary>The engine that this host's command chooses by itself.</summary>
internal static class ExpectedEngine
{
    /// <summary>Its name, as the command writes it.</summary>
    public static string Name => Engines.CanTranslate(out _) ? "translator" : "interpreter";
}
