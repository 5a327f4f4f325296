// A driver for virtio devices as the specification describes one (3.1, 4.1), in C#: it finds the registers by the capabilities, negotiates,
// lays queues out in a Guest's memory, and polls or counts interrupts.

using Lguest.Launcher.Devices.Virtio;
using Lguest.Pc;
using Lguest.Pc.Pci;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Virtio;

internal sealed class VirtioDriver : IInterruptLine, IDisposable
{
    public const uint Frames = 256;
    public const uint MemoryEnd = Frames * 4096;
    public const uint Gap = 0xE000_0000;

    /// <summary>Where the first queue lies; the next are 16 KiB apart.</summary>
    public const uint Rings = 0x1_0000;

    /// <summary>Where a test may put its buffers.</summary>
    public const uint Data = 0x8_0000;

    public const ulong Version1 = 1UL << 32;
    public const ulong Indirect = 1UL << 28;
    public const ulong EventIndex = 1UL << 29;

    private const byte VendorCapability = 9;
    private const int Slot = 1;

    private readonly PortBus ports = new();
    private readonly uint common;
    private readonly uint notify;
    private readonly uint notifyMultiplier;
    private readonly uint interruptStatus;
    private readonly uint configuration;

    public VirtioDriver(VirtioDevice device)
    {
        Device = device;
        Bus = new PciBus(Memory, [(this, 11), (this, 11), (this, 11), (this, 11)]);
        Bus.Register(ports);
        Function = new VirtioPciFunction(device, Memory, NullLogger.Instance);
        Bus.Add(Function);
        Bus.Configure(Gap);
        WritePci(4, 2, 6);
        uint bar = ReadPci(0x10, 4);
        for (uint at = ReadPci(0x34, 1); at != 0; at = ReadPci((int)at + 1, 1))
        {
            Assert.Equal(VendorCapability, ReadPci((int)at, 1));
            uint place = bar + ReadPci((int)at + 8, 4);
            switch (ReadPci((int)at + 3, 1))
            {
                case 1:
                    common = place;
                    break;
                case 2:
                    notify = place;
                    notifyMultiplier = ReadPci((int)at + 16, 4);
                    break;
                case 3:
                    interruptStatus = place;
                    break;
                case 4:
                    configuration = place;
                    break;
                default:
                    Window = (int)at;
                    break;
            }
        }
    }

    public MachineMemory Memory { get; } = new(Frames, 1);

    public VirtioDevice Device { get; }

    public PciBus Bus { get; }

    public VirtioPciFunction Function { get; }

    /// <summary>Where the capability of the window is.</summary>
    public int Window { get; }

    /// <summary>Times that the line went up.</summary>
    public int Interrupts { get; private set; }

    public bool Level { get; private set; }

    public byte Status
    {
        get => Memory.Read<byte>(common + 0x14);
        set => Memory.Write(common + 0x14, value);
    }

    public bool NeedsReset => (Status & 64) != 0;

    public DriverQueue[] Queues { get; private set; } = [];

    public T Common<T>(uint offset)
        where T : unmanaged => Memory.Read<T>(common + offset);

    public void SetCommon<T>(uint offset, T value)
        where T : unmanaged => Memory.Write(common + offset, value);

    public T Configuration<T>(uint offset)
        where T : unmanaged => Memory.Read<T>(configuration + offset);

    /// <summary>Reads the interrupt status, which takes the interrupt back.</summary>
    public byte TakeInterrupt() => Memory.Read<byte>(interruptStatus);

    public void Notify(int queue)
    {
        SetCommon(0x16, (ushort)queue);
        Memory.Write(notify + (Common<ushort>(0x1E) * notifyMultiplier), (ushort)queue);
    }

    public uint ReadPci(int offset, int size)
    {
        ports.Write(0xCF8, 4, 0x8000_0000 | (Slot << 11) | ((uint)offset & 0xFC));
        return ports.Read((ushort)(0xCFC + (offset & 3)), size);
    }

    public void WritePci(int offset, int size, uint value)
    {
        ports.Write(0xCF8, 4, 0x8000_0000 | (Slot << 11) | ((uint)offset & 0xFC));
        ports.Write((ushort)(0xCFC + (offset & 3)), size, value);
    }

    public ulong OfferedFeatures()
    {
        SetCommon(0, 0u);
        ulong low = Common<uint>(4);
        SetCommon(0, 1u);
        return low | ((ulong)Common<uint>(4) << 32);
    }

    /// <summary>Goes through the steps of 3.1.1 up to FEATURES_OK.</summary>
    /// <returns>Whether the device accepts the features.</returns>
    public bool Negotiate(ulong features)
    {
        Status = 0;
        Status = 1;
        Status = 3;
        SetCommon(8, 0u);
        SetCommon(12, (uint)features);
        SetCommon(8, 1u);
        SetCommon(12, (uint)(features >> 32));
        Status = 3 | 8;
        return (Status & 8) != 0;
    }

    /// <summary>Makes the device ready, with all its queues.</summary>
    public void Start(ulong features = Version1, ushort size = 16)
    {
        Assert.True(Negotiate(features));
        Queues = [.. Enumerable.Range(0, Common<ushort>(0x12)).Select(number => SetUp(number, size, features))];
        Status = 3 | 8 | 4;
        Assert.Equal(15, Status);
    }

    public DriverQueue SetUp(int number, ushort size, ulong features = Version1)
    {
        var queue = new DriverQueue(this, number, Rings + ((uint)number * 0x4000), size, (features & EventIndex) != 0);
        SetCommon(0x16, (ushort)number);
        SetCommon(0x18, size);
        Place(0x20, queue.Descriptors);
        Place(0x28, queue.Available);
        Place(0x30, queue.Used);
        SetCommon(0x1C, (ushort)1);
        return queue;
    }

    /// <summary>Writes a 64-bit register by halves.</summary>
    public void Place(uint register, ulong address)
    {
        SetCommon(register, (uint)address);
        SetCommon(register + 4, (uint)(address >> 32));
    }

    public byte[] Bytes(uint address, int length)
    {
        byte[] bytes = new byte[length];
        Memory.Read(address, bytes);
        return bytes;
    }

    void IInterruptLine.Set(bool level)
    {
        Interrupts += level && !Level ? 1 : 0;
        Level = level;
    }

    public void Dispose()
    {
        Device.Dispose();
        Memory.Dispose();
    }
}

/// <summary>A buffer for the device: to write if it says so, else to read.</summary>
internal readonly record struct DriverBuffer(ulong Address, uint Length, bool IsWritable);

/// <summary>The driver's side of a queue.</summary>
internal sealed class DriverQueue
{
    private readonly VirtioDriver driver;
    private readonly int number;
    private readonly bool hasEventIndex;
    private ushort nextDescriptor;
    private ushort nextAvailable;
    private ushort nextUsed;

    public DriverQueue(VirtioDriver driver, int number, uint address, ushort size, bool hasEventIndex)
    {
        this.driver = driver;
        this.number = number;
        this.hasEventIndex = hasEventIndex;
        Size = size;
        Descriptors = address;
        Available = address + 0x1000;
        Used = address + 0x2000;
        driver.Memory.Write(address, new byte[0x4000]);
    }

    public uint Descriptors { get; }

    public uint Available { get; }

    public uint Used { get; }

    public ushort Size { get; }

    public ushort UsedIndex => driver.Memory.Read<ushort>(Used + 2);

    /// <summary>The element that the device wrote last but for <paramref name="back"/>.</summary>
    public (uint Head, uint Length) Element(int back = 0)
    {
        uint at = Used + 4 + (8 * (uint)((ushort)(UsedIndex - 1 - back) % Size));
        return (driver.Memory.Read<uint>(at), driver.Memory.Read<uint>(at + 4));
    }

    /// <summary>Writes a descriptor.</summary>
    public void Write(uint table, ushort index, ulong address, uint length, ushort flags, ushort next)
    {
        uint at = table + (16 * (uint)index);
        driver.Memory.Write(at, address);
        driver.Memory.Write(at + 8, length);
        driver.Memory.Write(at + 12, flags);
        driver.Memory.Write(at + 14, next);
    }

    /// <summary>Makes a chain available; the descriptors are taken round and round.</summary>
    /// <returns>Its head.</returns>
    public ushort Add(params DriverBuffer[] buffers)
    {
        ushort head = nextDescriptor;
        for (int i = 0; i < buffers.Length; i++)
        {
            ushort here = nextDescriptor;
            nextDescriptor = (ushort)((nextDescriptor + 1) % Size);
            bool hasNext = i + 1 < buffers.Length;
            Write(Descriptors, here, buffers[i].Address, buffers[i].Length, (ushort)((hasNext ? 1 : 0) | (buffers[i].IsWritable ? 2 : 0)), hasNext ? nextDescriptor : (ushort)0);
        }
        MakeAvailable(head);
        return head;
    }

    /// <summary>Puts a head into the ring.</summary>
    public void MakeAvailable(ushort head)
    {
        driver.Memory.Write(Available + 4 + (2 * (uint)(nextAvailable % Size)), head);
        driver.Memory.Write(Available + 2, ++nextAvailable);
    }

    /// <summary>Notifies the device, if it wants to be.</summary>
    /// <returns>Whether it does.</returns>
    public bool Kick()
    {
        bool wanted = hasEventIndex
            ? driver.Memory.Read<ushort>(Used + 4 + (8u * Size)) == (ushort)(nextAvailable - 1)
            : driver.Memory.Read<ushort>(Used) == 0;
        if (wanted)
        {
            driver.Notify(number);
        }
        return wanted;
    }

    /// <summary>Submits one request, and expects that it is done when the notification returns.</summary>
    /// <returns>Bytes that the device has written.</returns>
    public uint Request(params DriverBuffer[] buffers)
    {
        ushort head = Add(buffers);
        driver.Notify(number);
        Assert.Equal(++nextUsed, UsedIndex);
        (uint used, uint length) = Element();
        Assert.Equal(head, used);
        return length;
    }

    /// <summary>Sets the index at which the driver wants an interrupt, or all or none of them.</summary>
    public void SetUsedEvent(ushort index) => driver.Memory.Write(Available + 4 + (2u * Size), index);

    public void SetNoInterrupt(bool none) => driver.Memory.Write(Available, none ? (ushort)1 : (ushort)0);
}
