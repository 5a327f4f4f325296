// `lguest run`: the same machine as ever, with a name for everything that can be chosen.

using System.CommandLine;
using System.CommandLine.Parsing;
using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal static class RunCommand
{
    private const long DefaultMemory = 64 << 20;

    public static Command Create()
    {
        var kernel = new Option<string>("--kernel") { Description = "i386 vmlinux or bzImage with CONFIG_LGUEST_GUEST; the default Guest's without it.", HelpName = "FILE" };
        var initrd = new Option<string>("--initrd") { Description = "Initial RAM disk.", HelpName = "FILE" };
        var memory = new Option<long>("--memory")
        {
            Description = "Guest memory, such as 64M or 1G; a plain number is megabytes.",
            HelpName = "SIZE",
            CustomParser = ParseMemory,
            DefaultValueFactory = static _ => DefaultMemory,
        };
        var commandLine = new Option<string>("--cmdline") { Description = "Kernel command line.", HelpName = "TEXT", DefaultValueFactory = static _ => "" };
        var engine = new Option<Engine>("--engine")
        {
            Description = "Part that executes the Guest: auto, interpreter or translator.",
            HelpName = "NAME",
            CustomParser = ParseEngine,
        };
        var verbose = new Option<bool>("--verbose", "-v") { Description = "Print setup and traffic details on standard output." };
        var devices = new DeviceArguments();
        var command = new Command("run", "Boots a kernel of your choice.") { kernel, initrd, memory, commandLine, engine, verbose };
        foreach (Option option in devices.Options)
        {
            command.Options.Add(option);
        }
        command.SetAction((parsed, _) =>
        {
            var options = new MachineOptions
            {
                Kernel = parsed.GetValue(kernel) ?? "",
                Initrd = parsed.GetValue(initrd),
                MemoryBytes = parsed.GetValue(memory),
                CommandLine = parsed.GetValue(commandLine)!,
                Engine = parsed.GetValue(engine),
                Devices = devices.Read(parsed),
            };
            var session = new GuestSession(options, parsed.GetValue(verbose));
            return parsed.GetResult(kernel) == null ? session.RunDefaultGuestAsync() : session.RunAsync();
        });
        return command;
    }

    private static long ParseMemory(ArgumentResult result)
    {
        string text = result.Tokens[0].Value;
        int shift = char.ToUpperInvariant(text.LastOrDefault()) switch
        {
            'K' => 10,
            'M' => 20,
            'G' => 30,
            _ => 0,
        };
        string digits = shift == 0 ? text : text[..^1];
        if (digits.Length is 0 or > 9 || !digits.All(char.IsAsciiDigit))
        {
            result.AddError($"--memory {text} is not a size such as 64M");
            return 0;
        }
        return long.Parse(digits) << (shift == 0 ? 20 : shift);
    }

    private static Engine ParseEngine(ArgumentResult result)
    {
        switch (result.Tokens[0].Value)
        {
            case "auto":
                return Engine.Auto;
            case "interpreter":
                return Engine.Interpreter;
            case "translator":
                return Engine.Translator;
            default:
                result.AddError($"there is no engine {result.Tokens[0].Value}: auto, interpreter and translator are known");
                return Engine.Auto;
        }
    }
}
