// The scripts of guest/ that make Guests, as bench and boot tests ask them.

using System.Diagnostics;

namespace Lguest.Bench;

internal static class GuestScript
{
    private const string DoneMark = "done: ";

    /// <summary>The checkout's root: above the program, in a project's build output.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Lets a script make its result, which takes no time where it is there already.</summary>
    /// <param name="script">Path below <c>guest</c>.</param>
    /// <param name="arguments">What to make.</param>
    /// <param name="progress">Gets each line that it prints.</param>
    /// <returns>Path of the result; null if it could not be made, and the script has said why on standard error.</returns>
    public static string? Make(string script, IEnumerable<string> arguments, Action<string>? progress = null)
    {
        using Process process = Start(script, arguments);
        string? path = null;
        while (process.StandardOutput.ReadLine() is string line)
        {
            progress?.Invoke(line);
            path = line.StartsWith(DoneMark, StringComparison.Ordinal) ? line[DoneMark.Length..] : path;
        }
        process.WaitForExit();
        return process.ExitCode == 0 ? path : null;
    }

    /// <summary>Asks a script where its result is, or would be.</summary>
    /// <param name="script">Path below <c>guest</c>.</param>
    /// <param name="arguments">What to find.</param>
    public static string Find(string script, params IEnumerable<string> arguments)
    {
        using Process process = Start(script, [.. arguments, "--print-path"]);
        return process.StandardOutput.ReadToEnd().TrimEnd();
    }

    private static Process Start(string script, IEnumerable<string> arguments) =>
        Process.Start(new ProcessStartInfo(Path.Combine(Root, "guest", script), arguments) { RedirectStandardOutput = true })!;

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "lguest.slnx")))
        {
            folder = folder.Parent;
        }
        return folder.FullName;
    }
}
