// How the tour finds its text (ABI 14.1, docs/decisions/038). A section begins at a comment that opens with its chapter's letter, a colon and
// three digits, and takes in the code that follows, up to an end mark (a colon and a star at the end of a comment), the next section of its
// chapter, or the end of the file. The comment becomes prose; the code stays as it is.

using System.Text.RegularExpressions;

namespace Lguest.Cli.Tour;

/// <summary>A section of the tour.</summary>
/// <param name="Number">Its place in the chapter, 0 to 999.</param>
/// <param name="Path">The source that it stands in.</param>
/// <param name="Prose">The lines of its comment, without comment marks.</param>
/// <param name="Code">The code below, without common indentation.</param>
internal sealed partial record TourSection(int Number, string Path, IReadOnlyList<string> Prose, IReadOnlyList<string> Code)
{
    /// <summary>The sections of a chapter in their order.</summary>
    /// <exception cref="InvalidDataException">Two sections have the same number.</exception>
    public static IReadOnlyList<TourSection> Read(Chapter chapter, IEnumerable<SourceText> sources)
    {
        var sections = new SortedDictionary<int, TourSection>();
        foreach (TourSection section in sources.SelectMany(source => Read(chapter, source)))
        {
            if (!sections.TryAdd(section.Number, section))
            {
                throw new InvalidDataException($"{chapter.Letter}:{section.Number:000} is in {sections[section.Number].Path} and in {section.Path}");
            }
        }
        return [.. sections.Values];
    }

    private static IEnumerable<TourSection> Read(Chapter chapter, SourceText source)
    {
        List<string> open = [];
        int number = -1;
        string comment = "";
        foreach (string line in source.Lines)
        {
            Match tag = Tag().Match(line);
            if (tag.Success && tag.Groups["letter"].Value[0] == chapter.Letter)
            {
                if (number >= 0)
                {
                    yield return Make(number, source.Path, comment, open);
                }
                number = int.Parse(tag.Groups["number"].Value);
                comment = tag.Groups["opener"].Value;
                open = [];
            }
            if (number < 0)
            {
                continue;
            }
            string plain = tag.Success ? tag.Groups["opener"].Value + " " + line[tag.Length..] : line;
            Match end = End().Match(plain);
            open.Add(end.Success ? plain[..end.Index] + (end.Groups["close"].Success ? " */" : "") : plain);
            if (end.Success)
            {
                yield return Make(number, source.Path, comment, open);
                number = -1;
            }
        }
        if (number >= 0)
        {
            yield return Make(number, source.Path, comment, open);
        }
    }

    /// <summary>Divides the lines of a section into its comment and the code below.</summary>
    private static TourSection Make(int number, string path, string opener, List<string> lines)
    {
        opener = opener.TrimStart();
        bool isBlock = opener is "/*" or "*";
        int count = isBlock
            ? 1 + Math.Max(0, lines.FindIndex(static line => line.Contains("*/", StringComparison.Ordinal)))
            : lines.TakeWhile(line => CommentOf(line.TrimStart()) == opener).Count();
        IEnumerable<string> prose = lines.Take(count).Select(static line => Marks().Replace(line, "").TrimEnd());
        var code = lines.Skip(count).Select(static line => Expand(line).TrimEnd()).Where(static line => line.Trim() is not ("//" or "/* */" or "#")).ToList();
        if (code is [.., var last] && last.Trim() == "/*")
        {
            // The comment that opens here is the next section's.
            code.RemoveAt(code.Count - 1);
        }
        int indentation = code.Where(static line => line.Length > 0).Select(static line => line.Length - line.TrimStart().Length).DefaultIfEmpty(0).Min();
        return new TourSection(number, path, Trim(prose), Trim(code.Select(line => line.Length == 0 ? line : line[indentation..])));
    }

    private static string CommentOf(string line) =>
        line.StartsWith("//", StringComparison.Ordinal) && !line.StartsWith("///", StringComparison.Ordinal) ? "//" : line.StartsWith('#') ? "#" : "";

    private static string Expand(string line)
    {
        for (int tab; (tab = line.IndexOf('\t')) >= 0;)
        {
            line = line[..tab] + new string(' ', 8 - (tab % 8)) + line[(tab + 1)..];
        }
        return line;
    }

    private static List<string> Trim(IEnumerable<string> lines)
    {
        var trimmed = lines.SkipWhile(static line => line.Length == 0).ToList();
        while (trimmed is [.., ""])
        {
            trimmed.RemoveAt(trimmed.Count - 1);
        }
        return trimmed;
    }

    [GeneratedRegex(@"^(?<opener>\s*(//|/\*|\*|#)) (?<letter>[PGDLHSM]):(?<number>[0-9]{3}) ")]
    private static partial Regex Tag();

    [GeneratedRegex(@"\s+:\*(?<close>/)?\s*$")]
    private static partial Regex End();

    [GeneratedRegex(@"^\s*(//|/\*|\*(?!/)|#) ?|\s*\*/\s*$")]
    private static partial Regex Marks();
}
