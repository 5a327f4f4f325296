// The host itself as a measure of all machines: the same work, done by its own shell.

using System.Diagnostics;
using System.Globalization;

namespace Lguest.Bench;

/// <summary>The host's shell in a folder of its own, with the files that are worked on.</summary>
internal sealed class NativeShell : IDisposable
{
    public const string Name = "native";

    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lguest-bench-");

    /// <summary>Executes a command.</summary>
    /// <returns>What it has printed, and the CPU seconds of all that it consists of.</returns>
    /// <exception cref="InvalidOperationException">It fails.</exception>
    public (string Printed, double Seconds) Execute(string command)
    {
        using Process shell = Process.Start(new ProcessStartInfo("bash", ["-c", $"TIMEFORMAT='%3U %3S'; time {{ {command}; }}"])
        {
            WorkingDirectory = folder.FullName,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string printed = shell.StandardOutput.ReadToEnd().Trim();
        string times = shell.StandardError.ReadToEnd();
        double[] parts = [.. times.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)
            .Select(part => double.TryParse(part, CultureInfo.InvariantCulture, out double seconds) ? seconds
                : throw new InvalidOperationException($"'{command}' failed: {times}"))];
        return (printed, parts.Sum());
    }

    public void Dispose() => folder.Delete(recursive: true);
}
