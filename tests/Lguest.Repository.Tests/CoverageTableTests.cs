// docs/abi-coverage.md claims which code and which tests stand behind each section of the ABI. These tests take it at its word.

using System.Text.RegularExpressions;

namespace Lguest.Repository.Tests;

public partial class CoverageTableTests
{
    private const int SectionColumn = 1, CodeColumn = 3, TestsColumn = 4;

    private static readonly string[] LawsSections =
    [
        "1.1", "1.2", "1.3", "1.4", "1.5", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "4", "4.1", "5.1",
        "5.2", "5.3", "5.4", "5.5", "6.1", "6.2", "6.3", "6.4", "6.5", "6.6", "6.7", "6.8", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "8.1", "8.2", "8.3",
        "8.4", "8.5", "8.6", "9.1", "9.2", "9.3", "9.4", "9.5", "9.6", "9.7", "9.8", "10.1", "10.2", "10.3", "10.4", "10.5", "10.6", "10.7", "10.8",
        "10.9", "10.10", "10.11", "11", "12.1", "12.2", "12.3", "12.4", "13", "14.1", "14.2",
    ];

    private static readonly List<string[]> Rows = [.. Checkout.Read("docs/abi-coverage.md")
        .Where(static line => line.StartsWith('|') && !line.StartsWith("| Section") && !line.StartsWith("|---"))
        .Select(static line => line.Split('|'))];

    [Fact]
    public void EverySectionOfTheAbiIsThere()
    {
        var present = Rows.SelectMany(static row => Sections(row[SectionColumn])).ToHashSet();
        Assert.Empty(LawsSections.Except(present));
    }

    [Fact]
    public void AllNamedCodeExists() => Assert.Empty(Missing(CodeColumn, Text("src")));

    [Fact]
    public void AllNamedTestsExist() => Assert.Empty(Missing(TestsColumn, Text("tests")));

    /// <summary>Names in a column that no source has. <c>Name_*</c> stands for everything that begins so.</summary>
    private static IEnumerable<string> Missing(int column, string sources) => Rows
        .SelectMany(row => CodeSpan().Matches(row[column]))
        .Select(static match => match.Groups[1].Value)
        .Where(name => name.Split('.').Any(part => !Regex.IsMatch(sources, $@"\b{Regex.Escape(part.TrimEnd('*'))}{(part.EndsWith('*') ? "" : @"\b")}")));

    /// <summary>The sources in a folder, each with its file name.</summary>
    private static string Text(string folder) => string.Join('\n', Checkout.Sources
        .Where(path => path.StartsWith(folder, StringComparison.Ordinal) && !path.Contains("Lguest.Repository.Tests", StringComparison.Ordinal))
        .SelectMany(static path => Checkout.Read(path).Prepend(path)));

    /// <summary>The sections of a cell such as "6.2, 6.3" or "8.1 to 8.6".</summary>
    private static IEnumerable<string> Sections(string cell)
    {
        foreach (Match match in Range().Matches(cell))
        {
            yield return match.Groups[1].Value;
            if (match.Groups[2].Success)
            {
                string[] first = match.Groups[1].Value.Split('.'), last = match.Groups[2].Value.Split('.');
                for (int number = int.Parse(first[1]) + 1; number <= int.Parse(last[1]); number++)
                {
                    yield return $"{first[0]}.{number}";
                }
            }
        }
    }

    [GeneratedRegex(@"`([^`]+)`")]
    private static partial Regex CodeSpan();

    [GeneratedRegex(@"([0-9]+(?:\.[0-9]+)?)(?: to ([0-9]+\.[0-9]+))?")]
    private static partial Regex Range();
}
