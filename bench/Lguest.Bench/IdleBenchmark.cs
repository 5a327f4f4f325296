// What does a PC cost that does nothing? Debian's kernel ticks 250 times a second even then, and each tick wakes the Guest's thread.

using System.Diagnostics;
using System.Globalization;

namespace Lguest.Bench;

/// <summary>Measures the processor time of a Guest at its prompt.</summary>
internal static class IdleBenchmark
{
    private const int DefaultSeconds = 30;

    // The shell's last work and the compiler's threads have ended by then.
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(5);

    /// <summary>Runs and prints.</summary>
    /// <param name="duration">Seconds, or null for half a minute.</param>
    /// <returns>Exit status: 1 when there is no Guest to boot, or the number is none.</returns>
    public static async Task<int> RunAsync(string? duration)
    {
        double seconds = DefaultSeconds;
        if (duration != null && !(double.TryParse(duration, CultureInfo.InvariantCulture, out seconds) && seconds is > 0 and <= 86_400))
        {
            Console.Error.WriteLine($"bench: {duration} is not a number of seconds up to a day");
            return 1;
        }
        if (BenchGuest.FindFolder("debian", "vmlinuz") is not string folder)
        {
            return 1;
        }
        await using BenchGuest guest = await BenchGuest.StartAsync(BenchGuest.Debian(folder));
        await Task.Delay(Rest);
        using var process = Process.GetCurrentProcess();
        TimeSpan before = process.TotalProcessorTime;
        var watch = Stopwatch.StartNew();
        await Task.Delay(TimeSpan.FromSeconds(seconds));
        process.Refresh();
        TimeSpan used = process.TotalProcessorTime - before;
        Console.WriteLine($"idle: {used.TotalSeconds:F2} s of CPU in {watch.Elapsed.TotalSeconds:F1} s ({used / watch.Elapsed:P1} of a processor)");
        return 0;
    }
}
