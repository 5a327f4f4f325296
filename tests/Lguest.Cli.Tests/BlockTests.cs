// Disks as the user of the command meets them: between processes, and after a process that was killed.

using System.Diagnostics;
using Lguest.Launcher.Tests;

namespace Lguest.Cli.Tests;

public sealed class BlockTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("lguest-test-").FullName;
    private readonly string image;
    private readonly TemporaryFile waits = new(ElfFile.WithCode(TinyGuest.Assemble(TinyGuest.HaltAfterGreeting)).ToBytes());
    private readonly TemporaryFile ends = new(ElfFile.WithCode(TinyGuest.Assemble(static c => TinyGuest.Crash(c, "Power down"))).ToBytes());

    public BlockTests()
    {
        image = Path.Combine(folder, "disk,image");
        File.WriteAllBytes(image, new byte[65536]);
    }

    [Fact]
    public async Task AnImageBelongsToItsWriterUntilThatIsKilled()
    {
        using Process writer = await StartAsync(image);
        CommandResult second = await RunAsync($"{image},snapshot");
        Assert.Equal(1, second.ExitStatus);
        Assert.Equal($"lguest: block image {image} is in use by another Guest: who writes to an image needs it alone, only readonly and snapshot share it.\n", second.Errors);
        await KillAsync(writer);
        Assert.Equal(new CommandResult(0, "", ""), await RunAsync(image));
    }

    [Fact]
    public async Task ReadersShareAnImageAndAKilledSnapshotLeavesNothing()
    {
        using Process first = await StartAsync($"{image},snapshot");
        Assert.Equal(new CommandResult(0, "", ""), await RunAsync($"{image},readonly"));
        await KillAsync(first);
        // The runtime keeps files of its own there; none of them is ours.
        Assert.Empty(Directory.GetFileSystemEntries(folder, "lguest*"));
    }

    [Fact]
    public async Task ASnapshotWithoutAPlaceForItIsRefusedInOneLine()
    {
        CommandResult result = await RunAsync($"{image},snapshot", temporary: "/no/such/folder");
        Assert.Equal(1, result.ExitStatus);
        Assert.StartsWith($"lguest: a snapshot of block image {image} needs a temporary file, which /no/such/folder/ does not take: ", result.Errors);
        Assert.Equal(result.Errors.Length - 1, result.Errors.IndexOf('\n'));
    }

    public void Dispose()
    {
        waits.Dispose();
        ends.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    private static async Task KillAsync(Process process)
    {
        process.Kill();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
    }

    private Task<CommandResult> RunAsync(string block, string? temporary = null) => CommandProcess.EndAsync(Start(ends.Path, block, temporary ?? folder));

    /// <summary>Starts a Guest and waits until it runs.</summary>
    private async Task<Process> StartAsync(string block)
    {
        Process process = Start(waits.Path, block, folder);
        char[] greeting = new char[1];
        Assert.Equal(1, await process.StandardOutput.ReadAsync(greeting, TestContext.Current.CancellationToken));
        Assert.Equal('!', greeting[0]);
        return process;
    }

    private static Process Start(string kernel, string block, string temporary)
    {
        string[] arguments = [CommandProcess.Program, "run", "--kernel", kernel, "--memory", "4M", "--block", block];
        return Process.Start(new ProcessStartInfo("dotnet", arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["TMPDIR"] = temporary },
        })!;
    }
}
