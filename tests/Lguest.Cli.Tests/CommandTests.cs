// The command line (ABI 11): its forms, what it says to bad input, and its exit status.

using Lguest.Host;
using Lguest.Launcher.Tests;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Cli.Tests;

public sealed class CommandTests : IDisposable
{
    private readonly TemporaryFile powerOff = new(ElfFile.WithCode(TinyGuest.Assemble(static c => TinyGuest.Crash(c, "Power down"))).ToBytes());
    private readonly TemporaryFile crash = new(ElfFile.WithCode(TinyGuest.Assemble(static c => TinyGuest.Crash(c, "Out of coffee"))).ToBytes());
    private readonly TemporaryFile echo = new(ElfFile.WithCode(TinyGuest.Assemble(TinyGuest.EchoGuest)).ToBytes());

    public static TheoryData<string[], string> BadInput() => new()
    {
        { ["16", "/no/such/kernel"], "kernel /no/such/kernel does not exist." },
        { ["16", "/"], "kernel / is a directory." },
        { ["16", "{empty}"], "is empty." },
        { ["16", "{truncated}"], "is truncated" },
        { ["16", "{64-bit}"], "is a 64-bit program; lguest runs 32-bit i386 kernels." },
        { ["16", "{no mark}"], "build it with CONFIG_LGUEST_GUEST=y." },
        { ["16", "{two offsets}"], "has segments with different page offsets" },
        { ["16", "{text}"], "is neither a vmlinux (ELF) nor a bzImage" },
        { ["1", "{good}"], "memory are too small" },
        { ["2944", "{good}"], "2944 MiB of memory are too large: a Guest has at most 2943 MiB." },
        { ["99999999999999999999", "{good}"], "is not a number of megabytes" },
        { ["lots", "{good}"], "is not a number of megabytes" },
        { ["2", "{good}", "--initrd={large}"], "(3 MiB) is larger than the Guest's memory (2 MiB)." },
        { ["16", "{good}", "--initrd=/no/such/initrd"], "initrd /no/such/initrd does not exist." },
        { ["--colour", "16", "{good}"], "unknown option --colour" },
        { ["16", "{good}", "-x"], "unknown option -x" },
        { ["16"], "usage: lguest [options] <megabytes> <kernel>" },
        { ["--initrd={good}"], "usage: lguest [options] <megabytes> <kernel>" },
        { ["run", "--kernel", "/no/such/kernel"], "kernel /no/such/kernel does not exist." },
        { ["run", "--kernel", "{good}", "--memory", "many"], "--memory many is not a size such as 64M" },
        { ["run", "--kernel", "{good}", "--memory", "3G"], "are too large" },
        { ["run", "--kernel", "{good}", "--engine", "steam"], "there is no engine steam: auto, interpreter and translator are known" },
        { ["run", "--kernel", "{good}", "--platform", "mac"], "there is no platform mac: lguest and pc are known" },
        { ["run", "--platform", "pc"], "--platform pc needs --kernel, --multiboot or --rom" },
        { ["run", "--kernel", "{good}", "--rom", "{good}"], "--kernel, --multiboot and --rom exclude each other" },
        { ["run", "--rom", "{good}", "--platform", "lguest"], "--multiboot and --rom are for --platform pc" },
        { ["run", "--rom", "/no/such/rom"], "ROM /no/such/rom does not exist." },
        { ["run", "--multiboot", "/no/such/program"], "program /no/such/program does not exist." },
        { ["run", "--rom", "{good}", "--trace-port", "com1"], "--trace-port com1 is not a port such as 0x190" },
        { ["run", "--distro", "slackware"], "there is no distribution slackware: debian is known" },
        { ["debian", "--kernel", "{good}"], "--distro brings its own kernel: leave --kernel, --multiboot and --rom away" },
        { ["run", "--kernel", "{good}", "--colour"], "--colour" },
        { ["run", "--kernel", "{good}", "word"], "word" },
        { ["--net=tap", "16", "{good}"], "--net=tap: the only kind of network is 'user'" },
        { ["--net=user,hostfwd=tcp::2222", "16", "{good}"], "'hostfwd=tcp::2222' is not hostfwd=tcp:[ADDRESS]:PORT-[GUEST]:PORT" },
        { ["--net=user,hostfwd=ip::1-:1", "16", "{good}"], "'hostfwd=ip::1-:1' is not hostfwd=tcp:" },
        { ["run", "--net=user,hostfwd=tcp::0-:22"], "'0' is not a port from 1 to 65535" },
        { ["run", "--net=user,hostfwd=tcp::2222-:65536"], "'65536' is not a port from 1 to 65535" },
        { ["run", "--net=user,hostfwd=tcp:localhost:2222-:22"], "localhost is not an IPv4 address" },
        { ["run", "--net", "user,hostfwd=tcp::2222-1.2.3.4:22"], "1.2.3.4 is no address of the Guest's" },
        { ["--net=user,hostfwd=tcp:203.0.113.1:2222-:22", "16", "{good}"], "port 203.0.113.1:2222 cannot be forwarded: Cannot assign requested address" },
        { ["--tunnet=192.168.19", "16", "{good}"], "--tunnet=192.168.19 is neither an IPv4 address such as 192.168.19.1 nor bridge:NAME" },
        { ["--tunnet=0x7f.0.0.1", "16", "{good}"], "is neither an IPv4 address" },
        { ["run", "--tunnet=bridge:"], "'' cannot be a bridge" },
        { ["run", "--tunnet=bridge:sixteen-letters-"], "'sixteen-letters-' cannot be a bridge: names of interfaces have 1 to 15 bytes." },
        { ["--sharenet=/", "16", "{good}"], "network file / is a directory." },
        { ["--sharenet=/no/such/network", "16", "{good}"], "network file /no/such/network cannot be used" },
        { ["--sharenet=/dev/null", "16", "{good}"], "network file /dev/null cannot be used" },
        { ["--sharenet={large}", "16", "{good}"], "has 3145728 bytes, not 4096: it is something else" },
        { ["run", "--share", "/tmp", "--kernel", "{good}"], "--share needs a folder and the tag by which the Guest mounts it" },
        { ["run", "--share", ":tag", "--kernel", "{good}"], "--share needs a folder and the tag by which the Guest mounts it" },
        { ["run", "--share", "/tmp:tag,readonly", "--kernel", "{good}"], "Folders are shared with Guests on a PC only (--platform pc)." },
        { ["run", "--platform", "pc", "--share", "/no/such:tag", "--kernel", "{good}"], "folder /no/such does not exist." },
        { ["run", "--kernel", "{good}", "--cmdline", "{long}"], "kernel command line has 3000 characters" },
        { ["--block=/no/such/image", "16", "{good}"], "block image /no/such/image does not exist." },
        { ["run", "--kernel", "{good}", "--block", "/no/such/image,snapshot"], "block image /no/such/image does not exist." },
        { ["run", "--kernel", "{good}", "--block", "/no/such/image,snapshot,2"], "block image /no/such/image,snapshot,2 does not exist." },
        { ["run", "--kernel", "{good}", "--block", "/"], "block image / cannot be used: it is a directory." },
        { ["run", "--kernel", "{good}", "--block", "/dev/null"], "it is a character device, not a file or block device." },
        { ["run", "--kernel", "{good}", "--block", "{empty}"], "is empty; a new disk of 1 GiB: truncate -s 1G FILE." },
        { ["run", "--kernel", "{good}", "--block", "{text}"], "has 11 bytes, which is not a multiple of 512" },
        { ["run", "--kernel", "{good}", "--block", "{large}", "--block", "{large}"], "is in use by another Guest" },
        { ["run", "--kernel", "{good}", "--block", ",readonly"], "--block needs the name of a disk image, as in --block disk.img" },
        { ["16", "{good}", .. Enumerable.Repeat("--block={large},snapshot", 16)], "16 devices are too many: a Guest has room for 15 besides its console." },
    };

    [Theory]
    [MemberData(nameof(BadInput))]
    public async Task BadInputGivesOneClearLineAndStatusOne(string[] arguments, string message)
    {
        ElfFile good = ElfFile.WithCode([0x90]);
        ElfSegment segment = good.Segments[0];
        using var files = new NamedFiles(new Dictionary<string, byte[]>
        {
            ["{good}"] = good.ToBytes(),
            ["{empty}"] = [],
            ["{truncated}"] = good.ToBytes()[..^1],
            ["{64-bit}"] = (good with { Class = 2 }).ToBytes(),
            ["{no mark}"] = (good with { Segments = [segment with { Contents = new byte[100] }] }).ToBytes(),
            ["{two offsets}"] = (good with { Segments = [segment, segment with { VirtualAddress = 0x8010_0000 }] }).ToBytes(),
            ["{text}"] = "Dear kernel"u8.ToArray(),
            ["{large}"] = new byte[3 << 20],
        });

        CommandResult result = await CommandProcess.RunAsync("", [.. arguments.Select(a => files.Replace(a).Replace("{long}", new string('a', 3000)))]);

        Assert.Equal(1, result.ExitStatus);
        Assert.Equal("", result.Output);
        Assert.StartsWith("lguest: ", result.Errors);
        Assert.Contains(message, result.Errors);
        Assert.Equal(result.Errors.Length - 1, result.Errors.IndexOf('\n'));
    }

    [Fact]
    public async Task RunEndsQuietlyWithStatusZeroAtPowerOff() =>
        Assert.Equal(new CommandResult(0, "", ""), await CommandProcess.RunAsync("", "run", "--kernel", powerOff.Path, "--memory", "4M"));

    [Fact]
    public async Task TheLastWordsOfAGuestCannotControlTheTerminal()
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(TinyGuest.Assemble(static c => TinyGuest.Crash(c, "red \u001b[31m\nand \u009b"))).ToBytes());
        Assert.Equal(
            new CommandResult(1, "", "lguest: CRASH: red ?[31m?and ?\n"),
            await CommandProcess.RunAsync("", "run", "--kernel", kernel.Path, "--memory", "4096K"));
    }

    [Fact]
    public async Task RunReportsAGuestThatDied() =>
        Assert.Equal(new CommandResult(1, "", "lguest: CRASH: Out of coffee\n"), await CommandProcess.RunAsync("", "run", "--kernel", crash.Path, "--memory", "4096K"));

    public static TheoryData<string, byte[], string> Deaths() => new()
    {
        { "jumps to nowhere", TinyGuest.Assemble(static c => c.jmp(0x10)), "unhandled trap 14 at 0x10 (0x10)" },
        { "has no handler", TinyGuest.Assemble(static c => c.ud2()), "unhandled trap 6 at 0xc010000d (0x0)" },
        {
            "has no stack for its faults",
            TinyGuest.Assemble(static c =>
            {
                TinyGuest.Initialize(c);
                TinyGuest.Call(c, Hypercall.LoadIdtEntry, 6, 0x0061_0000, 0xC010_8E00);
                TinyGuest.Call(c, Hypercall.LoadIdtEntry, 14, 0x0061_0000, 0xC010_8E00);
                c.mov(esp, 0x10);
                c.ud2();
            }),
            "bad write address 0x4000000c"
        },
        { "registers a bad lguest_data", TinyGuest.Assemble(static c => TinyGuest.Call(c, Hypercall.LguestInit, 0x7FFF_0000, 0, 0)), "bad guest page 7fff0000" },
        { "calls before the handshake", TinyGuest.Assemble(static c => TinyGuest.Call(c, Hypercall.Halt, 0, 0, 0)), "hypercall 10 before LGUEST_INIT" },
    };

    [Theory]
    [MemberData(nameof(Deaths))]
    public async Task AGuestThatBreaksTheRulesDiesWithTheAbisText(string guest, byte[] code, string reason)
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(code).ToBytes());
        CommandResult result = await CommandProcess.RunAsync("", "run", "--kernel", kernel.Path, "--memory", "4M");
        Assert.True(result == new CommandResult(1, "", $"lguest: {reason}\n"), $"A Guest that {guest}: {result}");
    }

    [Fact]
    public async Task TheOriginalFormReportsEveryEndWithStatusOne() =>
        Assert.Equal(new CommandResult(1, "", "lguest: CRASH: Power down\n"), await CommandProcess.RunAsync("", "4m", powerOff.Path, "quiet", "run"));

    [Fact]
    public async Task OptionsMayStandBetweenTheWordsAndTheLastInitrdWins()
    {
        CommandResult result = await CommandProcess.RunAsync("", "4", "--initrd=/no/such/initrd", powerOff.Path, "-v", "root=/dev/lgba", $"--initrd={crash.Path}");
        Assert.Equal(1, result.ExitStatus);
        Assert.Contains("lguest: CRASH: Power down\n", result.Errors);
        Assert.Contains("entry 0xc010000d, page offset 0xc0000000", result.Output);
    }

    [Fact]
    public async Task VerboseTellsTheEngine() =>
        Assert.Contains($"engine {ExpectedEngine.Name}", (await CommandProcess.RunAsync("", "run", "--kernel", powerOff.Path, "--memory", "4M", "-v")).Errors);

    [Fact]
    public async Task WithoutATerminalStandardInputIsTheConsoleAsItIs()
    {
        // Ctrl-A is no escape here, and the end of the input does not end the Guest before it has read all.
        CommandResult result = await CommandProcess.RunAsync("\u0001x and all of it.", "run", "--kernel", echo.Path, "--memory", "4M");
        Assert.Equal(0, result.ExitStatus);
        Assert.StartsWith("\u0001x and all of it.", result.Output);
    }

    [Fact]
    public async Task HelpIsPrintedOnStandardOutput()
    {
        foreach (string option in new[] { "--help", "-h", "-?" })
        {
            CommandResult help = await CommandProcess.RunAsync("", option);
            Assert.Equal(0, help.ExitStatus);
            Assert.Contains("lguest [options] <megabytes> <kernel>", help.Output);
            Assert.Contains("Exit status:", help.Output);
            Assert.Equal("", help.Errors);
        }
        Assert.Contains("--engine", (await CommandProcess.RunAsync("", "run", "--help")).Output);
    }

    public void Dispose()
    {
        powerOff.Dispose();
        crash.Dispose();
        echo.Dispose();
    }

    private sealed class NamedFiles(Dictionary<string, byte[]> contents) : IDisposable
    {
        private readonly Dictionary<string, TemporaryFile> files = contents.ToDictionary(static pair => pair.Key, static pair => new TemporaryFile(pair.Value));

        public string Replace(string text) => files.Aggregate(text, static (t, file) => t.Replace(file.Key, file.Value.Path));

        public void Dispose()
        {
            foreach (TemporaryFile file in files.Values)
            {
                file.Dispose();
            }
        }
    }
}
