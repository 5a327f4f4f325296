// The sources as the tour sees them. They travel inside the command, so that the tour needs no checkout and always tells of the version that
// runs. A patch is not a source but has pieces of some: what it adds, one piece a hunk.

using System.Reflection;

namespace Lguest.Cli.Tour;

/// <summary>A file, or a piece of one.</summary>
/// <param name="Path">Where it is in the checkout; for a piece of a patch, followed by the file that is patched.</param>
/// <param name="Lines">Its lines.</param>
internal sealed record SourceText(string Path, IReadOnlyList<string> Lines)
{
    private const string PatchedFile = "+++ b/";

    /// <summary>All sources of this version.</summary>
    public static IEnumerable<SourceText> All
    {
        get
        {
            Assembly command = typeof(SourceText).Assembly;
            foreach (string path in command.GetManifestResourceNames().Order(StringComparer.Ordinal))
            {
                using var reader = new StreamReader(command.GetManifestResourceStream(path)!);
                string[] lines = reader.ReadToEnd().Split('\n');
                if (path.EndsWith(".patch", StringComparison.Ordinal))
                {
                    foreach (SourceText piece in AddedBy(new SourceText(path, lines)))
                    {
                        yield return piece;
                    }
                }
                else
                {
                    yield return new SourceText(path, lines);
                }
            }
        }
    }

    /// <summary>What a patch adds, hunk by hunk.</summary>
    internal static IEnumerable<SourceText> AddedBy(SourceText patch)
    {
        string path = patch.Path;
        List<string> added = [];
        foreach (string line in patch.Lines.Append("@@"))
        {
            if (line.StartsWith("@@", StringComparison.Ordinal) || line.StartsWith("diff ", StringComparison.Ordinal))
            {
                if (added.Count > 0)
                {
                    yield return new SourceText(path, added);
                    added = [];
                }
            }
            else if (line.StartsWith(PatchedFile, StringComparison.Ordinal))
            {
                path = $"{patch.Path}: {line[PatchedFile.Length..]}";
            }
            else if (line.StartsWith('+'))
            {
                added.Add(line[1..]);
            }
        }
    }
}
