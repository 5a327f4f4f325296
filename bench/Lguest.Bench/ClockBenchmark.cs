// Does a PC's clock go right? Debian's kernel is asked for its monotonic time again and again, and the host's time is taken before and after.
// Between the two lies the moment that was meant, so the answer that came back quickest is the best: of each ten only that one counts.

using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Lguest.Bench;

/// <summary>Compares a Guest's clock with the host's.</summary>
internal static partial class ClockBenchmark
{
    private const int DefaultMinutes = 60;
    private const int Tries = 10;
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(10);

    /// <summary>Runs and prints.</summary>
    /// <param name="duration">Minutes, or null for an hour.</param>
    /// <returns>Exit status: 1 when there is no Guest to boot, or the number is none.</returns>
    public static async Task<int> RunAsync(string? duration)
    {
        double minutes = DefaultMinutes;
        if (duration != null && !(double.TryParse(duration, CultureInfo.InvariantCulture, out minutes) && minutes > 0))
        {
            Console.Error.WriteLine($"bench: {duration} is not a number of minutes");
            return 1;
        }
        if (BenchGuest.FindFolder("debian", "vmlinuz") is not string folder)
        {
            return 1;
        }
        await using BenchGuest guest = await BenchGuest.StartAsync(BenchGuest.Debian(folder));
        var watch = Stopwatch.StartNew();
        Sample first = await TakeBestAsync(guest, watch), last = first;
        double worst = 0, widest = first.Uncertainty;
        while (watch.Elapsed.TotalMinutes < minutes)
        {
            await Task.Delay(Pause);
            last = await TakeBestAsync(guest, watch);
            worst = Math.Max(worst, Math.Abs(last.Offset - first.Offset));
            widest = Math.Max(widest, last.Uncertainty);
        }
        double drift = last.Offset - first.Offset;
        double passed = last.Host - first.Host;
        Console.WriteLine($"clock: after {passed / 60:F1} min the Guest's is {drift * 1e6:F0} us ahead of the host's ({drift / passed * 1e6:F2} ppm); "
            + $"worst offset {worst * 1e6:F0} us; each known to +-{widest * 1e6:F0} us");
        return 0;
    }

    private static async Task<Sample> TakeBestAsync(BenchGuest guest, Stopwatch watch)
    {
        Sample? best = null;
        for (int i = 0; i < Tries; i++)
        {
            guest.ForgetShown();
            double before = watch.Elapsed.TotalSeconds;
            await guest.ExecuteAsync("head -c 99 /proc/timer_list");
            double after = watch.Elapsed.TotalSeconds;
            double told = long.Parse(GuestTime().Match(guest.Shown).Groups[1].Value, CultureInfo.InvariantCulture) / 1e9;
            var sample = new Sample((before + after) / 2, told - ((before + after) / 2), (after - before) / 2);
            if (best is not { } known || sample.Uncertainty < known.Uncertainty)
            {
                best = sample;
            }
        }
        return best!.Value;
    }

    [GeneratedRegex("now at ([0-9]+) nsecs")]
    private static partial Regex GuestTime();

    /// <summary>One comparison, in seconds.</summary>
    /// <param name="Host">The host's time.</param>
    /// <param name="Offset">The Guest's minus the host's.</param>
    /// <param name="Uncertainty">How far the offset may be off, either way.</param>
    private readonly record struct Sample(double Host, double Offset, double Uncertainty);
}
