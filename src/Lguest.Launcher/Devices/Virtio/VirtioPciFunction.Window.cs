// The capabilities of a virtio function, and among them the window: who cannot reach the BAR writes an offset and a length here, and each
// access to the four bytes of data is one to the BAR (specification 4.1.4.9).

using System.Buffers.Binary;
using Lguest.X86;

namespace Lguest.Launcher.Devices.Virtio;

internal sealed partial class VirtioPciFunction
{
    private const int WindowBar = 4;
    private const int WindowOffset = 8;
    private const int WindowLength = 12;
    private const int WindowData = 16;
    private const int WindowEnd = 20;

    /// <summary>Appends struct virtio_pci_cap.</summary>
    private int AddStructure(StructureType type, uint offset, uint length, ReadOnlySpan<byte> more)
    {
        const int HeadSize = 2, CommonSize = 16;
        Span<byte> body = stackalloc byte[CommonSize - HeadSize + more.Length];
        body.Clear();
        body[0] = (byte)(HeadSize + body.Length);
        body[1] = (byte)type;
        BinaryPrimitives.WriteUInt32LittleEndian(body[(WindowOffset - HeadSize)..], offset);
        BinaryPrimitives.WriteUInt32LittleEndian(body[(WindowLength - HeadSize)..], length);
        more.CopyTo(body[(CommonSize - HeadSize)..]);
        return AddCapability(VendorCapability, body);
    }

    /// <summary>Moves the window's bytes of data from or to the BAR; what the driver asked for amiss moves nothing.</summary>
    private void AccessWindow(bool isWrite)
    {
        Span<byte> capability = ConfigurationBytes[windowCapability..];
        uint offset = BinaryPrimitives.ReadUInt32LittleEndian(capability[WindowOffset..]);
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(capability[WindowLength..]);
        if (length is not (1 or 2 or 4) || offset % length != 0 || BarDevice(capability[WindowBar], offset, (int)length) is not IMemoryMappedDevice bar)
        {
            return;
        }
        Span<byte> data = capability[WindowData..WindowEnd];
        if (isWrite)
        {
            bar.Write(offset, (int)length, Extract(data, 0, (int)length));
            return;
        }
        uint value = bar.Read(offset, (int)length);
        data.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(data, value);
    }
}
