// A network of Guests among themselves: the device's page is a page of a file, and since all its members map that same page, the keys in it
// mean the same to all of them and the Host carries their packets (ABI 10.4, 10.6). The Launcher only gives out the places.

using Lguest.Platform;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices.Network;

internal sealed class SharedNetworkDevice : Device
{
    private readonly FileStream file;
    private readonly SharedFileMapping mapping;
    private readonly int slot;

    /// <summary>Makes the device.</summary>
    /// <param name="file">The open file whose lock keeps the slot.</param>
    /// <param name="mapping">The file's page.</param>
    /// <param name="slot">The slot.</param>
    public SharedNetworkDevice(FileStream file, SharedFileMapping mapping, int slot)
    {
        this.file = file;
        this.mapping = mapping;
        this.slot = slot;
        // The last owner of the slot may have died with its interface open: its peers would send to nobody until ours is open.
        ClearEntry();
    }

    public override DeviceType Type => DeviceType.Network;

    public override ushort Features => (ushort)(slot | NetworkPage.NoChecksums);

    public override uint PageCount => 1;

    public override uint? OutputKey => null;

    public override int WaitingInput => 0;

    public override void Attach(MachineMemory memory, DevicePlace place) =>
        memory.ShareFrame(place.FirstPage / MachineMemory.FrameSize, mapping, 0);

    public override uint HandleOutput(in DmaBuffer buffer, IDevicePort port) => 0;

    public override void DeliverInput(IDevicePort port)
    {
    }

    public override void Start(Action wake)
    {
    }

    public override void Stop()
    {
    }

    public override void Dispose()
    {
        ClearEntry();
        mapping.Dispose();
        file.Dispose();
    }

    private void ClearEntry()
    {
        // SAFETY: the mapping has a page, of which every slot's entry is a part.
        unsafe
        {
            new Span<byte>(mapping.Address + (slot * NetworkPage.EntrySize), NetworkPage.EntrySize).Clear();
        }
    }
}
