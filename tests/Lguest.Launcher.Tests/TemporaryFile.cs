namespace Lguest.Launcher.Tests;

/// <summary>A file that lives as long as its test.</summary>
internal sealed class TemporaryFile : IDisposable
{
    public TemporaryFile(byte[] contents) => File.WriteAllBytes(Path, contents);

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"lguest-test-{Guid.NewGuid():n}");

    public void Dispose() => File.Delete(Path);
}
