// The library example of README.md, compiled: tests/Lguest.Repository.Tests sees to it that both say the same.

namespace Lguest.Launcher.Tests;

internal static class ReadmeExample
{
    public static async Task<string> RunAsync(string vmlinux)
    {
        // README
        var options = new MachineOptions { Kernel = vmlinux, ConsoleOutput = Console.OpenStandardOutput() };
        await using var machine = new Machine(options);
        MachineResult result = await machine.RunAsync();
        string end = $"{result.End} {result.Reason}";
        // end
        return end;
    }
}
