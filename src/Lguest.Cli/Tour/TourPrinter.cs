// The tour on paper or on a screen. Both have the same words in the same lines; a terminal adds colour.

using System.Text;
using System.Text.RegularExpressions;
using Spectre.Console;

namespace Lguest.Cli.Tour;

/// <summary>Prints chapters.</summary>
internal sealed partial class TourPrinter
{
    private const int ProseWidth = 80;
    private const string CodeIndentation = "    ";

    private static readonly Style Title = new(decoration: Decoration.Bold);
    private static readonly Style Path = new(Color.Purple);
    private static readonly Style Comment = new(Color.Green);
    private static readonly Style Literal = new(Color.Olive);
    private static readonly Style Keyword = new(Color.Teal);

    private readonly IAnsiConsole console;

    /// <summary>Makes a printer.</summary>
    /// <param name="output">Where to print.</param>
    /// <param name="colours">Whether it is a terminal that likes colour.</param>
    public TourPrinter(TextWriter output, bool colours)
    {
        console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = colours ? AnsiSupport.Yes : AnsiSupport.No,
            ColorSystem = colours ? ColorSystemSupport.Standard : ColorSystemSupport.NoColors,
            Interactive = InteractionSupport.No,
            Out = new Paper(output),
        });
    }

    /// <summary>Prints one line for each chapter.</summary>
    public void PrintContents()
    {
        console.WriteLine("The sources of lguest are a book of seven chapters.");
        console.WriteLine();
        foreach (Chapter chapter in Chapter.All)
        {
            console.Write($"  lguest tour {chapter.Name,-12}", Title);
            console.WriteLine($"  {chapter.Summary}");
        }
        console.WriteLine();
        WriteFilled($"Begin with the first. 'lguest tour all' prints everything, and a pager helps: lguest tour {Chapter.All[0].Name} | less");
    }

    /// <summary>Prints a chapter.</summary>
    public void Print(Chapter chapter, IEnumerable<TourSection> sections)
    {
        console.WriteLine($"== {chapter.Title} ==", Title);
        string path = "";
        foreach (TourSection section in sections)
        {
            console.WriteLine();
            if (section.Path != path)
            {
                path = section.Path;
                console.WriteLine($"[ {path} ]", Path);
                console.WriteLine();
            }
            PrintProse(section.Prose);
            if (section.Code.Count > 0)
            {
                console.WriteLine();
                foreach (string line in section.Code)
                {
                    PrintCode(line);
                }
            }
        }
        console.WriteLine();
    }

    /// <summary>Fills paragraphs and the items of lists; lines that are indented stand for themselves.</summary>
    private void PrintProse(IReadOnlyList<string> lines)
    {
        string paragraph = "";
        foreach (string line in lines)
        {
            bool continues = paragraph.StartsWith('-') ? line.StartsWith("  ", StringComparison.Ordinal) : line.Length > 0 && line[0] is not (' ' or '-');
            if (continues && paragraph.Length > 0)
            {
                paragraph += " " + line.Trim();
                continue;
            }
            Flush();
            if (line.StartsWith(' ') || line.Length == 0)
            {
                console.WriteLine(line);
            }
            else
            {
                paragraph = line;
            }
        }
        Flush();

        void Flush()
        {
            if (paragraph.Length > 0)
            {
                WriteFilled(paragraph);
                paragraph = "";
            }
        }
    }

    private void WriteFilled(string paragraph)
    {
        string hanging = paragraph.StartsWith('-') ? "  " : "";
        string line = "";
        foreach (string word in paragraph.Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > ProseWidth)
            {
                console.WriteLine(line);
                line = hanging + word;
            }
            else
            {
                line += line.Length == 0 ? word : " " + word;
            }
        }
        console.WriteLine(line);
    }

    private void PrintCode(string line)
    {
        if (line.Length > 0)
        {
            console.Write(CodeIndentation);
        }
        int done = 0;
        foreach (Match token in Token().Matches(line))
        {
            console.Write(line[done..token.Index]);
            Style style = token.Groups["comment"].Success ? Comment : token.Groups["literal"].Success ? Literal : Keyword;
            console.Write(token.Value, style);
            done = token.Index + token.Length;
        }
        console.WriteLine(line[done..]);
    }

    /// <summary>Endless in both directions. (The library would take hold of the terminal to learn its size, and fill lines with blanks.)</summary>
    private sealed class Paper(TextWriter writer) : IAnsiConsoleOutput
    {
        public TextWriter Writer => writer;

        public bool IsTerminal => false;

        public int Width => 10_000;

        public int Height => 10_000;

        public void SetEncoding(Encoding encoding)
        {
        }
    }

    [GeneratedRegex("""
        (?<comment>//.*|/\*.*|^\s*\*\s.*|^\s*\*/$)|(?<literal>\$?"[^"]*"|'[^']+'|\b0x[0-9A-Fa-f_]+\b|\b[0-9][0-9_]*\b)|(?<keyword>
        \b(?:abstract|as|asm|base|bool|break|byte|case|catch|char|class|const|continue|default|do|else|enum|extern|false|finally|fixed|for|
        foreach|goto|if|in|init|inline|int|interface|internal|is|lock|long|namespace|new|not|null|or|out|override|private|protected|public|readonly|
        record|ref|required|return|sealed|short|sizeof|static|string|struct|switch|this|throw|true|try|typedef|u16|u32|u64|u8|uint|ulong|
        unsafe|unsigned|using|var|virtual|void|volatile|when|while)\b)
        """, RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex Token();
}
