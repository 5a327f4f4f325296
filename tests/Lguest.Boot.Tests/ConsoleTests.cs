// Debian's kernel with its shell at the virtio console: what a serial line does, and the size of the terminal.

using System.Security.Cryptography;
using System.Text;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public class ConsoleTests
{
    private const string CommandLine = "console=hvc0 cryptomgr.notests";

    [Theory]
    [InlineData(Engine.Translator)]
    [InlineData(Engine.Interpreter)]
    public async Task TheShellIsAtTheVirtioConsole(Engine engine)
    {
        Assert.SkipWhen(engine == Engine.Translator && !Lguest.X86.Engines.CanTranslate(out _), "no translator here");
        await using BootedGuest guest = await BootedGuest.StartAsync(options => DebianGuest.On(options) with { CommandLine = CommandLine, Engine = engine });
        Assert.Equal("/dev/hvc0\n", await guest.ExecuteAsync("tty"));
        guest.Resize(132, 43);
        Assert.Equal("43 132\n", await guest.ExecuteAsync("while [ \"$(stty size 2>/dev/null)\" != '43 132' ]; do sleep 0.1; done; stty size"));

        // More than all queues on the way hold, and than the line discipline would edit.
        string pasted = Convert.ToHexString(SHA512.HashData([1]));
        pasted = string.Concat(Enumerable.Range(0, 1000).Select(i => $"{i:D4}{pasted}"));
        string sum = Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(pasted)));
        await guest.AnswerAsync($"stty -icanon -echo; echo rea''dy; head -c {pasted.Length} | sha256sum; stty icanon echo", "ready\r\n");
        await guest.AnswerAsync(pasted, sum);

        // And as much the other way.
        Assert.Equal(string.Join('\n', Enumerable.Range(1, 20_000)) + "\n", await guest.ExecuteAsync("seq 1 20000"));
        await guest.AssertKernelIsContentAsync();
        await guest.RebootAsync();
        Assert.Equal("/dev/hvc0\n43 132\n", await guest.ExecuteAsync("tty; stty size"));
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }

    [Fact]
    public async Task AMessageAtBothConsolesLeavesTheKeyboardWithTheShell()
    {
        await using BootedGuest guest = await BootedGuest.StartAsync(options => DebianGuest.On(options) with { CommandLine = "console=ttyS0 " + CommandLine });
        Assert.Equal("/dev/hvc0\n", await guest.ExecuteAsync("tty"));
        // It comes when the shell waits for keys, and to the serial port last.
        await guest.AnswerAsync("(sleep 1; echo la''te >/dev/kmsg) &", "late\r\n");
        Assert.Equal("42\n", await guest.ExecuteAsync("echo $((6 * 7))"));

        // A program at the serial port has the keyboard while it speaks there.
        await guest.AnswerAsync("(exec </dev/ttyS0 >/dev/ttyS0; stty -echo; echo na''me; read name; echo \"hello $name\")", "name\r\n");
        await guest.AnswerAsync("you", "hello you\r\nlguest:~# ");
        Assert.Equal("42\n", await guest.ExecuteAsync("echo $((6 * 7))"));
        guest.Type("poweroff\n");
        Assert.Equal(MachineEnd.PowerOff, (await guest.WaitForEndAsync()).End);
    }

    [Fact]
    public async Task WhatIsTypedBeforeTheDriverIsThereReachesTheShell()
    {
        var output = new MemoryStream();
        await using var machine = new Machine(DebianGuest.On(new MachineOptions
        {
            Kernel = "",
            ConsoleInput = new MemoryStream("echo one''1\npoweroff -f\n"u8.ToArray()),
            ConsoleOutput = output,
        }) with
        { CommandLine = CommandLine });
        MachineResult result = await machine.RunAsync(TestContext.Current.CancellationToken)
            .WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Contains("\none1\r\n", Encoding.Latin1.GetString(output.ToArray()), StringComparison.Ordinal);
    }
}
