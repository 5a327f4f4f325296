// The Guest's disk (ABI 10.10): a page in which the Guest describes one request at a time, and a key to which it sends when the request is
// ready. The bytes go between the host's file and the Guest's pages by the host's own copy, once; nothing is copied here.

using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices.Block;

/// <summary>A disk on the lguest bus.</summary>
/// <param name="disk">Where the bytes are; it is closed with the device.</param>
/// <param name="logger">Receives requests.</param>
internal sealed partial class BlockDevice(GuestDisk disk, ILogger logger) : Device
{
    private const int SectorSize = GuestDisk.SectorSize;

    private const ushort HasRandomTiming = 0x8000;

    private MachineMemory memory = null!;
    private DevicePlace place;

    public override DeviceType Type => DeviceType.Block;

    public override ushort Features => HasRandomTiming;

    public override uint PageCount => 1;

    public override uint? OutputKey => place.FirstPage;

    public override int WaitingInput => 0;

    // L:213 A disk. The Guest describes one request in the device's page (read or write, from which sector, how many bytes) and sends the
    // buffers of a write, or nothing for a read, to the key that is the page's address. The reply goes into a list that it has bound to
    // the same key: for a read, the bytes; and in any case the interrupt that says "done".
    //
    // There is only ever one request under way, and it is done when HandleOutput returns. That is not how fast disks work, but it is
    // quite fast: the host's file cache answers most reads at once, and the bytes go straight between the file and the Guest's pages.
    public override void Attach(MachineMemory memory, DevicePlace place)
    {
        this.memory = memory;
        this.place = place;
        memory.Write(place.FirstPage + BlockPage.SectorCount, (uint)(disk.Length / SectorSize));
    }

    public override uint HandleOutput(in DmaBuffer sent, IDevicePort port)
    {
        // The page may lie among the buffers: everything is read before anything is moved.
        int type = memory.Read<int>(place.FirstPage + BlockPage.Type);
        uint sector = memory.Read<uint>(place.FirstPage + BlockPage.Sector);
        uint expected = memory.Read<uint>(place.FirstPage + BlockPage.Bytes);
        bool flushes = (memory.Read<ushort>(place.Status) & BlockPage.GuestFlushes) != 0;
        long offset = (long)sector * SectorSize;
        LogRequest(type, sector, expected);

        if (offset >= disk.Length)
        {
            port.Fail($"{disk.Name}: the Guest asked for sector {sector} of {disk.Length / SectorSize}");
            return 0;
        }
        if (!port.TryGetBuffer(place.FirstPage, out DmaBuffer bound, out uint irq))
        {
            port.Fail($"{disk.Name}: the Guest has bound no buffer for the reply");
            return 0;
        }
        if (type == BlockPage.WriteRequest && offset + sent.Length > disk.Length)
        {
            port.Fail($"{disk.Name}: the Guest wrote {sent.Length} bytes at sector {sector}, past the end at {disk.Length / SectorSize}");
            return 0;
        }

        uint usedLength = 0;
        bool isDone;
        switch (type)
        {
            case BlockPage.ReadRequest:
                usedLength = (uint)disk.Read(bound.Pieces, offset);
                isDone = usedLength == expected;
                break;
            case BlockPage.WriteRequest when sent.Length == 0 && expected == 0:
                isDone = disk.TryFlush();
                if (flushes)
                {
                    memory.Write(place.FirstPage + BlockPage.Abilities, BlockPage.HonoursFlushes | (disk.IsReadOnly ? BlockPage.IsReadOnly : 0));
                }
                break;
            case BlockPage.WriteRequest:
                isDone = disk.TryWrite(sent.Pieces, offset) && (flushes || disk.TryFlush()) && sent.Length == expected;
                break;
            default:
                isDone = false;
                break;
        }
        memory.Write(place.FirstPage + BlockPage.Result, isDone ? BlockPage.Succeeded : BlockPage.Failed);
        port.Complete(bound, usedLength, irq);
        return 0;
    }
    // :*

    public override void DeliverInput(IDevicePort port)
    {
    }

    public override void Start(Action wake)
    {
    }

    public override void Stop()
    {
    }

    public override void Dispose() => disk.Dispose();

    [LoggerMessage(LogLevel.Trace, "Block: type {Type}, sector {Sector}, {Bytes} bytes")]
    private partial void LogRequest(int type, uint sector, uint bytes);
}
