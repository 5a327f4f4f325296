// Sixteen real Guests at once, all at work, while one is ended each second. Each hashes numbers and forks, and powers itself off when the hash
// is not the one that is known; so every round that comes to its end is a right result.

using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Lguest.Bench;

/// <summary>Many Guests in one process.</summary>
internal static class ManyGuestsBenchmark
{
    private const int Guests = 16;
    private const int Lines = 2000;

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 when there is no Guest to boot, or when one was hurt by another's end.</returns>
    public static async Task<int> RunAsync()
    {
        if (BenchGuest.FindFolder() is not string folder)
        {
            return 1;
        }
        string numbers = string.Concat(Enumerable.Range(1, Lines).Select(static i => i.ToString(CultureInfo.InvariantCulture) + "\n"));
        string hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(numbers)));
        string work = $"[ \"$(seq 1 {Lines} | sha256sum)\" = \"{hash}  -\" ] && for i in 1 2 3 4 5; do /bin/true; done || poweroff -f";

        long before = Resident();
        var watch = Stopwatch.StartNew();
        BenchGuest[] guests = await Task.WhenAll(Enumerable.Range(0, Guests).Select(_ => BenchGuest.StartAsync(folder)));
        Console.WriteLine($"many: {Guests} Guests of 64 MiB at their prompts after {watch.Elapsed.TotalSeconds:F1} s");
        Worker[] workers = [.. guests.Select(guest => new Worker(guest, work))];
        try
        {
            await Task.WhenAll(workers.Select(static worker => worker.ReachAsync(1)));
            PrintMemory(guests, Resident() - before);
            foreach (Worker victim in workers[..^1])
            {
                await Task.Delay(TimeSpan.FromSeconds(1));
                await victim.EndAsync();
            }
            await workers[^1].ReachAsync(workers[^1].Results + 3);
            await workers[^1].EndAsync();
        }
        catch (InvalidOperationException error)
        {
            Console.Error.WriteLine($"bench: a Guest was hurt: {error.Message}");
            return 1;
        }
        finally
        {
            foreach (BenchGuest guest in guests)
            {
                await guest.DisposeAsync();
            }
        }
        Console.WriteLine($"many: one Guest ended each second; {workers.Sum(static worker => worker.Results)} results, all right "
            + $"({string.Join(' ', workers.Select(static worker => worker.Results))}), after {watch.Elapsed.TotalSeconds:F1} s");
        return 0;
    }

    private static void PrintMemory(BenchGuest[] guests, long grown)
    {
        long sum = 0;
        foreach ((int number, BenchGuest guest) in guests.Index())
        {
            (long ram, long tables) = guest.Machine.CountResidentMemory();
            sum += ram + tables;
            Console.WriteLine($"  Guest {number,2}: {Mebibytes(ram),5:F1} MiB of RAM, {tables >> 10,4} KiB of the Host's tables");
        }
        Console.WriteLine($"  together {Mebibytes(sum):F1} MiB; the process has grown by {Mebibytes(grown):F1} MiB, {Mebibytes(grown) / guests.Length:F1} MiB a Guest");
    }

    private static double Mebibytes(long bytes) => bytes / 1048576.0;

    private static long Resident()
    {
        GC.Collect();
        return Process.GetCurrentProcess().WorkingSet64;
    }

    /// <summary>Keeps a Guest at work.</summary>
    private sealed class Worker
    {
        private readonly BenchGuest guest;
        private readonly Task working;
        private volatile bool ending;
        private volatile int results;

        public Worker(BenchGuest guest, string work)
        {
            this.guest = guest;
            working = Task.Run(() => WorkAsync(work));
        }

        /// <summary>Rounds that the Guest has brought to their right end.</summary>
        public int Results => results;

        /// <summary>Waits for a number of results; throws when the Guest has ended before.</summary>
        public async Task ReachAsync(int count)
        {
            while (results < count)
            {
                if (working.IsCompleted)
                {
                    await working;
                }
                await Task.Delay(10);
            }
        }

        /// <summary>Ends the Guest in the middle of its work; throws when it had ended before.</summary>
        public async Task EndAsync()
        {
            if (working.IsCompleted)
            {
                await working;
            }
            ending = true;
            await guest.DisposeAsync();
            await working;
        }

        private async Task WorkAsync(string work)
        {
            try
            {
                while (true)
                {
                    await guest.ExecuteAsync(work);
                    results++;
                }
            }
            catch (InvalidOperationException) when (ending)
            {
                // Its end was ours.
            }
        }
    }
}
