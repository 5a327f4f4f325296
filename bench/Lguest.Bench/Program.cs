// Prints what the machine is worth: `bench loops`, `bench boot`, `bench block`, `bench net`, or all with no argument. And what it stands:
// `bench many` runs sixteen Guests at once, `bench hostile` those that want to break out, `bench soak` one for an hour, `bench clock` whether its clock is right,
// `bench idle` what a Guest costs that does nothing, `bench lockstep` both engines side by side. `bench peers` compares with other emulators and with the host.

using Lguest.Bench;

switch (args.FirstOrDefault())
{
    case null:
        LoopBenchmarks.Run();
        return await BootBenchmark.RunAsync() | await BlockBenchmark.RunAsync() | await NetworkBenchmark.RunAsync();
    case "loops":
        LoopBenchmarks.Run();
        return 0;
    case "boot":
        return await BootBenchmark.RunAsync();
    case "block":
        return await BlockBenchmark.RunAsync();
    case "net":
        return await NetworkBenchmark.RunAsync();
    case NetworkBenchmark.PeerWord when args is [_, string file]:
        return await NetworkBenchmark.RunPeerAsync(file);
    case "many":
        return await ManyGuestsBenchmark.RunAsync();
    case "hostile":
        return HostileBenchmark.Run(args.AsSpan(1));
    case "lockstep":
        return LockStepBenchmark.Run(args.AsSpan(1));
    case "clock":
        return await ClockBenchmark.RunAsync(args.ElementAtOrDefault(1));
    case "idle":
        return await IdleBenchmark.RunAsync(args.ElementAtOrDefault(1));
    case "soak":
        return await SoakBenchmark.RunAsync(args.ElementAtOrDefault(1));
    case "peers":
        return await PeersBenchmark.RunAsync(args.AsMemory(1));
    default:
        Console.Error.WriteLine($"bench: there is no benchmark '{args[0]}'; there are: loops, boot, block, net, many, hostile, lockstep, soak, clock, idle, peers");
        return 1;
}
