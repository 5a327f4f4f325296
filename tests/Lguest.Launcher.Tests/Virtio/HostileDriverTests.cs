// Drivers that do anything at all: registers, rings, descriptors and requests of random and of nearly right contents. Whatever they do, the
// device throws no exception, touches no byte that is not the Guest's memory, and works again after a reset.
// LGUEST_HOSTILE_EVENTS sets how many events each device gets.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Block;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Block;
using Lguest.Launcher.Devices.Virtio.Console;
using Lguest.Launcher.Devices.Virtio.Entropy;
using Lguest.Launcher.Devices.Virtio.Network;
using Lguest.Launcher.Tests.Block;
using Lguest.Launcher.Tests.Network;
using Lguest.X86;
using Microsoft.Extensions.Logging.Abstractions;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public class HostileDriverTests
{
    private const int DefaultEvents = 200_000;
    private const uint RomAddress = 0xC_0000;
    private const int RomSize = 0x2000;
    private const ulong AllFeatures = Version1 | Indirect | EventIndex;

    private static readonly ulong[] Addresses =
    [
        0, 1, 0xFFF, Data, Data + 0x1000, Rings, Rings + 0x1000, Rings + 0x2000, Rings + 0x4000, RomAddress, RomAddress - 8, MemoryEnd - 1, MemoryEnd - 16, MemoryEnd, MemoryEnd + 16,
        Gap, Gap + 0x3000, 0xFFFF_FFFF, 0xFFFF_FFF0, 0x1_0000_0000, 0x1_0001_0000, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFF0, 0xFFFF_FFFF_FFFF_FFFF,
    ];

    private static readonly uint[] Lengths = [0, 1, 12, 16, 17, 24, 26, 48, 64, 512, 513, 1526, 4096, 0x1_0000, MemoryEnd, 0x7FFF_FFFF, 0xFFFF_FFF0, 0xFFFF_FFFF];

    private static readonly int[] CommonRegisters = [0, 4, 8, 12, 0x10, 0x12, 0x14, 0x15, 0x16, 0x18, 0x1A, 0x1C, 0x1E, 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x38];

    public static TheoryData<string, int> Devices
    {
        get
        {
            var data = new TheoryData<string, int>();
            foreach (string device in new[] { "entropy", "block", "network", "console" })
            {
                data.Add(device, 1);
                data.Add(device, Random.Shared.Next(2, int.MaxValue));
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Devices))]
    public void AHostileDriverHurtsOnlyItself(string name, int seed)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        int events = int.TryParse(Environment.GetEnvironmentVariable("LGUEST_HOSTILE_EVENTS"), out int wanted) ? wanted : DefaultEvents;
        var random = new Random(seed);
        (VirtioDevice device, Action input) = Make(name, random);
        using var driver = new VirtioDriver(device);
        byte[] rom = [.. Enumerable.Repeat((byte)0x5A, RomSize)];
        driver.Memory.PlaceRom(RomAddress, rom);
        Assert.True(driver.Memory.TryAllocateFrame(out uint arena));
        driver.Memory.FrameBytes(arena).Fill(0xA5);
        driver.Memory.AttachDevice((Frames + 16) * 4096, 0x10_0000, new Forbidden());

        int served = 0, refused = 0;
        for (int i = 0; i < events; i++)
        {
            if (i % 64 == 0)
            {
                Restart(driver, random);
            }
            ushort before = driver.Queues[0].UsedIndex;
            Act(driver, random, input);
            served += driver.Queues[0].UsedIndex != before ? 1 : 0;
            refused += i % 64 == 63 && driver.NeedsReset ? 1 : 0;
        }

        Assert.All(driver.Memory.FrameBytes(arena).ToArray(), static value => Assert.Equal(0xA5, value));
        Assert.Equal(rom, driver.Bytes(RomAddress, RomSize));
        // It was no waste of time.
        Assert.True(served > events / 200 && refused > events / 2000, $"{served} served, {refused} refused");
        Restart(driver, random);
        Assert.False(driver.NeedsReset);
    }

    private static (VirtioDevice Device, Action Input) Make(string name, Random random)
    {
        switch (name)
        {
            case "entropy":
                return (new EntropyDevice(), static () => { });
            case "block":
                var disk = new RecordingDisk(new byte[64 * 512]);
                disk.Before = _ =>
                {
                    disk.Events.Clear();
                    if (random.Next(20) == 0)
                    {
                        throw new IOException("no");
                    }
                };
                return (new VirtioBlockDevice(new GuestDisk(disk, "disk", NullLogger.Instance), "disk"), static () => { });
            case "console":
                var input = new ConsoleInput(null, TimeProvider.System, NullLogger.Instance);
                var terminal = new ConsoleSwitch(input, null);
                terminal.AddPort();
                var console = new VirtioConsoleDevice(terminal.AddPort());
                void Type()
                {
                    // As the reader does, which waits when there is no room.
                    _ = input.Queue.Count < ConsoleInputQueue.Capacity ? input.Queue.AddAsync(new byte[random.Next(1, 2000)]) : null;
                    console.Resize((ushort)random.Next(200), (ushort)random.Next(60));
                }
                return (console, Type);
            default:
                var outside = new LoopBackEnd { Completes = true };
                void Receive()
                {
                    outside.Sent.Clear();
                    outside.Input.TryAdd(new byte[random.Next(14, 1515)]);
                }
                return (new VirtioNetworkDevice(outside, new byte[6]), Receive);
        }
    }

    /// <summary>Begins again as a good driver would, which must succeed.</summary>
    private static void Restart(VirtioDriver driver, Random random)
    {
        driver.WritePci(0x10, 4, Gap);
        driver.WritePci(4, 2, 6);
        driver.Start(Version1 | (AllFeatures & (ulong)random.NextInt64()), (ushort)(1 << random.Next(1, 9)));
    }

    private static void Act(VirtioDriver driver, Random random, Action input)
    {
        DriverQueue queue = driver.Queues[random.Next(driver.Queues.Length)];
        switch (random.Next(24))
        {
            case < 10:
                AddChain(driver, queue, random);
                break;
            case < 16:
                driver.Notify(random.Next(driver.Queues.Length));
                break;
            case < 18:
                input();
                driver.Device.DeliverInput();
                break;
            case 18:
                driver.Memory.Write(queue.Available + 2, (ushort)(driver.Memory.Read<ushort>(queue.Available + 2) + random.Next(-2, 3)));
                break;
            case 19:
                driver.Memory.Write(queue.Descriptors + (uint)random.Next(0x3000), random.Next());
                break;
            case 20:
                WriteRegister(driver, random);
                break;
            case 21:
                driver.WritePci(driver.Window + random.Next(20), 1, (uint)random.Next(256));
                driver.WritePci(driver.Window + 16, 4, (uint)random.Next());
                _ = driver.ReadPci(driver.Window + 16, 4);
                break;
            case 22 when random.Next(8) == 0:
                driver.WritePci(random.Next(64) * 4, 4, (uint)Pick(random, Addresses));
                break;
            default:
                _ = driver.TakeInterrupt();
                _ = driver.Configuration<uint>((uint)random.Next(0x1000 - 4));
                _ = driver.Common<uint>((uint)random.Next(0x100));
                break;
        }
    }

    private static void WriteRegister(VirtioDriver driver, Random random)
    {
        uint register = (uint)CommonRegisters[random.Next(CommonRegisters.Length)];
        ulong value = random.Next(2) == 0 ? Pick(random, Addresses) : (ulong)random.Next(300);
        switch (random.Next(4))
        {
            case 0:
                driver.SetCommon(register, (byte)value);
                break;
            case 1:
                driver.SetCommon(register, (ushort)value);
                break;
            case 2:
                driver.SetCommon(register, (uint)value);
                break;
            default:
                driver.SetCommon(register, value);
                break;
        }
    }

    /// <summary>Makes a chain available whose pieces are good for the most part, and whose head may be a request.</summary>
    private static void AddChain(VirtioDriver driver, DriverQueue queue, Random random)
    {
        uint head = Data + (uint)(random.Next(64) * 64);
        driver.Memory.Write(head, random.Next(10) == 0 ? (uint)random.Next() : (uint)random.Next(12));
        driver.Memory.Write(head + 8, random.Next(10) == 0 ? random.NextInt64() : random.Next(66));
        bool isIndirect = random.Next(3) == 0;
        uint table = isIndirect ? Data + 0x2_0000 : queue.Descriptors;
        int limit = isIndirect ? 64 : queue.Size;
        int count = random.Next(1, Math.Min(6, limit) + 1);
        int first = random.Next(limit - count + 1);
        bool isWritable = random.Next(4) == 0;
        for (int i = 0; i < count; i++)
        {
            bool isBad = random.Next(60) == 0;
            isWritable = isBad ? !isWritable : isWritable || (i > 0 && (i == count - 1 || random.Next(3) == 0));
            ulong address = i == 0 ? head : isBad ? Pick(random, Addresses) : Data + 0x4000 + (ulong)random.Next(0x8000);
            uint length = isBad ? Pick(random, Lengths) : i == 0 ? 16 : i == count - 1 && random.Next(2) == 0 ? 1 : (uint)(random.Next(5) * 512);
            bool hasNext = i < count - 1 || random.Next(60) == 0;
            ushort flags = (ushort)((hasNext ? 1 : 0) | (isWritable ? 2 : 0) | (random.Next(100) == 0 ? random.Next(8) : 0));
            queue.Write(table, (ushort)(first + i), address, length, flags, (ushort)(random.Next(60) == 0 ? random.Next(0x1_0000) : first + i + 1));
        }
        if (isIndirect)
        {
            // The walk begins at the table's entry 0.
            uint bytes = random.Next(30) == 0 ? Pick(random, Lengths) : (uint)(first + count) * 16;
            queue.Write(queue.Descriptors, 0, table, bytes, 4, 0);
            first = random.Next(30) == 0 ? random.Next(0x1_0000) : 0;
        }
        queue.MakeAvailable((ushort)first);
    }

    private static T Pick<T>(Random random, T[] values) => values[random.Next(values.Length)];

    /// <summary>A device of somebody else's, that no virtio device may reach.</summary>
    private sealed class Forbidden : IMemoryMappedDevice
    {
        public uint Read(uint offset, int size) => throw new InvalidOperationException($"read at 0x{offset:x}");

        public void Write(uint offset, int size, uint value) => throw new InvalidOperationException($"write at 0x{offset:x}");
    }
}
