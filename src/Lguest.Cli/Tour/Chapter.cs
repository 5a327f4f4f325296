// The seven chapters of the tour, in the order in which to read them (ABI 14.1).

namespace Lguest.Cli.Tour;

/// <summary>A chapter of the tour.</summary>
/// <param name="Letter">What its marks in the sources begin with.</param>
/// <param name="Title">What stands above it: its numeral and its name.</param>
/// <param name="Summary">What it tells, in one line.</param>
internal sealed record Chapter(char Letter, string Title, string Summary)
{
    /// <summary>All chapters.</summary>
    public static IReadOnlyList<Chapter> All { get; } =
    [
        new('P', "I. Preparation", "what a hypervisor is, and what each part of this one is for"),
        new('G', "II. Guest", "how Linux learns that it does not own the processor"),
        new('D', "III. Drivers", "the Guest's devices: bus, console, disk, network"),
        new('L', "IV. Launcher", "how a machine is built, started and served"),
        new('H', "V. Host", "ring 0 in C#: hypercalls, traps, page tables, segments"),
        new('S', "VI. Switcher", "the moment between two worlds"),
        new('M', "VII. Mastery", "what could be better, for those who want to try"),
    ];

    /// <summary>The word by which a reader asks for it.</summary>
    public string Name => Title[(Title.IndexOf(' ') + 1)..].ToLowerInvariant();

    /// <summary>Finds a chapter by its name or letter, in any case.</summary>
    public static Chapter? Find(string word) => All.FirstOrDefault(chapter =>
        chapter.Name.Equals(word, StringComparison.OrdinalIgnoreCase) || chapter.Letter.ToString().Equals(word, StringComparison.OrdinalIgnoreCase));
}
