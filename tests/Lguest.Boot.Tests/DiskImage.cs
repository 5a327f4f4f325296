// A disk image that the host's own tools (e2fsprogs) make and examine: they know nothing of us and are the judges of what Guests left behind.

using System.Diagnostics;

namespace Lguest.Boot.Tests;

/// <summary>An image file that lives as long as its test.</summary>
internal sealed class DiskImage : IDisposable
{
    public DiskImage(int mebibytes)
    {
        using FileStream file = File.Create(Path);
        file.SetLength((long)mebibytes << 20);
    }

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"lguest-test-{Guid.NewGuid():n}.img");

    /// <summary>An image with an empty ext4 on it, journal included.</summary>
    public static DiskImage WithExt4(int mebibytes)
    {
        var image = new DiskImage(mebibytes);
        Assert.Equal(0, Run("mke2fs", "-q", "-F", "-t", "ext4", image.Path).Status);
        return image;
    }

    /// <summary>Fails unless the file system is in order and was left in order, with nothing in the journal and without any repair.</summary>
    public void AssertClean()
    {
        Assert.DoesNotContain("needs_recovery", Run("dumpe2fs", "-h", Path).Text);
        (int status, string text) = Run("e2fsck", "-f", "-n", Path);
        Assert.True(status == 0, $"e2fsck -fn: {status}\n{text}");
    }

    /// <summary>Does what a machine does when it comes up after a crash: replays the journal. Nothing else may be wrong.</summary>
    public void Recover()
    {
        (int status, string text) = Run("e2fsck", "-p", Path);
        Assert.True(status is 0 or 1, $"e2fsck -p: {status}\n{text}");
    }

    /// <summary>The contents of a file on the image.</summary>
    public string ReadFile(string path) => Run("debugfs", "-R", $"cat {path}", Path).Text;

    public void Dispose() => File.Delete(Path);

    private static (int Status, string Text) Run(string tool, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo($"/sbin/{tool}", arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        // Each of these tools writes little to standard error (a version): a pipe takes it.
        string text = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, text);
    }
}
