// `lguest` itself. Without a word it boots the default Guest; with words it is the command of 2007, which takes the megabytes and the
// kernel as its first two (ABI 11). `run`, `debian` and `tour` are words of ours only when they come first, so that the original form may hand them to a
// kernel.

using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal static class LguestCommand
{
    private const string Usage = "usage: lguest [options] <megabytes> <kernel> [kernel arguments...] (see lguest --help)";

    private static readonly Option<bool> Verbose = new("--verbose", "-v") { Description = "Print setup and traffic details on standard output." };
    private static readonly Option<string[]> Initrd = new("--initrd") { Description = "Initial RAM disk." };
    private static readonly DeviceArguments Devices = new();
    private static readonly Argument<string[]> Words = new("words") { Arity = ArgumentArity.ZeroOrMore };

    public static Task<int> InvokeAsync(string[] args)
    {
        var root = new RootCommand { Verbose, Initrd, Words };
        foreach (Option option in Devices.Options)
        {
            root.Options.Add(option);
        }
        root.Options.OfType<HelpOption>().Single().Action = new PrintHelp();
        root.SetAction(RunAsync);
        if (args is ["run", ..])
        {
            root.Subcommands.Add(RunCommand.Create());
        }
        else if (args is ["tour", ..])
        {
            root.Subcommands.Add(TourCommand.Create());
        }
        else if (args is ["debian", ..])
        {
            // The same as `run --distro debian`, with all of run's options.
            root.Subcommands.Add(RunCommand.Create("debian", isDebian: true));
        }

        ParseResult parsed = root.Parse(args, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });
        if (parsed.Errors.Count > 0)
        {
            throw new CommandException($"{parsed.Errors[0].Message} (see lguest --help)");
        }
        // Signals are the session's business: it has a terminal to give back first.
        return parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
    }

    private static Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        string[] words = parsed.GetValue(Words) ?? [];
        RefuseUnknownOptions(words);
        IReadOnlyList<DeviceOptions> devices = Devices.Read(parsed);
        string? initrd = parsed.GetValue(Initrd)?.LastOrDefault();
        bool verbose = parsed.GetValue(Verbose);
        if (words.Length == 0 && initrd == null && devices.Count == 0)
        {
            return new GuestSession(new MachineOptions { Kernel = "" }, verbose).RunAsync(GuestRecipe.Default);
        }
        if (words.Length < 2)
        {
            throw new CommandException(Usage);
        }
        var options = new MachineOptions
        {
            MemoryBytes = ReadMegabytes(words[0]) << 20,
            Kernel = words[1],
            Initrd = initrd,
            Devices = devices,
            // Every end was an end in 2007.
            ResetEnds = true,
            CommandLine = string.Concat(words.Skip(2).Select(static word => word + " ")),
        };
        return new GuestSession(options, verbose) { IsOriginalForm = true }.RunAsync();
    }

    /// <summary>The parser takes an option that it does not know for a word.</summary>
    public static void RefuseUnknownOptions(IEnumerable<string> words)
    {
        if (words.FirstOrDefault(static word => word.StartsWith('-')) is string unknown)
        {
            throw new CommandException($"unknown option {unknown} (see lguest --help)");
        }
    }

    /// <summary>Reads as C's <c>atoi</c> does: <c>64m</c> is 64.</summary>
    private static long ReadMegabytes(string word)
    {
        string digits = string.Concat(word.TakeWhile(char.IsAsciiDigit));
        return digits.Length is > 0 and < 10
            ? long.Parse(digits)
            : throw new CommandException($"{word} is not a number of megabytes; {Usage}");
    }

    private sealed class PrintHelp : SynchronousCommandLineAction
    {
        private readonly HelpAction standard = new();

        public override int Invoke(ParseResult parseResult)
        {
            if (parseResult.CommandResult.Command is not RootCommand)
            {
                return standard.Invoke(parseResult);
            }
            Standard.Write(HelpText.Text);
            return ExitStatus.Success;
        }
    }
}
