// The rules of this repository that a compiler does not know. Each test names every place that breaks its rule.

using System.Text.RegularExpressions;

namespace Lguest.Repository.Tests;

public partial class SourceRulesTests
{
    private const int LongestFile = 600;
    private const int LongestTestFile = 700;

    /// <summary>A file of names and numbers, each with its summary, explains itself.</summary>
    private const int ShortFile = 100;

    [Fact]
    public void EveryUnsafeBlockSaysWhyItIsSafe()
    {
        // A block `unsafe {` carries a SAFETY comment in the lines just above it; a method with an unsafe modifier has one in its doc
        // comments or its body. (An unsafe class only allows pointer types in signatures: the blocks inside it still have to speak.)
        Assert.Empty(Violations(static lines => lines
            .Select(static (text, index) => (text, index))
            .Where(line => UnsafeBlock().IsMatch(line.text) && !SpeaksAbove(lines, line.index))));

        static bool SpeaksAbove(string[] lines, int index)
        {
            for (int above = index - 1; above >= 0 && lines[above].TrimStart().StartsWith("//", StringComparison.Ordinal); above--)
            {
                if (lines[above].Contains("SAFETY:", StringComparison.Ordinal))
                {
                    return true;
                }
            }
            return false;
        }
    }

    [Fact]
    public void EveryUnsafeMethodSaysWhyItIsSafe() => Assert.Empty(Violations(static lines => lines
        .Select(static (text, index) => (text, index))
        .Where(line => UnsafeMethod().IsMatch(line.text)
            && !line.text.Contains(" partial ", StringComparison.Ordinal)
            && !lines.Skip(Math.Max(0, line.index - 6)).Take(14).Any(static l => l.Contains("SAFETY:", StringComparison.Ordinal)))));

    [Fact]
    public void EverySourceFileOpensByExplainingItself() => Assert.Equal([], Checkout.Sources
        .Where(static path => path.StartsWith("src", StringComparison.Ordinal) && Checkout.Read(path).Length > ShortFile)
        .Where(static path => !Checkout.Read(path)[0].StartsWith("// ", StringComparison.Ordinal)));

    [Fact]
    public void NoFileIsLongerThanOneConcern() => Assert.Equal([], Checkout.Sources
        .Select(static path => (path, Checkout.Read(path).Length))
        .Where(static file => file.Length > (file.path.StartsWith("tests", StringComparison.Ordinal) ? LongestTestFile : LongestFile)));

    [Fact]
    public void NothingIsLeftToDoInTheSources() => Assert.Empty(Violations(static lines => lines
        .Select(static (text, index) => (text, index))
        .Where(static line => Unfinished().IsMatch(line.text))));

    [Fact]
    public void TheReadmesExampleIsTheOneThatIsCompiledAndTested()
    {
        string[] code = Checkout.Read("tests/Lguest.Launcher.Tests/ReadmeExample.cs");
        string example = string.Concat(code.SkipWhile(static line => line.Trim() != "// README").Skip(1)
            .TakeWhile(static line => line.Trim() != "// end").Select(static line => line.Trim() + "\n"));
        Assert.NotEmpty(example);
        Assert.Contains(example, string.Join('\n', Checkout.Read("README.md")) + "\n");
    }

    private static IEnumerable<string> Violations(Func<string[], IEnumerable<(string Text, int Index)>> find) => Checkout.Sources
        .Where(static path => !path.Contains("Lguest.Repository.Tests", StringComparison.Ordinal))
        .SelectMany(path => find(Checkout.Read(path)).Select(line => $"{path}:{line.Index + 1}: {line.Text.Trim()}"));

    [GeneratedRegex(@"^\s*(fixed\s*\(.*\)\s*)?unsafe\s*(\{.*)?$")]
    private static partial Regex UnsafeBlock();

    [GeneratedRegex(@"^\s*(public|internal|private|protected)\b[^=;(]*\bunsafe\b[^=;(]*\(")]
    private static partial Regex UnsafeMethod();

    [GeneratedRegex(@"\b(TODO|FIXME|HACK|XXX)\b|NotImplementedException|Skip\s*=\s*""")]
    private static partial Regex Unfinished();
}
