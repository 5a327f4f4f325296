// Two commands at once: two Guests of one user that know nothing of each other.

using System.Diagnostics;
using Lguest.Launcher.Tests;

namespace Lguest.Cli.Tests;

public sealed class TwoCommandsTests
{
    [Fact]
    public async Task TwoCommandsShareNothing_AndOneOutlivesTheOther()
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(TinyGuest.Assemble(TinyGuest.EchoGuest)).ToBytes());
        using Process one = CommandProcess.Start("run", "--kernel", kernel.Path, "--memory", "16M");
        using Process other = CommandProcess.Start("run", "--kernel", kernel.Path, "--memory", "16M");
        Assert.Equal("abc", await EchoAsync(one, "abc"));
        Assert.Equal("xyz", await EchoAsync(other, "xyz"));
        Assert.Equal("def", await EchoAsync(one, "def"));

        Assert.Empty(SharedMemory(one).Intersect(SharedMemory(other)));

        other.Kill();
        await CommandProcess.EndAsync(other);
        Assert.Equal("ghi", await EchoAsync(one, "ghi"));
        await one.StandardInput.WriteAsync('.');
        await one.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        Assert.Equal(new CommandResult(0, ".", ""), await CommandProcess.EndAsync(one));
    }

    private static async Task<string> EchoAsync(Process process, string text)
    {
        await process.StandardInput.WriteAsync(text);
        await process.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        char[] echo = new char[text.Length];
        int count = await process.StandardOutput.ReadBlockAsync(echo, TestContext.Current.CancellationToken).AsTask()
            .WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        return new string(echo, 0, count);
    }

    /// <summary>Device and inode of every mapping through which a process could write to another.</summary>
    private static HashSet<string> SharedMemory(Process process) =>
    [
        .. File.ReadLines($"/proc/{process.Id}/maps")
            .Select(static line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(static part => part[1][1] == 'w' && part[1][3] == 's')
            .Select(static part => $"{part[3]} {part[4]}"),
    ];
}
