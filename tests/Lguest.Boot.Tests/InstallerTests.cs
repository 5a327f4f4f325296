// Debian's network installer for i386, with its own initrd, as far as one comes without a disk to install to: its menu, the shell behind it, and
// the network. It speaks through a terminal multiplexer (screen), so what it shows has control sequences between the words.

using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class InstallerTests
{
    [Fact]
    public async Task TheInstallerShowsItsMenuAndItsShellReachesTheHost()
    {
        string folder = MadeGuest.Make("debian/installer");
        using var file = new HostFile(1, 1 << 20);
        Task serving = file.ServeAsync();
        await using BootedGuest guest = await BootedGuest.StartAsync(
            options => options with
            {
                Platform = MachinePlatform.Pc,
                Kernel = Path.Combine(folder, "vmlinuz"),
                Initrd = Path.Combine(folder, "initrd.gz"),
                MemoryBytes = 512 << 20,
                // All its questions, from the first one, as plain lines.
                CommandLine = $"{DebianGuest.CommandLine} DEBIAN_FRONTEND=text priority=low",
                Devices = [new UserNetworkOptions()],
            },
            "Prompt: '?' for help, default=1> ");
        Assert.Matches(@"Debian installer main menu(.|\n)*1: Choose language", guest.Screen);
        await guest.AnswerAsync(ChoiceOf(guest.Screen, "Execute a shell"), "[Press enter to continue] ");
        await guest.AnswerAsync("", "~ # ");

        await guest.AnswerAsync("echo complaints: $(dmesg | grep -c -e WARN -e BUG -e Oops -e 'Call Trace')", "complaints: 0");
        await guest.AnswerAsync("ip addr add 10.0.2.15/24 dev enp0s1; ip link set enp0s1 up; echo network: $?", "network: 0");
        await guest.AnswerAsync($"wget -q -O - {file.Address} | sha256sum", file.Sum);
        await serving;
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }

    /// <summary>The number of a line of the menu.</summary>
    private static string ChoiceOf(string menu, string line) => System.Text.RegularExpressions.Regex.Match(menu, $@"(\d+): {line}").Groups[1].Value;
}
