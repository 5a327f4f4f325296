// `lguest run`: the same machine as ever, with a name for everything that can be chosen.

using System.CommandLine;
using System.CommandLine.Parsing;
using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal static class RunCommand
{
    private const long DefaultMemory = 64 << 20;

    // Debian's kernel alone needs some 40 MiB to start.
    private const long DefaultPcMemory = 256 << 20;

    // A PC without a screen has its console at the serial port, and a kernel wants to be told.
    private const string SerialConsole = "console=ttyS0";

    // Testing its ciphers takes Debian's kernel longer than all the rest of its boot; who wants that says cryptomgr.notests=0, since the
    // last word counts. Its search for ISA Plug & Play cards, which nobody has here, waits in loops for three quarters of a second.
    private const string DebianCommandLine = "cryptomgr.notests noisapnp";

    /// <summary>Makes the command.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="isDebian">Boots Debian's kernel, as with <c>--distro debian</c>.</param>
    public static Command Create(string name = "run", bool isDebian = false)
    {
        var distribution = new Option<string>("--distro") { Description = "Boots an unmodified kernel of a distribution on a PC: debian.", HelpName = "NAME" };
        var kernel = new Option<string>("--kernel") { Description = "i386 vmlinux or bzImage with CONFIG_LGUEST_GUEST; the default Guest's without it.", HelpName = "FILE" };
        var multiboot = new Option<string>("--multiboot") { Description = "i386 program with a multiboot header, on a PC.", HelpName = "FILE" };
        var rom = new Option<string>("--rom") { Description = "ROM image, on a PC.", HelpName = "FILE" };
        var platform = new Option<MachinePlatform>("--platform")
        {
            Description = "Kind of machine: lguest, or pc for unmodified kernels.",
            HelpName = "NAME",
            CustomParser = ParsePlatform,
        };
        var tracedPorts = new Option<ushort[]>("--trace-port") { Description = "Print what a PC's Guest writes to a port.", HelpName = "PORT", CustomParser = ParsePorts };
        var initrd = new Option<string>("--initrd") { Description = "Initial RAM disk.", HelpName = "FILE" };
        var memory = new Option<long>("--memory")
        {
            Description = "Guest memory, such as 64M or 1G; a plain number is megabytes.",
            HelpName = "SIZE",
            CustomParser = ParseMemory,
        };
        var commandLine = new Option<string>("--cmdline", "--append") { Description = "Kernel command line.", HelpName = "TEXT", DefaultValueFactory = static _ => "" };
        var engine = new Option<Engine>("--engine")
        {
            Description = "Part that executes the Guest: auto, interpreter or translator.",
            HelpName = "NAME",
            CustomParser = ParseEngine,
        };
        var noReboot = new Option<bool>("--no-reboot") { Description = "Leave when the Guest restarts." };
        var verbose = new Option<bool>("--verbose", "-v") { Description = "Print setup and traffic details on standard output." };
        var devices = new DeviceArguments();
        var command = new Command(name, "Boots a kernel of your choice.")
        {
            distribution, platform, kernel, multiboot, rom, initrd, memory, commandLine, engine, tracedPorts, noReboot, verbose,
        };
        foreach (Option option in devices.Options)
        {
            command.Options.Add(option);
        }
        command.SetAction((parsed, _) =>
        {
            (string image, ImageFormat format) = ChooseImage(parsed.GetValue(kernel), parsed.GetValue(multiboot), parsed.GetValue(rom));
            bool wantsDebian = WantsDebian(isDebian ? "debian" : parsed.GetValue(distribution), image);
            MachinePlatform wanted = wantsDebian
                ? MachinePlatform.Pc
                : ChoosePlatform(parsed.GetResult(platform) == null ? null : parsed.GetValue(platform), image, format);
            string words = parsed.GetValue(commandLine)!;
            var options = new MachineOptions
            {
                Platform = wanted,
                Kernel = image,
                ImageFormat = format,
                TracedPorts = parsed.GetValue(tracedPorts) ?? [],
                Initrd = parsed.GetValue(initrd),
                MemoryBytes = parsed.GetResult(memory) != null ? parsed.GetValue(memory) : wanted == MachinePlatform.Pc ? DefaultPcMemory : DefaultMemory,
                CommandLine = wantsDebian ? CompleteForDebian(words) : words,
                Engine = parsed.GetValue(engine),
                Devices = devices.Read(parsed),
                ResetEnds = parsed.GetValue(noReboot),
            };
            var session = new GuestSession(options, parsed.GetValue(verbose));
            return image.Length > 0 ? session.RunAsync() : session.RunAsync(wantsDebian ? GuestRecipe.Debian : GuestRecipe.Default);
        });
        return command;
    }

    /// <summary>Puts in front what Debian's kernel needs. On a second console, every message would come twice.</summary>
    private static string CompleteForDebian(string words)
    {
        bool hasConsole = words.Split(' ').Any(static word => word.StartsWith("console=", StringComparison.Ordinal));
        return $"{(hasConsole ? "" : SerialConsole)} {DebianCommandLine} {words}".Trim();
    }

    private static bool WantsDebian(string? distribution, string image) => distribution switch
    {
        null => false,
        "debian" when image.Length == 0 => true,
        "debian" => throw new CommandException("--distro brings its own kernel: leave --kernel, --multiboot and --rom away"),
        _ => throw new CommandException($"there is no distribution {distribution}: debian is known"),
    };

    private static (string Image, ImageFormat Format) ChooseImage(string? kernel, string? multiboot, string? rom)
    {
        (string? Path, ImageFormat Format)[] named =
            [.. new[] { (kernel, ImageFormat.Linux), (multiboot, ImageFormat.Multiboot), (rom, ImageFormat.Rom) }.Where(static image => image.Item1 != null)];
        return named switch
        {
            [] => ("", ImageFormat.Linux),
            [var (path, format)] => (path!, format),
            _ => throw new CommandException("--kernel, --multiboot and --rom exclude each other"),
        };
    }

    /// <summary>Programs that only a PC can run need not say so.</summary>
    private static MachinePlatform ChoosePlatform(MachinePlatform? wanted, string image, ImageFormat format)
    {
        if (format != ImageFormat.Linux)
        {
            return wanted is null or MachinePlatform.Pc
                ? MachinePlatform.Pc
                : throw new CommandException("--multiboot and --rom are for --platform pc");
        }
        return wanted == MachinePlatform.Pc && image.Length == 0
            ? throw new CommandException("--platform pc needs --kernel, --multiboot or --rom")
            : wanted ?? MachinePlatform.Lguest;
    }

    private static MachinePlatform ParsePlatform(ArgumentResult result)
    {
        switch (result.Tokens[0].Value)
        {
            case "lguest":
                return MachinePlatform.Lguest;
            case "pc":
                return MachinePlatform.Pc;
            default:
                result.AddError($"there is no platform {result.Tokens[0].Value}: lguest and pc are known");
                return MachinePlatform.Lguest;
        }
    }

    private static ushort[] ParsePorts(ArgumentResult result)
    {
        var ports = new List<ushort>();
        foreach (Token token in result.Tokens)
        {
            string text = token.Value;
            bool isNumber = text.StartsWith("0x", StringComparison.OrdinalIgnoreCase)
                ? ushort.TryParse(text.AsSpan(2), System.Globalization.NumberStyles.HexNumber, null, out ushort port)
                : ushort.TryParse(text, System.Globalization.NumberStyles.None, null, out port);
            if (!isNumber)
            {
                result.AddError($"--trace-port {text} is not a port such as 0x190");
            }
            ports.Add(port);
        }
        return [.. ports];
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
