// One terminal for several devices: the output of all in order, the input for one of them, each byte once.

using System.Diagnostics;
using System.IO.Pipelines;
using System.Text;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Pc;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests;

public class ConsoleSwitchTests
{
    private readonly MemoryStream screen = new();
    private readonly ConsoleInput input = new(null, TimeProvider.System, NullLogger.Instance);

    [Fact]
    public void OutputComesInOrderWhenALineEndsOrItIsWanted()
    {
        (ConsoleSwitch terminal, ConsolePort first, ConsolePort second) = Make(input);
        first.Write("a"u8);
        second.Write("b"u8);
        Assert.Equal(0, screen.Length);
        second.Write("c\nd\n"u8);
        first.Write("e"u8);
        Assert.Equal("abc\nd\n", Encoding.ASCII.GetString(screen.ToArray()));
        terminal.Flush();
        terminal.Flush();
        Assert.Equal("abc\nd\ne", Encoding.ASCII.GetString(screen.ToArray()));
    }

    [Fact]
    public void OutputOfAnyLengthArrivesWhole()
    {
        (ConsoleSwitch terminal, ConsolePort first, ConsolePort second) = Make(input);
        var expected = new MemoryStream();
        var random = new Random(1);
        for (int i = 0; i < 200; i++)
        {
            byte[] text = new byte[random.Next(0, 10_000)];
            random.NextBytes(text);
            expected.Write(text);
            (i % 3 == 0 ? first : second).Write(text);
        }
        terminal.Flush();
        Assert.Equal(expected.ToArray(), screen.ToArray());
    }

    [Fact]
    public void InputIsForWhoWasChosenLast()
    {
        (_, ConsolePort first, ConsolePort second) = Make(input);
        int told = 0;
        second.InputArrived = () => told++;
        second.Choose();
        second.Choose();
        first.Choose();
        Assert.Equal(0, told);
        Type("abc");
        Assert.Equal(("a", ""), (Take(first, 1), Take(second, 1)));
        second.Choose();
        Assert.Equal((1, false, true), (told, first.HasInput, second.HasInput));
        Assert.Equal(("", "bc"), (Take(first, 1), Take(second, 5)));
        second.Choose();
        Assert.Equal((1, false), (told, second.HasInput));
        Type("de");
        first.GiveUp();
        Assert.Equal("d", Take(second, 1));
        second.GiveUp();
        Assert.Equal("e", Take(first, 2));
    }

    [Fact]
    public void MessagesOfAKernelDoNotTakeTheInputToTheSerialPort()
    {
        (ConsoleSwitch terminal, ConsolePort first, ConsolePort second) = Make(input);
        var serial = new SerialConsole(terminal, first);
        Type("abcd");
        serial.Send((byte)'m', isPolled: true);
        Assert.True(serial.TryReceive(out byte typed));
        second.Choose();
        serial.Send((byte)'m', isPolled: true);
        serial.Print((byte)'p');
        Assert.False(serial.TryReceive(out _));
        Assert.Equal("b", Take(second, 1));
        serial.Send((byte)'t', isPolled: false);
        Assert.True(serial.TryReceive(out typed));
        Assert.Equal(('c', ""), ((char)typed, Take(second, 1)));
        serial.Flush();
        Assert.Equal("mmpt", Encoding.ASCII.GetString(screen.ToArray()));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(0)]
    public async Task WhileTheGuestChangesItsMindNoInputIsLostOrDoubled(int seed)
    {
        seed = seed == 0 ? Random.Shared.Next() : seed;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        var keyboard = new Pipe();
        (ConsoleSwitch terminal, ConsolePort first, ConsolePort second) =
            Make(new ConsoleInput(keyboard.Reader.AsStream(), TimeProvider.System, NullLogger.Instance));
        var typed = new MemoryStream();
        var arrived = new MemoryStream();
        var door = new Lock();
        using var waiting = new SemaphoreSlim(0);
        long taken = 0;

        void TakeInput(ConsolePort port)
        {
            byte[] buffer = new byte[16];
            lock (door)
            {
                for (int count; (count = port.Take(buffer)) > 0;)
                {
                    arrived.Write(buffer, 0, count);
                    Volatile.Write(ref taken, arrived.Length);
                }
            }
        }

        // As the serial port, which takes what there is on whatever thread tells it; the other device waits for the Guest's.
        first.InputArrived = () => TakeInput(first);
        second.InputArrived = () => waiting.Release();
        terminal.Start();
        var watch = Stopwatch.StartNew();
        for (int round = 0; round < 500; round++)
        {
            long before = typed.Length;
            byte[] keys = new byte[random.Next(1, 50)];
            random.NextBytes(keys);
            typed.Write(keys);
            ValueTask<FlushResult> typing = keyboard.Writer.WriteAsync(keys, TestContext.Current.CancellationToken);
            // Until the keys are on their way, and a little longer.
            for (int i = 0, rest = random.Next(1, 20); i < 50_000 && rest > 0; i++)
            {
                (random.Next(2) == 0 ? first : second).Choose();
                rest -= waiting.CurrentCount > 0 || Volatile.Read(ref taken) > before ? 1 : 0;
            }
            await typing;
            // Nobody chooses any more, and nobody looks who has not been told.
            while (Volatile.Read(ref taken) < typed.Length)
            {
                Assert.True(watch.Elapsed < TimeSpan.FromMinutes(2), $"{Volatile.Read(ref taken)} of {typed.Length} bytes have arrived");
                if (await waiting.WaitAsync(1, TestContext.Current.CancellationToken))
                {
                    TakeInput(second);
                }
            }
        }
        terminal.Stop();
        Assert.Equal(typed.ToArray(), arrived.ToArray());
    }

    private (ConsoleSwitch Terminal, ConsolePort First, ConsolePort Second) Make(ConsoleInput source)
    {
        var terminal = new ConsoleSwitch(source, screen);
        return (terminal, terminal.AddPort(), terminal.AddPort());
    }

    private void Type(string text) => Assert.True(input.Queue.AddAsync(Encoding.ASCII.GetBytes(text)).IsCompleted);

    private static string Take(ConsolePort port, int length)
    {
        byte[] bytes = new byte[length];
        return Encoding.ASCII.GetString(bytes, 0, port.Take(bytes));
    }
}
