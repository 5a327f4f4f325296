// The entry point: runs the tests, or, as the child of a test, the Guest that lives in another process.

using Xunit.MicrosoftTestingPlatform;
using Xunit.Runner.InProc.SystemConsole;

namespace Lguest.Host.Tests;

internal static class Program
{
    public static Task<int> Main(string[] arguments)
    {
        if (arguments is [PeerProcess.Verb, .. var rest])
        {
            return PeerProcess.RunAsync(rest);
        }
        return arguments.Contains("-automated") || arguments.Contains("@@")
            ? ConsoleRunner.Run(arguments)
            : TestPlatformTestFramework.RunAsync(arguments, SelfRegisteredExtensions.AddSelfRegisteredExtensions);
    }
}
