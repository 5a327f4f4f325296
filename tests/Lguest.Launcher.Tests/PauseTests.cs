// A paused machine stands still, whatever its Guest was doing, keeps what comes in, and goes on where it stood.

using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Lguest.Launcher.Tests.TinyGuest;

namespace Lguest.Launcher.Tests;

public class PauseTests
{
    private const int MemoryBytes = 4 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task ABusyGuestExecutesNothingWhilePaused()
    {
        await using Machine machine = Make(Busy, out SignalStream started);
        Task<MachineResult> run = machine.RunAsync(Token);
        await started.Written;
        for (int round = 0; round < 20; round++)
        {
            await machine.PauseAsync();
            Assert.True(machine.IsPaused);
            long before = machine.Statistics.Instructions;
            await Task.Delay(5, Token);
            Assert.Equal(before, machine.Statistics.Instructions);
            machine.Resume();
            Assert.False(machine.IsPaused);
            while (machine.Statistics.Instructions == before)
            {
                await Task.Delay(1, Token);
            }
        }
        Assert.False(run.IsCompleted);
    }

    [Fact]
    public async Task InputThatComesDuringAPauseWaitsForTheResume()
    {
        var input = new TypedStream();
        var output = new MemoryStream();
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(EchoGuest)).ToBytes());
        await using var machine = new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes, ConsoleInput = input, ConsoleOutput = output });
        Task<MachineResult> run = machine.RunAsync(Token);
        await machine.PauseAsync();
        await input.TypeAsync((byte)'a', (byte)'.', (byte)'.', (byte)'.');
        await input.TypeAsync((byte)'.');
        Assert.Equal(0, output.Length);
        machine.Resume();
        Assert.Equal(MachineEnd.PowerOff, (await run).End);
        Assert.StartsWith("a...", Encoding.ASCII.GetString(output.ToArray()));
    }

    [Fact]
    public async Task AMachineThatIsPausedBeforeItRunsStartsPaused()
    {
        await using Machine machine = Make(static c => Crash(c, "Power down"), out _);
        await machine.PauseAsync();
        Task<MachineResult> run = machine.RunAsync(Token);
        await Task.Delay(20, Token);
        Assert.False(run.IsCompleted);
        Assert.Equal(0, machine.Statistics.Instructions);
        machine.Resume();
        Assert.Equal(MachineEnd.PowerOff, (await run).End);
    }

    [Fact]
    public async Task APausedMachineCanBeStoppedAndDisposed()
    {
        using var stop = new CancellationTokenSource();
        Machine machine = Make(Busy, out SignalStream started);
        Task<MachineResult> run = machine.RunAsync(stop.Token);
        await started.Written;
        await machine.PauseAsync();
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
        await machine.PauseAsync();
        await machine.DisposeAsync();

        Machine second = Make(HaltAfterGreeting, out started);
        run = second.RunAsync(Token);
        await started.Written;
        await second.PauseAsync();
        await second.DisposeAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
    }

    [Fact]
    public async Task PausesThatCrossTheGuestsEndComplete()
    {
        for (int round = 0; round < 50; round++)
        {
            await using Machine machine = Make(static c => Crash(c, "Power down"), out _);
            Task<MachineResult> run = machine.RunAsync(Token);
            await machine.PauseAsync();
            machine.Resume();
            Assert.Equal(MachineEnd.PowerOff, (await run).End);
        }
    }

    private static void Busy(Assembler c)
    {
        Greet(c);
        Label forever = c.CreateLabel();
        c.Label(ref forever);
        c.inc(eax);
        c.jmp(forever);
    }

    private static Machine Make(Action<Assembler> code, out SignalStream started)
    {
        started = new SignalStream();
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(code)).ToBytes());
        return new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes, ConsoleOutput = started });
    }
}
