// What the scripts of guest/ have made, and what a test does where that cannot be had.

using Lguest.Bench;

namespace Lguest.Boot.Tests;

internal static class MadeGuest
{
    /// <summary>Lets a script make its result, which takes no time where it is there already.</summary>
    /// <param name="script">Path below <c>guest</c>.</param>
    /// <param name="arguments">What to make.</param>
    /// <returns>Path of the result; skips the test where it cannot be made.</returns>
    public static string Make(string script, params string[] arguments)
    {
        string? path = GuestScript.Make(script, arguments);
        Assert.SkipWhen(path == null, $"guest/{script} {string.Join(' ', arguments)} could not make it");
        return path!;
    }

    /// <summary>Asks a script for its result without making it.</summary>
    /// <param name="script">Path below <c>guest</c>.</param>
    /// <param name="arguments">What to find.</param>
    /// <returns>Path of the result; skips the test where it has not been made.</returns>
    public static string Find(string script, params string[] arguments)
    {
        string path = GuestScript.Find(script, arguments);
        Assert.SkipUnless(Path.Exists(path), $"not made on this machine: run guest/{script} {string.Join(' ', arguments)}");
        return path;
    }
}
