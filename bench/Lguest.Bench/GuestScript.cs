// The scripts of guest/ that make Guests, as bench and boot tests ask them.

using System.Diagnostics;

namespace Lguest.Bench;

internal static class GuestScript
{
    /// <summary>The checkout's root: above the program, in a project's build output.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Runs a script to its end.</summary>
    /// <param name="script">Path below <c>guest</c>.</param>
    /// <param name="arguments">What to make, or <c>--print-path</c>.</param>
    public static (int Status, string Output) Run(string script, params IEnumerable<string> arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(Path.Combine(Root, "guest", script), arguments) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

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
