// The tour (ABI 14): its marks in the sources are complete, in order and unique, and the command prints what they mark.

using System.Text.RegularExpressions;
using Lguest.Cli.Tour;

namespace Lguest.Cli.Tests;

public partial class TourTests
{
    private const int ShortestProse = 12;
    private const int LongestCode = 110;

    private static readonly IReadOnlyList<SourceText> Sources = [.. SourceText.All];

    /// <summary>The numbers of ABI 14.2, but for those that docs/decisions/038 leaves out.</summary>
    private static readonly Dictionary<char, int[]> Promised = new()
    {
        ['P'] = [10, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900],
        ['G'] = [10, 20, 30, 31, 32, 33, 34, 35, 38, 45, 70],
        ['D'] =
        [
            10, 100, 110, 120, 130, 140, 200, 300, 310, 320, 340, 350, 360, 370, 380, 400, 410, 420, 425, 430, 440, 450, 460, 470, 480, 490, 495, 500, 510,
            520, 530, 550, 560, 570, 580,
        ],
        ['L'] =
        [
            0, 10, 20, 30, 35, 40, 50, 60, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200, 210, 220, 300, 305, 310, 315, 320, 330, 340, 350, 360,
            370, 380, 385, 390, 400, 410,
        ],
        ['H'] =
        [
            0, 10, 30, 100, 110, 120, 130, 200, 210, 220, 230, 235, 240, 250, 260, 300, 310, 320, 330, 340, 350, 360, 400, 410, 420, 430, 435, 440, 450,
            470, 480, 500, 510, 520, 600, 610,
        ],
        ['S'] = [10, 100],
        ['M'] = [2, 3, 4, 5, 6, 7, 8, 11, 999],
    };

    public static TheoryData<char> Chapters => [.. Promised.Keys];

    [Theory]
    [MemberData(nameof(Chapters))]
    public void Abi_14_2_EveryPromisedSectionIsThere(char letter) => Assert.Empty(Promised[letter].Except(Sections(letter).Select(static section => section.Number)));

    [Theory]
    [MemberData(nameof(Chapters))]
    public void EverySectionSpeaksBeforeItShows(char letter) => Assert.Empty(Sections(letter)
        .Where(static section => string.Join(' ', section.Prose).Split(' ', StringSplitOptions.RemoveEmptyEntries).Length < ShortestProse)
        .Select(static section => $"{section.Number} in {section.Path}"));

    [Theory]
    [MemberData(nameof(Chapters))]
    public void EverySectionEndsSomewhere(char letter) => Assert.Empty(Sections(letter)
        .Where(static section => section.Code.Count > LongestCode)
        .Select(static section => $"{section.Number} in {section.Path}"));

    [Theory]
    [MemberData(nameof(Chapters))]
    public void EveryChapterLeadsToTheNext(char letter)
    {
        int next = Chapter.All.TakeWhile(chapter => chapter.Letter != letter).Count() + 1;
        string last = string.Join('\n', Sections(letter)[^1].Prose);
        Assert.Contains(next < Chapter.All.Count ? $"\n  lguest tour {Chapter.All[next].Name}" : "lguest", last);
    }

    [Theory]
    [InlineData("src/Lguest.Host/")]
    [InlineData("src/Lguest.Launcher/")]
    public void TheTourVisitsEveryFileOfHostAndLauncher(string folder) => Assert.Empty(Unvisited(folder));

    [Fact]
    public void TheTourVisitsEveryPatch()
    {
        static string File(string path) => path.Split(": ")[0];
        var visited = Chapter.All.SelectMany(static chapter => TourSection.Read(chapter, Sources)).Select(static section => File(section.Path)).ToHashSet();
        Assert.Empty(Sources.Select(static source => File(source.Path)).Where(static path => path.EndsWith(".patch", StringComparison.Ordinal)).Except(visited));
    }

    [Fact]
    public void ASectionGoesToTheEndMarkTheNextSectionOrTheEndOfTheFile()
    {
        var file = new SourceText("a.cs",
        [
            "// H:020 Two.", "// More.", "", "    two();", "    // S:010 Elsewhere.", "    still();", "// H:010 One. :*", "skipped();", "// H:030 Three", "three();", "// :*",
            "skipped();", "// H:040 Four", "four();",
        ]);
        TourSection[] sections = [.. TourSection.Read(Chapter.Find("H")!, [file])];
        Assert.Equal([10, 20, 30, 40], sections.Select(static section => section.Number));
        Assert.Equal(["One.", "Two.|More.", "Three", "Four"], sections.Select(static section => string.Join('|', section.Prose)));
        Assert.Equal(["", "two();|// Elsewhere.|still();", "three();", "four();"], sections.Select(static section => string.Join('|', section.Code)));
    }

    [Fact]
    public void OnlyWhatAPatchAddsIsToldPieceByPiece()
    {
        var patch = new SourceText("p.patch",
        [
            "diff --git a/x.c b/x.c", "--- a/x.c", "+++ b/x.c", "@@ -1,2 +1,5 @@", " /* G:001 Not ours. */", "+/*", "+ * G:010 Ten", "+ * and more.", "+ */", "+int\ta;", "-int b;", "+", "+/*", "+ * G:015 Fifteen", "+ */", "+b;",
            "@@ -9,1 +12,2 @@", "+int c;", "diff --git a/y.S b/y.S", "+++ b/y.S", "@@ -0,0 +1,2 @@", "+/* G:020 Twenty :*/", "+nop",
        ]);
        TourSection[] sections = [.. TourSection.Read(Chapter.Find("guest")!, SourceText.AddedBy(patch))];
        Assert.Equal(["p.patch: x.c", "p.patch: x.c", "p.patch: y.S"], sections.Select(static section => section.Path));
        Assert.Equal(["Ten|and more.", "Fifteen", "Twenty"], sections.Select(static section => string.Join('|', section.Prose)));
        Assert.Equal(["int     a;", "b;", ""], sections.Select(static section => string.Join('|', section.Code)));
    }

    [Fact]
    public void ANumberThatOccursTwiceIsAnError()
    {
        SourceText[] files = [new("a.cs", ["// H:010 One. :*"]), new("b.cs", ["// H:010 One. :*"])];
        Assert.Contains("H:010 is in a.cs and in b.cs", Assert.Throws<InvalidDataException>(() => TourSection.Read(Chapter.Find("host")!, files)).Message);
    }

    [Fact]
    public void ProseIsFilledAndListsAndVersesStandAsTheyAre()
    {
        var output = new StringWriter();
        string sixty = new('x', 60);
        var section = new TourSection(1, "a.cs", ["One", $"two {sixty} twenty-letters.", "", $"- {sixty}", "  eight letters.", "- Two.", "", "  nine", "    ten"], ["if (x)"]);
        new TourPrinter(output, colours: false).Print(Chapter.All[4], [section]);
        Assert.Equal(
            $"""
            == V. Host ==

            [ a.cs ]

            One two {sixty}
            twenty-letters.

            - {sixty} eight letters.
            - Two.

              nine
                ten

                if (x)
            """,
            output.ToString().ReplaceLineEndings("\n").TrimEnd());
    }

    [Fact]
    public async Task TourListsTheChapters()
    {
        CommandResult result = await CommandProcess.RunAsync("", "tour");
        Assert.Equal((0, ""), (result.ExitStatus, result.Errors));
        Assert.All(Chapter.All, chapter => Assert.Contains($"lguest tour {chapter.Name}", result.Output));
    }

    [Theory]
    [InlineData("host", "== V. Host ==\n\n[ src/Lguest.Host/")]
    [InlineData("S", "== VI. Switcher ==\n\n[ src/Lguest.Host/Switcher.cs ]\n\nWe stand at the border.")]
    [InlineData("all", "== I. Preparation ==\n\n[ src/Lguest.Cli/Program.cs ]\n\nWelcome to lguest.")]
    public async Task TourPrintsAChapterWithoutItsMarks(string word, string beginning)
    {
        CommandResult result = await CommandProcess.RunAsync("", "tour", word);
        Assert.Equal((0, ""), (result.ExitStatus, result.Errors));
        Assert.StartsWith(beginning, result.Output);
        Assert.Empty(Marks().Matches(result.Output));
        Assert.DoesNotContain('\u001b', result.Output);
        Assert.DoesNotContain(result.Output.Split('\n'), static line => line.EndsWith(' '));
    }

    [Fact]
    public async Task AnUnknownChapterGivesTheListInOneLine() => Assert.Equal(
        new CommandResult(1, "", "lguest: there is no chapter cellar: preparation, guest, drivers, launcher, host, switcher, mastery and all are known\n"),
        await CommandProcess.RunAsync("", "tour", "cellar"));

    [Fact]
    public async Task TourIsAWordOfOursOnlyWhenItComesFirst()
    {
        CommandResult result = await CommandProcess.RunAsync("", "4", "/no/such/kernel", "tour");
        Assert.Equal((1, "lguest: kernel /no/such/kernel does not exist.\n"), (result.ExitStatus, result.Errors));
    }

    [Fact]
    public async Task AReaderWhoHasSeenEnoughEndsTheTourQuietly()
    {
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(
            "bash", ["-c", "dotnet \"$0\" tour all | head -n 1; echo ${PIPESTATUS[0]}", CommandProcess.Program])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        Assert.Equal(new CommandResult(0, "== I. Preparation ==\n0\n", ""), await CommandProcess.EndAsync(process));
    }

    [Fact]
    public async Task ATerminalGetsColours()
    {
        using var terminal = new PseudoTerminal("dotnet", CommandProcess.Program, "tour", "switcher");
        Assert.Equal(0, await terminal.WaitForExitAsync());
        await terminal.WaitForAsync("== VI. Switcher ==\u001b[0m");
        Assert.StartsWith("\u001b[1m==", terminal.Screen);
    }

    private static IReadOnlyList<TourSection> Sections(char letter) => TourSection.Read(Chapter.Find(letter.ToString())!, Sources);

    /// <summary>Files of a folder in which no section of any chapter stands, but for those that only declare names.</summary>
    // The tour is about lguest: a PC, its loaders and its cards have sources that are read without a guide.
    private static readonly string[] OtherPlatform = ["src/Lguest.Launcher/Pc/", "src/Lguest.Launcher/Devices/Virtio/"];

    private static IEnumerable<string> Unvisited(string folder)
    {
        var visited = Chapter.All.SelectMany(static chapter => TourSection.Read(chapter, Sources)).Select(static section => section.Path).ToHashSet();
        return Sources
            .Where(source => source.Path.StartsWith(folder, StringComparison.Ordinal) && HasStatements(source))
            .Select(static source => source.Path)
            .Where(static path => !OtherPlatform.Any(other => path.StartsWith(other, StringComparison.Ordinal)))
            .Except(visited);
    }

    private static bool HasStatements(SourceText source) => source.Lines.Count > 60 && source.Lines.Count(static line => line.TrimEnd().EndsWith(");", StringComparison.Ordinal)) > 10;

    [GeneratedRegex(@":\*|^\W*[PGDLHSM]:[0-9]{3}\b", RegexOptions.Multiline)]
    private static partial Regex Marks();
}
