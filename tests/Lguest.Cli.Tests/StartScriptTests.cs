// ./lguest, the script that publishes the command and becomes it, with a .NET SDK that only pretends.

using System.Diagnostics;
using System.Globalization;

namespace Lguest.Cli.Tests;

public sealed class StartScriptTests : IDisposable
{
    private readonly DirectoryInfo folder = Directory.CreateTempSubdirectory("lguest-test-");

    public void Dispose() => folder.Delete(recursive: true);

    [Fact]
    public void ACompilerThatStaysBehindDoesNotKeepTheLock()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "a script for bash");
        string checkout = folder.CreateSubdirectory("checkout").FullName, tools = folder.CreateSubdirectory("tools").FullName;
        foreach (string source in new[] { "src", "guest/linux/patches" })
        {
            Directory.CreateDirectory(Path.Combine(checkout, source));
        }
        foreach (string file in new[] { "global.json", "Directory.Build.props", "Directory.Packages.props" })
        {
            File.WriteAllText(Path.Combine(checkout, file), "");
        }
        string script = Path.Combine(checkout, "lguest"), server = Path.Combine(folder.FullName, "server");
        File.Copy(Path.Combine(FindRoot(), "lguest"), script);
        string dotnet = Path.Combine(tools, "dotnet");
        File.WriteAllText(dotnet, $$"""
            #!/bin/bash
            sleep 600 </dev/null >/dev/null 2>&1 &
            echo $! >{{server}}
            while [ "$1" != --output ]; do shift; done
            mkdir -p "$2"
            printf '#!/bin/sh\necho started\n' >"$2/lguest"
            chmod 755 "$2/lguest"

            """);
        Assert.Equal((0, ""), Run(tools, "chmod", "755", dotnet));

        Assert.Equal((0, "started\n"), Run(tools, script));
        try
        {
            Assert.Equal((0, ""), Run(tools, "flock", "-n", Path.Combine(checkout, "artifacts", "lguest.lock"), "true"));
        }
        finally
        {
            Process.GetProcessById(int.Parse(File.ReadAllText(server), CultureInfo.InvariantCulture)).Kill();
        }
    }

    private static (int Status, string Output) Run(string tools, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true };
        start.Environment["PATH"] = $"{tools}:{Environment.GetEnvironmentVariable("PATH")}";
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }

    private static string FindRoot()
    {
        DirectoryInfo? checkout = new(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(checkout!.FullName, "lguest.slnx")))
        {
            checkout = checkout.Parent;
        }
        return checkout.FullName;
    }
}
