// Whole PCs with programs of a few instructions: how they begin, talk, sleep and end.

using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using static Lguest.Launcher.Tests.Pc.TinyProgram;

namespace Lguest.Launcher.Tests.Pc;

public class PcMachineTests
{
    private const byte DebugExit = 0xF4, DebugPort = 0xE9;
    private const int SerialPort = 0x3F8, PowerControl = 0x604;

    [Theory]
    [InlineData(Engine.Interpreter)]
    [InlineData(Engine.Translator)]
    public async Task AProgramChoosesItsExitStatus(Engine engine)
    {
        MachineResult result = await RunAsync(
            static c =>
            {
                c.mov(al, 0x21);
                c.@out(DebugExit, al);
                Stop(c);
            },
            options => options with { Engine = engine });
        Assert.Equal((MachineEnd.ProgramExit, 0x43), (result.End, result.Status));
    }

    [Fact]
    public async Task PowerOffResetHaltAndTripleFaultAreDifferentEnds()
    {
        Assert.Equal(MachineEnd.PowerOff, (await RunAsync(static c => WritePort(c, PowerControl, 0x3400, 2))).End);
        // A sleeping state that the tables do not name is no sleep.
        Assert.Equal(MachineEnd.Halted, (await RunAsync(static c => WritePort(c, PowerControl, 0x2400, 2))).End);
        Assert.Equal(MachineEnd.Reset, (await RunAsync(static c => WritePort(c, 0x64, 0xFE, 1), static o => o with { ResetEnds = true })).End);
        Assert.Equal(MachineEnd.Reset, (await RunAsync(static c => WritePort(c, 0x92, 1, 1), static o => o with { ResetEnds = true })).End);
        MachineResult halted = await RunAsync(static c => c.hlt());
        Assert.Equal((MachineEnd.Halted, $"halted with interrupts off at CS 0x0, EIP 0x{Entry + 1:x}"), (halted.End, halted.Reason));
        MachineResult fault = await RunAsync(static c =>
        {
            // Gates are there, none of them is present.
            c.mov(__word_ptr[0x8000], 0x7FF);
            c.lidt(__[0x8000]);
            c.ud2();
        });
        Assert.Equal(MachineEnd.Death, fault.End);
        Assert.StartsWith($"triple fault at CS 0x0, EIP 0x{Entry + 16:x}", fault.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AResetStartsTheImageAgainWithEmptyMemoryAndTheSameConsole()
    {
        var output = new MemoryStream();
        MachineResult result = await RunAsync(
            static c =>
            {
                const int Note = 0x9000, Pointer = 0x8000;
                Label wait = c.CreateLabel(), keyboard = c.CreateLabel(), gates = c.CreateLabel(), end = c.CreateLabel();
                // What an earlier life has noted would be printed instead of a 0.
                c.mov(al, __byte_ptr[Note]);
                c.add(al, (sbyte)'0');
                c.@out(DebugPort, al);
                c.inc(__byte_ptr[Note]);
                WritePortByte(c, SerialPort + 4, 0x0B);
                c.Label(ref wait);
                c.mov(dx, SerialPort + 5);
                c.@in(al, dx);
                c.test(al, 1);
                c.je(wait);
                c.mov(dx, SerialPort);
                c.@in(al, dx);
                c.@out(DebugPort, al);
                c.cmp(al, (sbyte)'k');
                c.je(keyboard);
                c.cmp(al, (sbyte)'g');
                c.je(gates);
                c.cmp(al, (sbyte)'q');
                c.je(end);
                WritePort(c, 0x92, 1, 1);
                c.Label(ref keyboard);
                WritePort(c, 0x64, 0xFE, 1);
                c.Label(ref gates);
                c.mov(__dword_ptr[Pointer], 0);
                c.mov(__dword_ptr[Pointer + 4], 0);
                c.lidt(__[Pointer]);
                c.int3();
                c.Label(ref end);
                WritePort(c, PowerControl, 0x3400, 2);
            },
            // A byte that waits in the receiver when the reset comes is lost: the dots.
            options => options with { ConsoleInput = new MemoryStream("k.g.9.q"u8.ToArray()), ConsoleOutput = output });
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Equal("0k0g090q", Encoding.ASCII.GetString(output.ToArray()));
    }

    [Fact]
    public async Task AMultibootProgramFindsItsCommandLineMemoryAndModule()
    {
        var output = new MemoryStream();
        using var module = new TemporaryFile("I am a module\n"u8.ToArray());
        MachineResult result = await RunAsync(
            static c =>
            {
                Label wrong = c.CreateLabel();
                c.cmp(eax, 0x2BAD_B002);
                c.jne(wrong);
                c.mov(esi, __dword_ptr[ebx + 16]);
                PrintText(c);
                c.cmp(__dword_ptr[ebx + 20], 1);
                c.jne(wrong);
                c.mov(esi, __dword_ptr[ebx + 24]);
                c.mov(esi, __dword_ptr[esi]);
                PrintText(c);
                // 4 MiB without the first.
                c.cmp(__dword_ptr[ebx + 8], 3 * 1024);
                c.jne(wrong);
                WritePort(c, PowerControl, 0x3400, 2);
                c.Label(ref wrong);
                c.hlt();
            },
            options => options with { CommandLine = "one two\n", Initrd = module.Path, ConsoleOutput = output });
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Equal("one two\nI am a module\n", Encoding.ASCII.GetString(output.ToArray()));
    }

    [Theory]
    [InlineData(12, 0)]
    // More than all queues on the way hold.
    [InlineData(200_000, 0)]
    [InlineData(200_000, 0xC7)]
    public async Task TheSerialPortIsTheConsoleAndInputWakesASleeperAndNoneIsLost(int length, byte fifo)
    {
        byte[] typed = [.. Enumerable.Range(0, length).Select(static i => (byte)('a' + (i % 23)))];
        var output = new MemoryStream();
        MachineResult result = await RunAsync(
            c =>
            {
                InstallInterrupts(c, serialMask: 0xEF);
                WritePortByte(c, SerialPort + 2, fifo);
                WritePortByte(c, SerialPort + 4, 0x0A);
                WritePortByte(c, SerialPort + 1, 1);
                Label wait = c.CreateLabel(), end = c.CreateLabel();
                c.Label(ref wait);
                c.cli();
                c.mov(dx, SerialPort + 5);
                c.@in(al, dx);
                c.test(al, 1);
                Label got = c.CreateLabel();
                c.jne(got);
                c.sti();
                c.hlt();
                c.jmp(wait);
                c.Label(ref got);
                c.mov(dx, SerialPort);
                c.@in(al, dx);
                c.cmp(al, (sbyte)'.');
                c.je(end);
                c.@out(dx, al);
                c.jmp(wait);
                c.Label(ref end);
                WritePort(c, PowerControl, 0x3400, 2);
                c.hlt();
            },
            options => options with { ConsoleInput = new MemoryStream([.. typed, (byte)'.']), ConsoleOutput = output });
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Equal(typed, output.ToArray());
    }

    [Fact]
    public async Task TheTimerWakesASleeper()
    {
        MachineResult result = await RunAsync(static c =>
        {
            InstallInterrupts(c, serialMask: 0xFE);
            // Mode 2, 1193 ticks: a millisecond. Sleep a hundred of them.
            WritePortByte(c, 0x43, 0x34);
            WritePortByte(c, 0x40, 0xA9);
            WritePortByte(c, 0x40, 0x04);
            c.mov(ecx, 100);
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.sti();
            c.hlt();
            c.dec(ecx);
            c.jne(again);
            WritePort(c, PowerControl, 0x3400, 2);
        });
        Assert.Equal(MachineEnd.PowerOff, result.End);
    }

    [Theory]
    [InlineData(Engine.Interpreter)]
    [InlineData(Engine.Translator)]
    public async Task TheTimerInterruptsWhoComputesAfterASleep(Engine engine)
    {
        MachineResult result = await RunAsync(
            static c =>
            {
                InstallInterrupts(c, serialMask: 0xFE);
                WritePortByte(c, 0x43, 0x34);
                WritePortByte(c, 0x40, 0xA9);
                WritePortByte(c, 0x40, 0x04);
                c.mov(ecx, 100);
                Label again = c.CreateLabel(), computing = c.CreateLabel();
                c.Label(ref again);
                c.sti();
                c.hlt();
                // An interrupt leaves its frame below the stack.
                c.mov(__dword_ptr[esp - 4], 0);
                c.Label(ref computing);
                c.cmp(__dword_ptr[esp - 4], 0);
                c.je(computing);
                c.dec(ecx);
                c.jne(again);
                WritePort(c, PowerControl, 0x3400, 2);
            },
            options => options with { Engine = engine });
        Assert.Equal(MachineEnd.PowerOff, result.End);
    }

    [Fact]
    public async Task WhatWasSaidIsSeenBeforeTheGuestSleeps()
    {
        var output = new SignalStream();
        using var program = new TemporaryFile(Assemble(static c =>
        {
            WritePortByte(c, SerialPort, (byte)'?');
            c.sti();
            c.hlt();
        }));
        await using Machine machine = Build(program, options => options with { ConsoleOutput = output });
        Task<MachineResult> run = machine.RunAsync(TestContext.Current.CancellationToken);
        await output.Written.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        Assert.False(run.IsCompleted);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task APausedPcStandsStillAndAStoppedOneEnds(bool sleeps)
    {
        using var program = new TemporaryFile(Assemble(c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            if (sleeps)
            {
                c.sti();
                c.hlt();
            }
            c.jmp(again);
        }));
        await using Machine machine = Build(program);
        using var stop = new CancellationTokenSource();
        Task<MachineResult> run = machine.RunAsync(stop.Token);
        await machine.PauseAsync().WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
        long stands = machine.Statistics.Instructions;
        await Task.Delay(50, TestContext.Current.CancellationToken);
        Assert.Equal(stands, machine.Statistics.Instructions);
        machine.Resume();
        stop.Cancel();
        Assert.Equal(MachineEnd.Stopped, (await run.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken)).End);
    }

    [Fact]
    public async Task ThreeControlCEndAPcThatDoesNotListen()
    {
        var keyboard = new System.IO.Pipelines.Pipe();
        using var program = new TemporaryFile(Assemble(static c =>
        {
            Label again = c.CreateLabel();
            c.Label(ref again);
            c.jmp(again);
        }));
        await using Machine machine = Build(program, options => options with { ConsoleInput = keyboard.Reader.AsStream() });
        Task<MachineResult> run = machine.RunAsync(TestContext.Current.CancellationToken);
        while (!run.IsCompleted)
        {
            await keyboard.Writer.WriteAsync(new byte[] { 3 }, TestContext.Current.CancellationToken);
            await Task.Delay(20, TestContext.Current.CancellationToken);
        }
        Assert.Equal(MachineEnd.Quit, (await run).End);
    }

    [Fact]
    public async Task ARomStartsAtTheResetVectorAndIsSeenBelowOneMebibyte()
    {
        byte[] rom = [.. Enumerable.Repeat((byte)0xF4, 0x1_0000)];
        // F000:FFF0 jumps to F000:0100, which exits with 2 * 3 + 1.
        new byte[] { 0xEA, 0x00, 0x01, 0x00, 0xF0 }.CopyTo(rom, 0xFFF0);
        new byte[] { 0xB0, 0x03, 0xE6, DebugExit }.CopyTo(rom, 0x100);
        using var file = new TemporaryFile(rom);
        await using Machine machine = Build(file, static options => options with { ImageFormat = ImageFormat.Rom });
        MachineResult result = await machine.RunAsync(TestContext.Current.CancellationToken);
        Assert.Equal((MachineEnd.ProgramExit, 7), (result.End, result.Status));
    }

    [Fact]
    public void MistakesAreOneLineOfText()
    {
        using var nothing = new TemporaryFile(new byte[100_000]);
        using var program = new TemporaryFile(Assemble(static c => c.hlt()));
        Refuses("no multiboot header", nothing, static options => options);
        Refuses("multiple of 64 KiB", nothing, static options => options with { ImageFormat = ImageFormat.Rom });
        Refuses("neither a vmlinux (ELF) nor a bzImage", nothing, static options => options with { ImageFormat = ImageFormat.Linux });
        Refuses("does not exist", program, static options => options with { Kernel = "/nowhere" });
        Refuses("does not exist", program, static options => options with { Initrd = "/nowhere" });
        Refuses("too small", program, static options => options with { MemoryBytes = 1 << 20 });
        Refuses("too large", program, static options => options with { MemoryBytes = 4L << 30 });
        Refuses("multiple of 4096", program, static options => options with { MemoryBytes = (4 << 20) + 1 });
        Refuses("characters", program, static options => options with { CommandLine = new string('x', 5000) });
        using var large = new TemporaryFile(new byte[4 << 20]);
        Refuses("kernel and initrd alone need 6 MiB", program, options => options with { Initrd = large.Path });

        static void Refuses(string what, TemporaryFile file, Func<MachineOptions, MachineOptions> change)
        {
            var error = Assert.Throws<MachineConfigurationException>(() => Build(file, change));
            Assert.Contains(what, error.Message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', error.Message);
        }
    }

    [Fact]
    public void AKernelPackedByXzOrZstandardIsUnpackedOrLeftToItsLoader()
    {
        // A bzImage whose payload is no kernel: its own loader gets the machine.
        byte[] file = new byte[4096];
        file[0x1F1] = 1;
        "HdrS"u8.CopyTo(file.AsSpan(0x202));
        file[0x206] = 0x0F;
        file[0x207] = 0x02;
        file[0x211] = 1;
        file[0x24C] = 64;
        foreach (byte[] magic in new byte[][] { [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0], [0x28, 0xB5, 0x2F, 0xFD], [0x89, (byte)'L', (byte)'Z'] })
        {
            magic.CopyTo(file, 1024);
            using var kernel = new TemporaryFile(file);
            using var image = Lguest.Launcher.Pc.LinuxImage.Open(kernel.Path);
            Assert.Equal(0x0010_0000u, image.Entry);
        }
        // A program that is no Linux (memtest86+) has the header and nothing to unpack: it gets the machine, too.
        file[0x24C] = 0;
        using var program = new TemporaryFile(file);
        using (var image = Lguest.Launcher.Pc.LinuxImage.Open(program.Path))
        {
            Assert.Equal(0x0010_0000u, image.Entry);
        }
        // What claims more than the file has is damaged.
        file[0x24D] = 0xFF;
        using var cut = new TemporaryFile(file);
        Assert.Contains("truncated", Assert.Throws<MachineConfigurationException>(() => Lguest.Launcher.Pc.LinuxImage.Open(cut.Path)).Message);
    }

    private static void Stop(Assembler c)
    {
        c.cli();
        c.hlt();
    }

    private static void WritePort(Assembler c, int port, int value, int size)
    {
        c.mov(dx, (short)port);
        c.mov(eax, value);
        if (size == 2)
        {
            c.@out(dx, ax);
        }
        else
        {
            c.@out(dx, al);
        }
        Stop(c);
    }

    private static void WritePortByte(Assembler c, int port, byte value)
    {
        c.mov(dx, (short)port);
        c.mov(al, value);
        c.@out(dx, al);
    }

    /// <summary>Prints the text at ESI, up to its 0 or the end of its line.</summary>
    private static void PrintText(Assembler c)
    {
        Label next = c.CreateLabel(), end = c.CreateLabel();
        c.Label(ref next);
        c.lodsb();
        c.test(al, al);
        c.je(end);
        c.@out(DebugPort, al);
        c.cmp(al, (sbyte)'\n');
        c.jne(next);
        c.Label(ref end);
        c.nop();
    }

    /// <summary>Makes a GDT, an IDT whose 256 gates end the interrupt, and initialises the interrupt controllers to vectors 20h and 28h.</summary>
    private static void InstallInterrupts(Assembler c, byte serialMask)
    {
        const int Gdt = 0x2000, Idt = 0x3000, Pointer = 0x2F00, Handler = 0x2800, Stack = 0x9000;
        c.mov(esp, Stack);
        c.mov(__dword_ptr[Gdt + 8], 0x0000_FFFF);
        c.mov(__dword_ptr[Gdt + 12], 0x00CF_9B00);
        c.mov(__word_ptr[Pointer], 15);
        c.mov(__dword_ptr[Pointer + 2], Gdt);
        c.lgdt(__[Pointer]);
        // CS by a far return to behind it: the five bytes of ADD and RETF.
        Label here = c.CreateLabel();
        c.push(8);
        c.call(here);
        c.Label(ref here);
        c.add(__dword_ptr[esp], 5);
        c.retf();
        // mov al,20h; out 20h,al; iret - with EAX saved around it.
        byte[] handler = [0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF];
        for (int i = 0; i < handler.Length; i++)
        {
            c.mov(__byte_ptr[Handler + i], handler[i]);
        }
        c.mov(edi, Idt);
        c.mov(ecx, 256);
        Label gate = c.CreateLabel();
        c.Label(ref gate);
        c.mov(__dword_ptr[edi], (8 << 16) | Handler);
        c.mov(__dword_ptr[edi + 4], 0x8E00);
        c.add(edi, 8);
        c.dec(ecx);
        c.jne(gate);
        c.mov(__word_ptr[Pointer], (256 * 8) - 1);
        c.mov(__dword_ptr[Pointer + 2], Idt);
        c.lidt(__[Pointer]);
        foreach ((int port, byte vector, byte cascade) in new[] { (0x20, (byte)0x20, (byte)4), (0xA0, (byte)0x28, (byte)2) })
        {
            WritePortByte(c, port, 0x11);
            WritePortByte(c, port + 1, vector);
            WritePortByte(c, port + 1, cascade);
            WritePortByte(c, port + 1, 1);
        }
        WritePortByte(c, 0x21, serialMask);
        WritePortByte(c, 0xA1, 0xFF);
    }
}
