// What networks are worth: throughput both ways and the time there and back, without privilege and among Guests, of one process and of two.

using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using Lguest.Launcher;

namespace Lguest.Bench;

internal static partial class NetworkBenchmark
{
    /// <summary>The word that makes this program the second process of the benchmark; a network's file follows it.</summary>
    public const string PeerWord = "network-peer";

    private const int Megabytes = 16;
    private const string PeerIsUp = "up";

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 when there is no Guest to boot.</returns>
    public static async Task<int> RunAsync()
    {
        if (BenchGuest.FindFolder() is not string folder)
        {
            return 1;
        }
        Console.WriteLine($"network, {Megabytes} MiB by HTTP (copies of a byte: by C# and C, from one kernel to the other):");
        await MeasureUserAsync(folder);
        string file = Path.Combine(Path.GetTempPath(), $"lguest-bench-{Environment.ProcessId}");
        try
        {
            await using (BenchGuest peer = await StartMemberAsync(folder, file, 1))
            {
                await ServeAsync(peer);
                await MeasureSharedAsync(folder, file, "Guests of one process", copies: 2);
            }
            using Process process = StartPeer(file);
            await MeasureSharedAsync(folder, file, "Guests of two processes", copies: 4);
            process.StandardInput.Close();
            await process.WaitForExitAsync();
        }
        finally
        {
            File.Delete(file);
        }
        return 0;
    }

    /// <summary>The second process: a Guest that serves until standard input ends.</summary>
    public static async Task<int> RunPeerAsync(string file)
    {
        await using BenchGuest peer = await StartMemberAsync(BenchGuest.FindFolder()!, file, 1);
        await ServeAsync(peer);
        Console.WriteLine(PeerIsUp);
        _ = Console.In.ReadToEnd();
        return 0;
    }

    private static async Task MeasureUserAsync(string folder)
    {
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        var forward = new PortForward(ProtocolType.Tcp, new IPEndPoint(IPAddress.Loopback, FreePort()), new IPEndPoint(UserNetworkOptions.GuestAddress, 80));
        await using BenchGuest guest = await BenchGuest.StartAsync(folder, new UserNetworkOptions { Forwards = [forward] });
        await guest.ExecuteAsync("until ifconfig eth0 | grep -q 'addr:10.0.2.15'; do sleep 0.1; done");
        await ServeAsync(guest);

        long before = guest.Machine.Statistics.Instructions;
        Task<TimeSpan> download = guest.ExecuteAsync($"wget -q -O /dev/null http://10.0.2.2:{((IPEndPoint)server.LocalEndpoint).Port}/");
        using (TcpClient client = await server.AcceptTcpClientAsync())
        {
            await client.GetStream().ReadAtLeastAsync(new byte[1024], 1);
            await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {Megabytes << 20}\r\n\r\n"));
            await client.GetStream().WriteAsync(new byte[Megabytes << 20]);
        }
        Print("user network, host to Guest", await download, copies: 4);
        PrintInstructions();

        using (var client = new TcpClient())
        {
            var watch = Stopwatch.StartNew();
            await client.ConnectAsync(forward.Host);
            await client.GetStream().WriteAsync("GET /file HTTP/1.0\r\n\r\n"u8.ToArray());
            await client.GetStream().CopyToAsync(Stream.Null);
            Print("user network, Guest to host", watch.Elapsed, copies: 3);
            PrintInstructions();
        }

        Console.WriteLine($"  user network, ping: {await PingAsync(guest, "10.0.2.2")}");

        void PrintInstructions()
        {
            long now = guest.Machine.Statistics.Instructions;
            Console.WriteLine($"    {(now - before) / (double)(Megabytes << 20):F1} instructions of the Guest a byte");
            before = now;
        }
    }

    private static async Task MeasureSharedAsync(string folder, string file, string name, int copies)
    {
        await using BenchGuest guest = await StartMemberAsync(folder, file, 2);
        Print(name, await guest.ExecuteAsync("wget -q -O /dev/null http://192.168.77.1/file"), copies);
        Console.WriteLine($"  {name}, ping: {await PingAsync(guest, "192.168.77.1")}");
    }

    private static async Task<BenchGuest> StartMemberAsync(string folder, string file, int number)
    {
        BenchGuest guest = await BenchGuest.StartAsync(folder, new SharedNetworkOptions(file));
        await guest.ExecuteAsync($"ifconfig eth0 192.168.77.{number} up");
        return guest;
    }

    private static Task ServeAsync(BenchGuest guest) =>
        guest.ExecuteAsync($"dd if=/dev/zero of=/tmp/file bs=64k count={16 * Megabytes} 2>/dev/null; httpd -p 80 -h /tmp");

    private static int FreePort()
    {
        using var server = new TcpListener(IPAddress.Loopback, 0);
        server.Start();
        return ((IPEndPoint)server.LocalEndpoint).Port;
    }

    private static async Task<string> PingAsync(BenchGuest guest, string address)
    {
        int from = guest.Shown.Length;
        await guest.ExecuteAsync($"ping -q -c 100 -i 0.02 {address}");
        return RoundTrip().Match(guest.Shown, from) is { Success: true } match
            ? $"{match.Groups[1].Value} ms at best, {match.Groups[2].Value} ms on average"
            : "no answer";
    }

    private static Process StartPeer(string file)
    {
        Process process = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, [PeerWord, file]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        return process.StandardOutput.ReadLine() == PeerIsUp ? process : throw new InvalidOperationException("The second process has ended.");
    }

    private static void Print(string name, TimeSpan time, int copies) =>
        Console.WriteLine($"  {name}: {(Megabytes << 20) * 8.0 / time.TotalSeconds / 1e6:F0} Mbit/s, {copies} copies");

    [GeneratedRegex(@"min/avg/max = ([0-9.]+)/([0-9.]+)/")]
    private static partial Regex RoundTrip();
}
