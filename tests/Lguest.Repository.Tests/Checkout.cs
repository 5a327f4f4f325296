// The checkout that these tests were built from, as a list of files. What is ignored or generated does not count.

namespace Lguest.Repository.Tests;

internal static class Checkout
{
    public static string Root { get; } = FindRoot();

    /// <summary>Paths, relative to <see cref="Root"/>, of the C# sources that people wrote.</summary>
    public static IEnumerable<string> Sources => Directory.EnumerateFiles(Root, "*.cs", SearchOption.AllDirectories)
        .Select(static path => Path.GetRelativePath(Root, path))
        .Where(static path => !path.EndsWith(".g.cs", StringComparison.Ordinal)
            && !path.Split(Path.DirectorySeparatorChar).Any(static part => part is "bin" or "obj" or "artifacts" or ".git"));

    public static string[] Read(string path) => File.ReadAllLines(Path.Combine(Root, path));

    public static bool Exists(string path) => Path.Exists(Path.Combine(Root, path));

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder != null && !File.Exists(Path.Combine(folder.FullName, "lguest.slnx")))
        {
            folder = folder.Parent;
        }
        return folder?.FullName ?? throw new InvalidOperationException("These tests run inside a checkout.");
    }
}
