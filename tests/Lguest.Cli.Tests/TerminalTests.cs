// The user's terminal (ABI 10.9): lent to the Guest key by key, and given back as it was on every way out.

using System.Runtime.InteropServices;
using Iced.Intel;
using Lguest.Host;
using Lguest.Launcher.Tests;
using Lguest.Launcher.Tests.Pc;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.Cli.Tests;

public sealed class TerminalTests : IDisposable
{
    private const int HangUpSignal = 1;
    private const int InterruptSignal = 2;
    private const int QuitSignal = 3;
    private const int TerminateSignal = 15;
    private const int ContinueSignal = 18;
    private const int TerminalStopSignal = 20;

    private const uint LineModes = 0x1 | 0x2 | 0x8;

    private readonly TemporaryFile echo = new(ElfFile.WithCode(TinyGuest.Assemble(TinyGuest.EchoGuest)).ToBytes());
    private readonly TemporaryFile halt = new(ElfFile.WithCode(TinyGuest.Assemble(TinyGuest.HaltAfterGreeting)).ToBytes());

    [Fact]
    public async Task PowerOffGivesTheTerminalBack()
    {
        using PseudoTerminal terminal = Start(echo);
        byte[] before = await EnterAsync(terminal);
        terminal.Type("....");
        Assert.Equal(0, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
        Assert.Contains($"4 MiB, engine {ExpectedEngine.Name}; Ctrl-A x leaves", terminal.Screen);
    }

    [Fact]
    public async Task ControlAXLeaves()
    {
        using PseudoTerminal terminal = Start(halt);
        byte[] before = await EnterAsync(terminal);
        terminal.Type("\u0001x");
        Assert.Equal(0, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
    }

    [Fact]
    public async Task ThreeControlCQuitWithStatusTwo()
    {
        using PseudoTerminal terminal = Start(halt);
        byte[] before = await EnterAsync(terminal);
        // One key a time: three in one read are a paste, not a wish. A slow machine may need more than one attempt, but none while the
        // command is leaving: then the terminal is an ordinary one again, where Ctrl-C is a signal.
        for (int presses = 0; !terminal.Process.HasExited; presses++)
        {
            Assert.True(presses < 300, "three Ctrl-C do not quit");
            if (!terminal.Attributes.SequenceEqual(before))
            {
                terminal.Type("\u0003");
            }
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
        Assert.Equal(2, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
    }

    [Theory]
    [InlineData(HangUpSignal)]
    [InlineData(InterruptSignal)]
    [InlineData(QuitSignal)]
    [InlineData(TerminateSignal)]
    public async Task ASignalEndsTheGuestAndGivesTheTerminalBack(int signal)
    {
        using PseudoTerminal terminal = Start(halt);
        byte[] before = await EnterAsync(terminal);
        terminal.Signal(signal);
        Assert.Equal(128 + signal, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
    }

    [Fact]
    public async Task AClosedWindowEndsTheGuest()
    {
        using PseudoTerminal terminal = Start(halt);
        await EnterAsync(terminal);
        terminal.HangUp();
        Assert.Equal(128 + HangUpSignal, await terminal.WaitForExitAsync());
    }

    [Fact]
    public async Task AClosedWindowEndsAGuestThatIsWriting()
    {
        // Its output fails before the signal is there that says why.
        using var chatter = new TemporaryFile(ElfFile.WithCode(TinyGuest.Assemble(Chatter)).ToBytes());
        using PseudoTerminal terminal = Start(chatter);
        await EnterAsync(terminal);
        terminal.HangUp();
        Assert.Equal(128 + HangUpSignal, await terminal.WaitForExitAsync());

        static void Chatter(Assembler c)
        {
            TinyGuest.Greet(c);
            Label again = c.CreateLabel();
            c.Label(ref again);
            TinyGuest.Call(c, Hypercall.SendDma, 0, TinyGuest.List, 0);
            c.jmp(again);
        }
    }

    [Fact]
    public async Task AStoppedProcessLeavesTheTerminalUsable()
    {
        using PseudoTerminal terminal = Start(echo);
        byte[] before = await EnterAsync(terminal);
        terminal.Signal(TerminalStopSignal);
        await terminal.WaitForAttributesAsync(attributes => attributes.SequenceEqual(before));
        terminal.Signal(ContinueSignal);
        await terminal.WaitForAttributesAsync(IsRaw);
        terminal.Type("....");
        Assert.Equal(0, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
    }

    [Fact]
    public async Task EscapesDoNotReachTheGuestAndEverythingElseDoes()
    {
        using PseudoTerminal terminal = Start(echo);
        await EnterAsync(terminal);
        terminal.Type("ab\u0001hcd");
        await terminal.WaitForAsync("Ctrl-A a  send Ctrl-A");
        await terminal.WaitForAsync("abcd");
        terminal.Type("\u0001aq\u0001\u0001\r");
        await terminal.WaitForAsync("\u0001q\u0001\r");
        terminal.Type("....");
        Assert.Equal(0, await terminal.WaitForExitAsync());
    }

    [Fact]
    public async Task TheMonitorAnswersBesideTheGuest()
    {
        using PseudoTerminal terminal = Start(echo);
        await EnterAsync(terminal);
        terminal.Type("\u0001c");
        await terminal.WaitForAsync("(lguest) ");
        while (!terminal.Screen.Contains("BindDma", StringComparison.Ordinal))
        {
            int shown = terminal.Screen.Length;
            terminal.Type("inof\u007f\u007ffo\r");
            await terminal.WaitForAsync("hypercalls", from: shown);
            await terminal.WaitForAsync("(lguest) ", from: shown);
        }
        Assert.Contains($"engine        {ExpectedEngine.Name}", terminal.Screen);
        terminal.Type("dance\r");
        await terminal.WaitForAsync("dance: unknown; try help");
        terminal.Type("\u0001c....");
        Assert.Equal(0, await terminal.WaitForExitAsync());
    }

    [Fact]
    public async Task AGuestOnAPcLearnsTheTerminalsSize()
    {
        // The configuration space of a PC's last virtio device; the one before it is behind a BAR of 16 KiB, as all are.
        const uint Size = 0xE000_0000 + 0x4000 + 0x2000;
        using var program = new TemporaryFile(TinyProgram.Assemble(static c =>
        {
            Label again = c.CreateLabel(), same = c.CreateLabel();
            c.xor(ebx, ebx);
            c.Label(ref again);
            c.mov(eax, __dword_ptr[Size]);
            c.cmp(eax, ebx);
            c.je(same);
            // Columns and rows as letters.
            c.mov(ebx, eax);
            c.@out(0xE9, al);
            c.shr(eax, 16);
            c.@out(0xE9, al);
            c.mov(al, (sbyte)'\n');
            c.@out(0xE9, al);
            c.cmp(bl, (sbyte)'Q');
            Label end = c.CreateLabel();
            c.je(end);
            c.Label(ref same);
            c.jmp(again);
            c.Label(ref end);
            c.mov(al, 3);
            c.@out(0xF4, al);
        }));
        using var terminal = new PseudoTerminal("dotnet", CommandProcess.Program, "run", "--multiboot", program.Path, "--memory", "4M");
        terminal.Resize('A', 'B');
        await EnterAsync(terminal);
        await terminal.WaitForAsync("AB\r\n");
        terminal.Resize('C', 'D');
        await terminal.WaitForAsync("CD\r\n");
        terminal.Resize('Q', 'R');
        Assert.Equal(7, await terminal.WaitForExitAsync());
    }

    [Fact]
    public async Task QuitInTheMonitorLeaves()
    {
        using PseudoTerminal terminal = Start(halt);
        byte[] before = await EnterAsync(terminal);
        terminal.Type("\u0001cquit\r");
        Assert.Equal(0, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
    }

    [Fact]
    public async Task BadInputLeavesTheTerminalAlone()
    {
        using var terminal = new PseudoTerminal("dotnet", CommandProcess.Program, "16", "/no/such/kernel");
        byte[] before = terminal.FirstAttributes;
        Assert.Equal(1, await terminal.WaitForExitAsync());
        Assert.Equal(before, terminal.Attributes);
    }

    public void Dispose()
    {
        echo.Dispose();
        halt.Dispose();
    }

    private static bool IsRaw(byte[] attributes) => (MemoryMarshal.Cast<byte, uint>(attributes)[3] & LineModes) == 0;

    private static PseudoTerminal Start(TemporaryFile kernel) =>
        new("dotnet", CommandProcess.Program, "run", "--kernel", kernel.Path, "--memory", "4M");

    /// <summary>Waits until the Guest has the terminal.</summary>
    /// <returns>The terminal's modes before.</returns>
    private static async Task<byte[]> EnterAsync(PseudoTerminal terminal)
    {
        Assert.False(IsRaw(terminal.FirstAttributes));
        await terminal.WaitForAttributesAsync(IsRaw);
        return terminal.FirstAttributes;
    }
}
