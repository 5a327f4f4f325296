// What a Guest costs beside the same Linux on another emulator, QEMU with TCG, and beside the host itself: CPU seconds for the same work.
// Everybody gets the same initramfs and as much memory; on a PC the same kernel, too. docs/performance.md tells what differs.

using System.Diagnostics;

namespace Lguest.Bench;

/// <summary>Runs machines in turn, and prints a table of medians in Markdown.</summary>
internal static class PeersBenchmark
{
    private const string Usage = "usage: bench peers [ROUNDS] [--platform lguest|pc] [--engine NAME]";
    private const int MostRounds = 99;

    /// <summary>Runs and prints.</summary>
    /// <returns>Exit status: 1 for bad arguments, when something is missing, and when machines come to different results.</returns>
    public static async Task<int> RunAsync(ReadOnlyMemory<string> arguments)
    {
        string asked = string.Join(' ', ["bench peers", .. arguments.ToArray()]);
        int rounds = 3;
        string platform = "lguest";
        string[] engine = [];
        for (; !arguments.IsEmpty; arguments = arguments[1..])
        {
            if (arguments.Span is ["--engine", string name, ..])
            {
                engine = ["--engine", name];
                arguments = arguments[1..];
            }
            else if (arguments.Span is ["--platform", "lguest" or "pc", ..])
            {
                platform = arguments.Span[1];
                arguments = arguments[1..];
            }
            else if (!int.TryParse(arguments.Span[0], out rounds) || rounds is < 1 or > MostRounds)
            {
                Console.Error.WriteLine($"bench: '{arguments.Span[0]}' is not understood; {Usage}");
                return 1;
            }
        }
        if (GuestScript.Make("benchmark/build", [platform], static line => Console.Error.WriteLine($"bench: {line}")) is not string built || !PublishCommand())
        {
            return 1;
        }
        IReadOnlyList<Peer> peers = platform == "pc" ? Peer.OnPc(built, engine) : Peer.OnLguest(built, engine);
        foreach (Peer missing in peers.Where(static peer => !peer.IsInstalled))
        {
            Console.Error.WriteLine($"bench: {missing.Name} is not installed, and left out; {missing.Remedy}");
        }
        try
        {
            return await CompareAsync([.. peers.Where(static peer => peer.IsInstalled)], built, rounds, asked);
        }
        catch (InvalidOperationException problem)
        {
            Console.Error.WriteLine($"bench: {problem.Message}");
            return 1;
        }
    }

    private static async Task<int> CompareAsync(IReadOnlyList<Peer> peers, string built, int rounds, string asked)
    {
        var table = new PeerTable();
        for (int round = 1; round <= rounds; round++)
        {
            Console.Error.WriteLine($"bench: round {round} of {rounds}");
            foreach (Peer peer in peers.Where(peer => round == 1 || !peer.IsReference))
            {
                await MeasureAsync(table, peer);
            }
            MeasureNatively(table, built);
        }
        Console.WriteLine($"{asked}: CPU seconds, medians of {rounds} rounds, on {ProcessorModel()}.");
        foreach (Peer peer in peers)
        {
            Console.WriteLine($"- {peer.Name}: {peer.Version}{(peer.IsReference ? ", one round" : "")}");
        }
        Console.WriteLine();
        return table.Print([.. peers.Where(static peer => peer.IsReference).Select(static peer => peer.Name)]) ? 0 : 1;
    }

    private static async Task MeasureAsync(PeerTable table, Peer peer)
    {
        (PeerMachine machine, double boot) = await PeerMachine.BootAsync(peer.Program, peer.Arguments);
        using (machine)
        {
            table.Add(PeerWorkload.Boot, peer.Name, boot, "");
            await machine.ExecuteAsync($"cd /tmp; {PeerWorkload.Prepare}");
            foreach (PeerWorkload workload in PeerWorkload.All)
            {
                (string printed, double seconds) = await machine.ExecuteAsync(workload.Command);
                table.Add(workload.Name, peer.Name, seconds, printed);
            }
        }
    }

    private static void MeasureNatively(PeerTable table, string built)
    {
        using var shell = new NativeShell();
        shell.Execute(PeerWorkload.Prepare);
        foreach (PeerWorkload workload in PeerWorkload.All)
        {
            if (workload.NativeCommand(built) is string command)
            {
                (string printed, double seconds) = shell.Execute(command);
                table.Add(workload.Name, NativeShell.Name, workload.NativeSeconds(seconds), printed);
            }
        }
    }

    /// <summary>Brings the lguest command up to date.</summary>
    private static bool PublishCommand()
    {
        // The script publishes it; what it starts then is only told to say how it is used.
        using Process command = Process.Start(new ProcessStartInfo(Path.Combine(GuestScript.Root, "lguest"), "--help") { RedirectStandardOutput = true })!;
        command.StandardOutput.ReadToEnd();
        command.WaitForExit();
        return command.ExitCode == 0;
    }

    private static string ProcessorModel() => File.ReadLines("/proc/cpuinfo")
        .First(static line => line.StartsWith("model name", StringComparison.Ordinal)).Split(": ", 2)[1];
}
