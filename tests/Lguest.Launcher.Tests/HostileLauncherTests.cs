// What the Launcher takes from those it must not trust: kernel files of any contents, and Guests that say the same thing a million times or
// die at the worst moment.

using System.Buffers.Binary;
using System.IO.Compression;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio;
using Microsoft.Extensions.Logging;
using static Iced.Intel.AssemblerRegisters;
using static Lguest.Launcher.Tests.TinyGuest;

namespace Lguest.Launcher.Tests;

public class HostileLauncherTests
{
    private const int MemoryBytes = 4 << 20;

    private static readonly uint[] Edges = [0, 1, 2, 3, 4, 31, 32, 52, 4095, 4096, 0x10_0000, 0x3F_F000, 0x3F_FFFF, 0x40_0000, 0x7FFF_FFFF, 0xBFF0_0000, 0xC000_0000, 0xFFC0_0000, 0xFFFF_FFFF];

    public static TheoryData<int> Seeds => [1, Random.Shared.Next(2, int.MaxValue)];

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task AKernelFileOfAnyContents_IsAMachineOrOneLineOfText(int seed)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        int machines = 0, refusals = 0;
        for (int round = 0; round < 400; round++)
        {
            byte[] contents = random.Next(3) switch
            {
                0 => Mutate(random, Packed(ElfFile.WithCode([0x90]).ToBytes())),
                1 => Packed(Mutate(random, Raw())),
                _ => Mutate(random, Elf()),
            };
            using var kernel = new TemporaryFile(contents);
            try
            {
                await using var machine = new Machine(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes });
                machines++;
            }
            catch (MachineConfigurationException error)
            {
                refusals++;
                Assert.DoesNotContain('\n', error.Message);
            }
        }
        Assert.True(machines > 20 && refusals > 20, $"{machines} machines, {refusals} refusals");
    }

    [Fact]
    public void AFileThatIsLargerThanAnyKernel_IsRefusedUnread()
    {
        using var disk = new TemporaryFile([]);
        using (FileStream file = File.OpenWrite(disk.Path))
        {
            file.SetLength(5L << 30);
        }
        var error = Assert.Throws<MachineConfigurationException>(() => new Machine(new MachineOptions { Kernel = disk.Path, MemoryBytes = MemoryBytes }));
        Assert.Contains("is neither a vmlinux (ELF) nor a bzImage", error.Message);
    }

    [Fact]
    public async Task AGuestThatSendsToNobodyWithoutEnd_IsMentionedOnce()
    {
        var warnings = new CountingLogger();
        MachineResult result = await RunAsync(
            static c =>
            {
                Initialize(c);
                c.mov(esi, 1000);
                var again = c.CreateLabel();
                c.Label(ref again);
                Call(c, Lguest.Host.Hypercall.SendDma, 64, List, 0);
                c.dec(esi);
                c.jne(again);
                PowerOff(c);
            },
            options => options with { Logger = warnings });
        Assert.Equal(MachineEnd.PowerOff, result.End);
        Assert.Equal(1, warnings.Count);
    }

    [Fact]
    public async Task AGuestThatDiesWhileItsDeviceAnswers_DiesOfItsOwnReason()
    {
        MachineResult result = await RunAsync(
            static c =>
            {
                Initialize(c);
                Call(c, Lguest.Host.Hypercall.BindDma, UntimelyDevice.Key, InputList, (1 << 8) | 1);
                Call(c, Lguest.Host.Hypercall.SendDma, UntimelyDevice.Key, List, 0);
                PowerOff(c);
            },
            static options => options with { Devices = [new UntimelyOptions()] });
        Assert.Equal(new MachineResult(MachineEnd.Death, "bad registered DMA buffer"), result);
    }

    private static async Task<MachineResult> RunAsync(Action<Iced.Intel.Assembler> code, Func<MachineOptions, MachineOptions> change)
    {
        using var kernel = new TemporaryFile(ElfFile.WithCode(Assemble(code)).ToBytes());
        await using var machine = new Machine(change(new MachineOptions { Kernel = kernel.Path, MemoryBytes = MemoryBytes }));
        return await machine.RunAsync(TestContext.Current.CancellationToken);
    }

    private static byte[] Elf() => new ElfFile
    {
        Segments =
        [
            new ElfSegment(0xC010_0000, 0x0010_0000, [.. "GenuineLguest"u8, .. new byte[100]]) { MemorySize = 0x2000 },
            new ElfSegment(0xC012_0000, 0x0012_0000, new byte[3000]),
            new ElfSegment(0, 0x5000, [9]) { Type = 4 },
        ],
    }.ToBytes();

    /// <summary>A raw kernel that reveals its page offset.</summary>
    private static byte[] Raw() => [.. Enumerable.Repeat<byte[]>([0xA1, 0, 0, 0, 0xC0], 5).SelectMany(static load => load), .. "GenuineLguest"u8, .. new byte[500]];

    /// <summary>A bzImage around a kernel.</summary>
    private static byte[] Packed(byte[] kernel)
    {
        var file = new MemoryStream();
        file.Write(new byte[100]);
        // An empty stream would get no header at all.
        kernel = kernel.Length == 0 ? [0] : kernel;
        long start = file.Position;
        using (var gzip = new GZipStream(file, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(kernel);
        }
        byte[] bytes = file.ToArray();
        // "Made on Unix", as the search demands.
        bytes[start + 9] = 3;
        return bytes;
    }

    /// <summary>Changes a few bytes, or words to edges, mostly at the front where the headers are; sometimes cuts the end off.</summary>
    private static byte[] Mutate(Random random, byte[] contents)
    {
        for (int changes = random.Next(4); changes > 0; changes--)
        {
            int place = random.Next(4) == 0 ? random.Next(contents.Length - 4) : random.Next(Math.Min(contents.Length - 4, 160));
            if (random.Next(3) == 0)
            {
                contents[place] = (byte)random.Next(256);
            }
            else
            {
                BinaryPrimitives.WriteUInt32LittleEndian(contents.AsSpan(place & ~3), Edges[random.Next(Edges.Length)] + (uint)random.Next(3) - 1);
            }
        }
        return random.Next(10) == 0 ? contents[..random.Next(contents.Length)] : contents;
    }

    private sealed class CountingLogger : ILogger
    {
        private int count;

        public int Count => count;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Interlocked.Increment(ref count);
    }

    private sealed record UntimelyOptions : DeviceOptions
    {
        internal override Device Open(ILogger logger) => new UntimelyDevice();

        internal override VirtioDevice OpenVirtio(ILogger logger) => throw new InvalidOperationException();
    }

    /// <summary>Takes a buffer, lets the Host kill the Guest, and answers.</summary>
    private sealed class UntimelyDevice : Device
    {
        public const uint Key = 64;

        public override DeviceType Type => DeviceType.Block;

        public override uint? OutputKey => Key;

        public override int WaitingInput => 0;

        public override uint HandleOutput(in DmaBuffer buffer, IDevicePort port)
        {
            Assert.True(port.TryGetBuffer(Key, out DmaBuffer bound, out uint irq));
            Assert.False(port.TryGetBuffer(Key + 1, out _, out _));
            port.Complete(bound, 1, irq);
            return 0;
        }

        public override void DeliverInput(IDevicePort port)
        {
        }

        public override void Start(Action wake)
        {
        }

        public override void Stop()
        {
        }
    }
}
