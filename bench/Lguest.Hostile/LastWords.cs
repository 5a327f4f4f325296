// With what words a Guest may die. The list is the law's own (ABI 12.3), turned into patterns here and not taken from the code that makes
// the texts; the last ones are the Launcher's (ABI 10.8 and 10.10).

using System.Text.RegularExpressions;

namespace Lguest.Hostile;

/// <summary>Recognises the kill texts of the ABI.</summary>
internal static class LastWords
{
    /// <summary>The formats, with <c>%</c> conversions as in C.</summary>
    private static readonly string[] Formats =
    [
        "CRASH: %s",
        "hypercall %li before LGUEST_INIT",
        "already have lguest_data",
        "bad guest page %p",
        "Bad hypercall %li\n",
        "Fetching async hypercalls",
        "Writing result for async hypercall",
        "Writing timestamp",
        "Writing cr2",
        "Disabling interrupts",
        "Re-enabling interrupts",
        "bad read address %#lx",
        "bad write address %#lx",
        "bad read address %#lx len %u",
        "bad write address %#lx len %u",
        "unhandled trap %li at %#lx (%#lx)",
        "bad stack segment %i",
        "bad stack pages %u",
        "bad stack page %#lx",
        "bad IDT type %i",
        "too many gdt entries %i",
        "attempt to access switcher pages",
        "bad page table entry",
        "bad page directory entry",
        "failed to get page %u",
        "out of memory allocating pte page",
        "bad dma key %#lx",
        "bad sending DMA key",
        "bad registered DMA buffer",
        "bad DMA entry: %u@%#lx",
        "bad address in registered DMA struct",
        "bad address writing to registered DMA",
        "Error mapping DMA pages",
        "bad address in sending DMA",
        "invalid address %u",
        "interrupt %u refused",
        "disk: the Guest asked for sector %u of %u",
        "disk: the Guest has bound no buffer for the reply",
        "disk: the Guest wrote %u bytes at sector %u, past the end at %u",
    ];

    private static readonly (string Format, Regex Pattern)[] Known = [.. Formats.Select(static format => (format.TrimEnd('\n'), ToPattern(format)))];

    /// <summary>The format of a text; null when the law does not know it.</summary>
    public static string? FormatOf(string text)
    {
        foreach ((string format, Regex pattern) in Known)
        {
            if (pattern.IsMatch(text))
            {
                return format;
            }
        }
        return null;
    }

    private static Regex ToPattern(string format)
    {
        string pattern = Regex.Escape(format)
            .Replace("%\\#lx", "0x(0|[1-9a-f][0-9a-f]{0,7})")
            .Replace("%li", "-?[0-9]{1,10}")
            .Replace("%i", "-?[0-9]{1,10}")
            .Replace("%u", "[0-9]{1,10}")
            .Replace("%p", "[0-9a-f]{8}")
            .Replace("%s", "[^\\x00]{0,127}");
        return new Regex($"\\A{pattern}\\z", RegexOptions.Singleline | RegexOptions.CultureInvariant);
    }
}
