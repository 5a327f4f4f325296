// The Guest's side of a network without a Guest: it sends and receives frames through lists in machine memory as a driver does (ABI 10.11).

using System.Diagnostics;
using Lguest.Launcher.Devices;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Tests.Network;

/// <summary>A network device with a driver of a few lines.</summary>
internal sealed class TestInterface : IDevicePort, IDisposable
{
    public const uint GuestMemory = 4 << 20;
    public const uint Page = GuestMemory + 4096;
    public static readonly byte[] HardwareAddress = [2, 0, 0x12, 0x34, 0, 0];

    private const uint OutputList = 0x1000;
    private const uint OutputBytes = 0x10_0000;
    private const uint InputList = 0x2000;
    private const uint InputBytes = 0x2_0000;

    private readonly AutoResetEvent woken = new(false);
    private readonly Queue<byte[]> received = new();

    public TestInterface(Device device, bool open = true)
    {
        Device = device;
        Memory = new MachineMemory((GuestMemory / 4096) + 2, 16);
        DeviceTable.Write(Memory, new MemoryMap(GuestMemory, 0, 0xC000_0000), [device]);
        if (open)
        {
            Memory.Write(Page + 6, HardwareAddress);
        }
    }

    public Device Device { get; }

    public MachineMemory Memory { get; }

    /// <summary>Bytes of a receive buffer.</summary>
    public ushort BufferSize { get; set; } = 1514;

    /// <summary>Buffers that the driver has bound and not yet seen filled.</summary>
    public int FreeBuffers { get; set; } = int.MaxValue;

    public string? Failure { get; private set; }

    public void Start() => Device.Start(() => woken.Set());

    /// <summary>Sends a frame.</summary>
    /// <returns>What the Guest finds in its list.</returns>
    public uint Send(ReadOnlySpan<byte> frame)
    {
        Memory.Write(OutputBytes, frame);
        for (uint section = 0; section < 16; section++)
        {
            int length = Math.Min(ushort.MaxValue, frame.Length);
            Memory.Write(OutputList + 4 + (4 * section), OutputBytes + (section * ushort.MaxValue));
            Memory.Write(OutputList + 68 + (2 * section), (ushort)length);
            frame = frame[length..];
        }
        Assert.True(DmaBuffer.TryRead(Memory, OutputList, out DmaBuffer buffer, out _));
        uint used = Device.HandleOutput(buffer, this);
        Device.DeliverInput(this);
        return used;
    }

    /// <summary>Waits for a frame that the test is interested in; others are left out.</summary>
    public byte[] Receive(Func<byte[], bool> wanted, int seconds = 20)
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            while (received.TryDequeue(out byte[]? frame))
            {
                if (wanted(frame))
                {
                    return frame;
                }
            }
            Assert.Null(Failure);
            Assert.True(watch.Elapsed.TotalSeconds < seconds, "The frame did not come.");
            woken.WaitOne(100);
            Device.DeliverInput(this);
        }
    }

    /// <summary>Waits until the device has said that something has happened.</summary>
    public void WaitForWake() => Assert.True(woken.WaitOne(TimeSpan.FromSeconds(20)));

    /// <summary>Frames that have come and were not asked for.</summary>
    public IReadOnlyCollection<byte[]> Received => received;

    public void Dispose()
    {
        Device.Stop();
        Memory.Dispose();
        Device.Dispose();
        woken.Dispose();
    }

    bool IDevicePort.TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq)
    {
        Assert.Equal(Page + 4, key);
        buffer = default;
        irq = 3;
        if (FreeBuffers == 0)
        {
            return false;
        }
        FreeBuffers--;
        // Two pieces, as when a buffer crosses a page.
        ushort first = Math.Min((ushort)100, BufferSize);
        Memory.Write(InputList + 4, InputBytes);
        Memory.Write(InputList + 8, InputBytes + 0x1000);
        Memory.Write(InputList + 68, first);
        Memory.Write(InputList + 70, (ushort)(BufferSize - first));
        Assert.True(DmaBuffer.TryRead(Memory, InputList, out buffer, out _));
        return true;
    }

    void IDevicePort.Complete(in DmaBuffer buffer, uint length, uint irq)
    {
        Assert.Equal(3u, irq);
        Assert.True(length <= BufferSize);
        byte[] bytes = new byte[buffer.Length];
        buffer.CopyTo(bytes);
        received.Enqueue(bytes[..(int)length]);
    }

    void IDevicePort.Fail(string reason) => Failure = reason;
}
