// Whole machines with Guests of a few instructions: the run loop (ABI 10.8), the console (10.9), the Waker (3.6) and death (12.2).

using System.Diagnostics.Metrics;
using System.Text;
using Iced.Intel;
using Lguest.Host;
using static Iced.Intel.AssemblerRegisters;
using static Lguest.Launcher.Tests.TinyGuest;

namespace Lguest.Launcher.Tests;

public class MachineTests
{
    private const int MemoryBytes = 4 << 20;

    [Fact]
    public async Task TheReadmesFiveLinesRunAGuest()
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(static c => Crash(c, "Power down"))).ToBytes());
        Assert.Equal("PowerOff CRASH: Power down", await ReadmeExample.RunAsync(kernel.Path));
    }

    [Fact]
    public async Task PowerDownIsTheOrderlyEndAndEveryOtherCrashIsDeath()
    {
        Assert.Equal(new MachineResult(MachineEnd.PowerOff, "CRASH: Power down"), await RunAsync(static c => Crash(c, "Power down")));
        Assert.Equal(new MachineResult(MachineEnd.Death, "CRASH: Out of coffee"), await RunAsync(static c => Crash(c, "Out of coffee")));
        Assert.Equal(new MachineResult(MachineEnd.Death, "Bad hypercall 99\n"), await RunAsync(static c =>
        {
            Initialize(c);
            Call(c, 99, 0, 0, 0);
        }));
    }

    [Fact]
    public async Task AGuestThatRestartsStartsAgainUnlessThatShallEndIt()
    {
        static void Restart(Assembler c)
        {
            Greet(c);
            Store(c, Text, "Restarting\0");
            Call(c, Hypercall.Crash, Text, 0, 0);
        }
        Assert.Equal(new MachineResult(MachineEnd.Reset, "CRASH: Restarting"), await RunAsync(Restart, static o => o with { ResetEnds = true }));

        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(Restart)).ToBytes());
        using var stop = new CancellationTokenSource();
        var output = new CountingStream(3, stop.Cancel);
        await using var machine = new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes, ConsoleOutput = output });
        Task<MachineResult> run = machine.RunAsync(stop.Token);
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken)).End);
        Assert.True(machine.Statistics.HypercallsByNumber[(int)Hypercall.SendDma] >= 3);
    }

    [Fact]
    public async Task WhatTheGuestSendsToKeyZeroReachesTheConsole()
    {
        var output = new MemoryStream();
        MachineResult result = await RunAsync(
            static c =>
            {
                Initialize(c);
                Store(c, Text, "Hello, ");
                Store(c, Text + 100, "world\n");
                SetList(c, List, (Text, 7), (Text + 100, 6));
                Call(c, Hypercall.SendDma, 0, List, 0);
                // The first word of the list now counts what the console took: hand it over as the last word.
                c.mov(eax, __dword_ptr[PageOffset + List]);
                c.add(eax, 'A' - 13);
                c.mov(__dword_ptr[PageOffset + Text], eax);
                Call(c, Hypercall.Crash, Text, 0, 0);
            },
            o => o with { ConsoleOutput = output });
        Assert.Equal("Hello, world\n", Encoding.ASCII.GetString(output.ToArray()));
        Assert.Equal("CRASH: A", result.Reason);
    }

    [Fact]
    public async Task OutputToAnUnknownKeyDoesNotHarm()
    {
        Assert.Equal(MachineEnd.PowerOff, (await RunAsync(static c =>
        {
            Initialize(c);
            SetList(c, List, (0x3FF_F000, 4));
            Call(c, Hypercall.SendDma, 64, List, 0);
            PowerOff(c);
        })).End);
    }

    [Theory]
    [InlineData(MemoryBytes + 4096 - 99, 0u, "invalid address 4198301")]
    [InlineData(MemoryBytes + 4096 - 100, 0u, "invalid address 4198300")]
    [InlineData(List, 0xFFFF_FFFFu, "invalid address 4294967295")]
    [InlineData(List, (uint)MemoryBytes + 4096 - 8, "invalid address 4198392")]
    public async Task AListOrSectionOutsideTheGuestKillsIt(uint list, uint section, string reason)
    {
        MachineResult result = await RunAsync(c =>
        {
            Initialize(c);
            if (section != 0)
            {
                SetList(c, list, (Text, 4), (section, 8));
            }
            Call(c, Hypercall.SendDma, 0, list, 0);
            PowerOff(c);
        });
        Assert.Equal(new MachineResult(MachineEnd.Death, reason), result);
    }

    [Fact]
    public async Task InputWaitsUntilTheGuestHasABufferAndArrivesWhole()
    {
        // The Guest echoes what it gets, four bytes at a time, and powers off at a full stop. The input ends long before it has all come.
        byte[] typed = [.. Enumerable.Range(0, 300).Select(static i => (byte)('a' + (i % 26))), (byte)'.', 0, 0, 0];
        var output = new MemoryStream();
        MachineResult result = await RunAsync(EchoGuest, o => o with { ConsoleInput = new MemoryStream(typed), ConsoleOutput = output });
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Equal(typed[..301], output.ToArray()[..301]);
    }

    [Fact]
    public async Task AHaltedGuestIsStoppedByTheToken()
    {
        using var stop = new CancellationTokenSource();
        var started = new SignalStream();
        Task<MachineResult> run = RunAsync(HaltAfterGreeting, o => o with { ConsoleOutput = started }, stop);
        await started.Written;
        Assert.False(run.IsCompleted);
        await stop.CancelAsync();
        Assert.Equal(new MachineResult(MachineEnd.Stopped, ""), await run);
    }

    [Fact]
    public async Task ABusyGuestIsStoppedByTheToken()
    {
        using var stop = new CancellationTokenSource();
        var started = new SignalStream();
        Task<MachineResult> run = RunAsync(
            static c =>
            {
                Greet(c);
                Label forever = c.CreateLabel();
                c.Label(ref forever);
                c.jmp(forever);
            },
            o => o with { ConsoleOutput = started },
            stop);
        await started.Written;
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
    }

    [Fact]
    public async Task DisposingARunningMachineStopsIt()
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(HaltAfterGreeting)).ToBytes());
        var started = new SignalStream();
        var machine = new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes, ConsoleInput = new SilentStream(), ConsoleOutput = started });
        Task<MachineResult> run = machine.RunAsync(TestContext.Current.CancellationToken);
        await started.Written;
        await machine.DisposeAsync();
        await machine.DisposeAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => machine.RunAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task AMachineRunsOnlyOnce()
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(static c => Crash(c, "Power down"))).ToBytes());
        await using var machine = new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes });
        await machine.RunAsync(TestContext.Current.CancellationToken);
        await Assert.ThrowsAsync<InvalidOperationException>(() => machine.RunAsync(TestContext.Current.CancellationToken));
    }

    [Theory]
    [InlineData(0, 0, 1, MachineEnd.Quit)]
    [InlineData(0, 1, 1, MachineEnd.Quit)]
    [InlineData(0, 1, 2, MachineEnd.Stopped)]
    public async Task ThreeControlCWithinASecondQuit(int first, int second, int third, MachineEnd end)
    {
        using var stop = new CancellationTokenSource();
        var time = new SettableTime();
        var started = new SignalStream();
        var input = new TypedStream();
        Task<MachineResult> run = RunAsync(HaltAfterGreeting, o => o with { ConsoleInput = input, ConsoleOutput = started }, stop, time);
        await started.Written;
        foreach (int at in new[] { first, second, third })
        {
            time.Second = at;
            await input.TypeAsync(3);
        }
        await input.TypeAsync((byte)'x');
        if (end == MachineEnd.Stopped)
        {
            await stop.CancelAsync();
        }
        Assert.Equal(end, (await run).End);
    }

    [Theory]
    [InlineData(new byte[] { 3 }, new byte[] { (byte)'a' }, new byte[] { 3 }, new byte[] { 3 })]
    [InlineData(new byte[] { 3, 3, 3 }, new byte[] { 3 }, new byte[] { 3 }, new byte[] { 3, 3 })]
    public async Task OtherInputInBetweenResetsTheCount(params byte[][] typed)
    {
        using var stop = new CancellationTokenSource();
        var started = new SignalStream();
        var input = new TypedStream();
        Task<MachineResult> run = RunAsync(HaltAfterGreeting, o => o with { ConsoleInput = input, ConsoleOutput = started }, stop, new SettableTime());
        await started.Written;
        foreach (byte[] keys in typed)
        {
            await input.TypeAsync(keys);
        }
        await stop.CancelAsync();
        Assert.Equal(MachineEnd.Stopped, (await run).End);
    }

    [Fact]
    public async Task AnOutputStreamThatFailsEndsTheRunWithItsException()
    {
        var error = await Assert.ThrowsAsync<IOException>(() => RunAsync(HaltAfterGreeting, static o => o with { ConsoleOutput = new FailingStream() }));
        Assert.Equal("gone", error.Message);
    }

    [Fact]
    public async Task AHostHasRoomForAsManyGuestsAsItSays()
    {
        var host = new LguestHost(1);
        using var stop = new CancellationTokenSource();
        var started = new SignalStream();
        Task<MachineResult> first = RunAsync(HaltAfterGreeting, o => o with { Host = host, ConsoleOutput = started }, stop);
        await started.Written;
        await Assert.ThrowsAsync<MachineConfigurationException>(() => RunAsync(static c => Crash(c, "Power down"), o => o with { Host = host }));
        await stop.CancelAsync();
        await first;
        Assert.Equal(MachineEnd.PowerOff, (await RunAsync(static c => Crash(c, "Power down"), o => o with { Host = host })).End);
    }

    [Fact]
    public async Task TheMeterCountsWhatGuestsDoAndNeverGoesBack()
    {
        using var listener = new MeterListener();
        var values = new Dictionary<string, long>();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (instrument.Meter.Name == "Lguest")
            {
                l.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) =>
            values[instrument.Name + string.Concat(tags.ToArray().Select(static t => $" {t.Key}={t.Value}"))] = value);

        await RunAsync(static c => Crash(c, "Power down"));
        listener.Start();
        listener.RecordObservableInstruments();
        var before = new Dictionary<string, long>(values);
        await RunAsync(static c => Crash(c, "Power down"));
        listener.RecordObservableInstruments();

        // Other tests may run at the same time, so these are lower bounds.
        Assert.True(values["lguest.hypercalls number=2"] >= before["lguest.hypercalls number=2"] + 1);
        Assert.True(values["lguest.exits trap=31"] >= before["lguest.exits trap=31"] + 2);
        Assert.True(values["lguest.page_faults"] > before["lguest.page_faults"]);
        Assert.True(values["lguest.instructions"] > before["lguest.instructions"]);
    }

    private static async Task<MachineResult> RunAsync(
        Action<Assembler> code, Func<MachineOptions, MachineOptions>? change = null, CancellationTokenSource? stop = null, TimeProvider? time = null)
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(code)).ToBytes());
        var options = new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes };
        await using var machine = new Machine(change?.Invoke(options) ?? options, time ?? TimeProvider.System);
        return await machine.RunAsync(stop?.Token ?? TestContext.Current.CancellationToken);
    }
}
