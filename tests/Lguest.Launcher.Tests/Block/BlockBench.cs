// A block device on the bench: Guest memory that a test fills by hand, a port that writes down what the device does, and a disk that
// writes down what is asked of it.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Block;
using Lguest.Platform;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests.Block;

internal sealed class BlockBench : IDevicePort, IDisposable
{
    public const uint Frames = 64;
    public const uint Descriptor = 0x3_C000;
    public const uint Page = 0x3_D000;
    public const uint SentList = 0x1000;
    public const uint BoundList = 0x2000;
    public const uint Data = 0x1_0000;
    public const uint Irq = 5;

    public BlockBench(IDisk disk)
    {
        Device = new BlockDevice(new GuestDisk(disk, "disk", NullLogger.Instance), NullLogger.Instance);
        Device.Attach(Memory, new DevicePlace(Descriptor, Page));
    }

    public MachineMemory Memory { get; } = new(Frames, 16);

    public BlockDevice Device { get; }

    /// <summary>Whether the Guest has bound a buffer.</summary>
    public bool HasBuffer { get; set; } = true;

    /// <summary>Why the device ended the Guest.</summary>
    public string? Failure { get; private set; }

    /// <summary>Interrupts raised.</summary>
    public int Interrupts { get; private set; }

    public int Result => Memory.Read<int>(Page + 12);

    public uint Abilities => Memory.Read<uint>(Page + 20);

    public uint UsedLength => Memory.Read<uint>(BoundList);

    /// <summary>Lets the Guest set bits of its status word.</summary>
    public void SetStatus(ushort bits) => Memory.Write(Descriptor + 4, bits);

    /// <summary>Fills a list; a list of no sections is empty.</summary>
    public void SetList(uint list, params (uint Address, ushort Length)[] sections)
    {
        Memory.Write(list, new byte[100]);
        for (uint i = 0; i < sections.Length; i++)
        {
            Memory.Write(list + 4 + (4 * i), sections[i].Address);
            Memory.Write(list + 68 + (2 * i), sections[i].Length);
        }
    }

    /// <summary>Sends a request as the Guest's driver does.</summary>
    public void Submit(int type, uint sector, uint bytes, params (uint Address, ushort Length)[] data)
    {
        SetList(SentList, type == 0 ? [] : data);
        SetList(BoundList, type == 0 ? data : []);
        SetPage(type, sector, bytes);
        Send();
    }

    public void SetPage(int type, uint sector, uint bytes)
    {
        Memory.Write(Page, type);
        Memory.Write(Page + 4, sector);
        Memory.Write(Page + 8, bytes);
        Memory.Write(Page + 12, 0);
    }

    /// <summary>Sends what is in the page and the lists, as far as the Launcher lets the lists pass (ABI 10.8).</summary>
    public void Send()
    {
        if (DmaBuffer.TryRead(Memory, SentList, out DmaBuffer sent, out _))
        {
            Assert.Equal(0u, Device.HandleOutput(sent, this));
        }
    }

    bool IDevicePort.TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq)
    {
        Assert.Equal(Page, key);
        irq = Irq;
        return DmaBuffer.TryRead(Memory, BoundList, out buffer, out _) && HasBuffer;
    }

    void IDevicePort.Complete(in DmaBuffer buffer, uint length, uint irq)
    {
        Assert.Equal(Irq, irq);
        DmaBuffer reply = buffer;
        reply.UsedLength = length;
        Interrupts++;
    }

    void IDevicePort.Fail(string reason) => Failure ??= reason;

    public void Dispose()
    {
        Device.Dispose();
        Memory.Dispose();
    }
}

/// <summary>A disk in memory. It records what it is asked, and fails on demand.</summary>
internal sealed class RecordingDisk(byte[] contents, bool isReadOnly = false) : IDisk
{
    public List<string> Events { get; } = [];

    public byte[] Contents => contents;

    /// <summary>Called before each event; throwing makes it fail.</summary>
    public Action<string> Before { get; set; } = static _ => { };

    public long Length => contents.Length;

    public bool IsReadOnly => isReadOnly;

    public int Read(Span<byte> bytes, long offset)
    {
        Note($"read {offset} {bytes.Length}");
        int count = (int)Math.Min(bytes.Length, contents.Length - offset);
        contents.AsSpan((int)offset, count).CopyTo(bytes);
        return count;
    }

    public void Write(ReadOnlySpan<byte> bytes, long offset)
    {
        Note($"write {offset} {bytes.Length}");
        bytes.CopyTo(contents.AsSpan((int)offset));
    }

    public void Flush() => Note("flush");

    public void Dispose()
    {
    }

    private void Note(string text)
    {
        Before(text);
        Events.Add(text);
    }
}
