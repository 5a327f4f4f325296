// `lguest tour`: the sources as a book. What to print is in Tour/; this is where and how.

using System.CommandLine;
using System.Text;
using Lguest.Cli.Tour;
using Lguest.Platform;

namespace Lguest.Cli.Commands;

internal static class TourCommand
{
    private const int BrokenPipe = 32;

    public static Command Create()
    {
        var chapter = new Argument<string?>("chapter")
        {
            Description = $"{string.Join(", ", Chapter.All.Select(static chapter => chapter.Name))} (or the first letter), or all; without it, the list.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var command = new Command("tour", "Explains this program by its own sources, chapter by chapter.") { chapter };
        command.SetAction((parsed, _) => Task.FromResult(Print(parsed.GetValue(chapter))));
        return command;
    }

    private static int Print(string? word)
    {
        IReadOnlyList<Chapter> chapters = word switch
        {
            null => [],
            "all" => Chapter.All,
            _ => [Chapter.Find(word) ?? throw new CommandException(
                $"there is no chapter {word}: {string.Join(", ", Chapter.All.Select(static chapter => chapter.Name))} and all are known")],
        };
        bool colours = !Console.IsOutputRedirected
            && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")) && Environment.GetEnvironmentVariable("TERM") != "dumb";
        try
        {
            using var output = new StreamWriter(DescriptorStream.OpenOutput(), new UTF8Encoding(false), bufferSize: 1 << 16);
            var printer = new TourPrinter(output, colours);
            if (chapters.Count == 0)
            {
                printer.PrintContents();
            }
            var sources = SourceText.All.ToList();
            foreach (Chapter chapter in chapters)
            {
                printer.Print(chapter, TourSection.Read(chapter, sources));
            }
        }
        catch (IOException error) when (error.HResult == BrokenPipe)
        {
            // The reader has seen enough.
        }
        return ExitStatus.Success;
    }
}
