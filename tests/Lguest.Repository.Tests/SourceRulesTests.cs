// The rules of this repository that a compiler does not know. Each test names every place that breaks its rule.

using System.Text.RegularExpressions;

namespace Lguest.Repository.Tests;

public partial class SourceRulesTests
{
    private const int LongestFile = 600;

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
    public void EverySourceFileOpensByExplainingItself() => Assert.Empty(Checkout.Sources
        .Where(static path => path.StartsWith("src", StringComparison.Ordinal) && Checkout.Read(path).Length > 40)
        .Where(static path => !Checkout.Read(path)[0].StartsWith("// ", StringComparison.Ordinal)));

    [Fact]
    public void NoFileIsLongerThanOneConcern() => Assert.Empty(Checkout.Sources
        .Select(static path => (path, Checkout.Read(path).Length))
        .Where(static file => file.Length > LongestFile));

    [Fact]
    public void NothingIsLeftToDoInTheSources() => Assert.Empty(Violations(static lines => lines
        .Select(static (text, index) => (text, index))
        .Where(static line => Unfinished().IsMatch(line.text))));

    [Fact]
    public void EveryFileNamedInTheCoverageTableExists()
    {
        string[] missing = [.. CoveragePath().Matches(string.Join('\n', Checkout.Read("docs/abi-coverage.md")))
            .Select(static match => match.Groups[1].Value)
            .Where(static path => !Checkout.Exists(path))];
        Assert.Empty(missing);
    }

    [Fact]
    public void EveryTestNamedInTheCoverageTableExists()
    {
        string tests = string.Join('\n', Checkout.Sources.Where(static path => path.StartsWith("tests", StringComparison.Ordinal)).SelectMany(Checkout.Read));
        string[] named = [.. CoverageTest().Matches(string.Join('\n', Checkout.Read("docs/abi-coverage.md"))).Select(static match => match.Groups[1].Value)];
        Assert.NotEmpty(named);
        Assert.Empty(named.Where(name => name.Split('.').Any(part => !Regex.IsMatch(tests, $@"\b{Regex.Escape(part)}\b"))));
    }

    [Fact]
    public void EverySectionOfTheAbiThatThisVersionPromisesIsInTheCoverageTable()
    {
        string table = string.Join('\n', Checkout.Read("docs/abi-coverage.md"));
        string[] sections =
        [
            "1.3", "1.4", "1.5", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "4", "4.1", "5.1", "5.2", "5.3",
            "5.4", "6.2", "6.3", "6.4", "6.5", "6.6", "6.7", "6.8", "7.1", "7.2", "7.3", "7.4", "7.6", "8.3", "8.4", "8.5", "8.6", "9.2", "9.3", "9.4",
            "9.5", "9.6", "9.7", "9.8", "10.1", "10.2", "10.4", "10.5", "10.6", "10.8", "10.9", "11", "12.1", "12.2", "12.3", "12.4",
        ];
        Assert.Empty(sections.Where(section => !Regex.IsMatch(table, $@"^\| {Regex.Escape(section)} ", RegexOptions.Multiline)));
    }

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

    [GeneratedRegex(@"`((?:src|tests|docs|guest)/[^`]+)`")]
    private static partial Regex CoveragePath();

    [GeneratedRegex(@"`([A-Z][A-Za-z0-9]+Tests(?:\.[A-Za-z0-9]+)?)`")]
    private static partial Regex CoverageTest();
}
