// A request as a driver lays it out: first the pieces of memory that the device reads, then those that it writes. Every address has been
// checked when it gets here, and none is looked up again: a device may well overwrite the table that they came from.

using System.Runtime.InteropServices;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices.Virtio;

/// <summary>The buffers behind one head in the available ring; good until the next is taken from the same queue.</summary>
internal sealed class DescriptorChain(MachineMemory memory)
{
    private readonly List<GuestSection> readable = [];
    private readonly List<GuestSection> writable = [];

    /// <summary>The number by which the driver knows it.</summary>
    public ushort Head { get; private set; }

    /// <summary>What the device may read.</summary>
    public GuestSections Readable => new(memory, CollectionsMarshal.AsSpan(readable));

    /// <summary>What the device may write.</summary>
    public GuestSections Writable => new(memory, CollectionsMarshal.AsSpan(writable));

    /// <summary>Whether a piece to write has been added.</summary>
    internal bool HasWritable => writable.Count > 0;

    /// <summary>Empties the chain for another request.</summary>
    internal void Begin(ushort head)
    {
        Head = head;
        readable.Clear();
        writable.Clear();
    }

    /// <summary>Appends a checked piece.</summary>
    internal void Add(GuestSection section, bool isWritable) => (isWritable ? writable : readable).Add(section);
}
