// Prints what the machine is worth: `bench loops`, `bench boot`, or both with no argument.

using Lguest.Bench;

string what = args.Length == 0 ? "all" : args[0];
if (what is not ("all" or "loops" or "boot"))
{
    Console.Error.WriteLine($"bench: there is no benchmark '{what}'; there are: loops, boot");
    return 1;
}
if (what is "all" or "loops")
{
    LoopBenchmarks.Run();
}
if (what is "all" or "boot")
{
    return await BootBenchmark.RunAsync();
}
return 0;
