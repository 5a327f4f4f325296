// A split virtqueue (specification 2.7): a table of descriptors and two rings in the Guest's memory, one in which the driver makes buffers
// available and one in which the device gives them back. The driver can write anything there, at any time at which it runs, so each number is
// read once and checked where it is used. A driver that breaks the rules gets no more service until it resets the device.

using System.Numerics;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices.Virtio;

/// <summary>One queue of a device.</summary>
/// <param name="memory">The Guest's memory.</param>
/// <param name="interrupt">Tells the driver that buffers have been used.</param>
/// <param name="fail">Ends the service: the driver did what the text says.</param>
internal sealed class Virtqueue(MachineMemory memory, Action interrupt, Action<string> fail)
{
    /// <summary>Descriptors that the device offers for a queue; the driver may take fewer.</summary>
    public const ushort MaximumSize = 256;

    /// <summary>Descriptors of a chain beyond which it is taken for a loop.</summary>
    public const int LongestChain = 1024;

    private const uint DescriptorSize = 16;
    private const uint RingHeader = 4;
    private const uint IndexOffset = 2;
    private const uint UsedElementSize = 8;
    private const ushort NextFlag = 1;
    private const ushort WriteFlag = 2;
    private const ushort IndirectFlag = 4;
    private const ushort NoInterruptFlag = 1;
    private const ushort NoNotifyFlag = 1;

    private readonly DescriptorChain chain = new(memory);
    private uint descriptors;
    private uint available;
    private uint used;
    private bool hasIndirect;
    private bool hasEventIndex;
    private ushort nextAvailable;
    private ushort nextUsed;
    private ushort announcedUsed;
    private bool wantsNotification;

    /// <summary>Where the driver has put the table and the rings, and how large they are.</summary>
    public VirtqueuePlace Place { get; private set; } = VirtqueuePlace.Initial;

    /// <summary>Whether the driver has switched the queue on.</summary>
    public bool IsEnabled { get; private set; }

    /// <summary>Whether the device may touch the queue: the driver is ready and has kept the rules.</summary>
    public bool IsLive { get; set; }

    private ulong MemoryEnd => memory.GuestFrames * (ulong)MachineMemory.FrameSize;

    /// <summary>Places the queue, before it is enabled; afterwards it stays where it is.</summary>
    public void SetPlace(VirtqueuePlace place) => Place = IsEnabled ? Place : place;

    /// <summary>Switches the queue on, if it lies in the Guest's memory.</summary>
    /// <param name="features">The features that were negotiated.</param>
    public void Enable(ulong features)
    {
        if (IsEnabled)
        {
            return;
        }
        uint size = Place.Size;
        if (size > MaximumSize || !BitOperations.IsPow2(size))
        {
            fail($"a queue of {size} descriptors");
            return;
        }
        const uint EventIndexSize = 2, AvailableElementSize = 2;
        if (!IsGood(Place.Descriptors, size * DescriptorSize, 16)
            || !IsGood(Place.Available, RingHeader + (size * AvailableElementSize) + EventIndexSize, 2)
            || !IsGood(Place.Used, RingHeader + (size * UsedElementSize) + EventIndexSize, 4))
        {
            fail($"a queue at 0x{Place.Descriptors:x}, 0x{Place.Available:x} and 0x{Place.Used:x}");
            return;
        }
        descriptors = (uint)Place.Descriptors;
        available = (uint)Place.Available;
        used = (uint)Place.Used;
        hasIndirect = (features & VirtioFeatures.IndirectDescriptors) != 0;
        hasEventIndex = (features & VirtioFeatures.EventIndex) != 0;
        wantsNotification = true;
        IsEnabled = true;
    }

    /// <summary>Brings the queue to the state before the driver came.</summary>
    public void Reset()
    {
        Place = VirtqueuePlace.Initial;
        IsEnabled = false;
        IsLive = false;
        (nextAvailable, nextUsed, announcedUsed) = (0, 0, 0);
    }

    /// <summary>Asks how many buffers the driver has made available. Who serves that many and then asks no more cannot be kept for ever.</summary>
    public int CountAvailable()
    {
        if (!IsEnabled || !IsLive)
        {
            return 0;
        }
        ushort index = memory.Read<ushort>(available + IndexOffset);
        ushort count = (ushort)(index - nextAvailable);
        if (count > Place.Size)
        {
            fail($"{count} buffers in a ring of {Place.Size}");
            return 0;
        }
        return count;
    }

    /// <summary>Takes the next available buffer, of which <see cref="CountAvailable"/> has told.</summary>
    /// <returns>False when the driver broke the rules.</returns>
    public bool TryTake(out DescriptorChain taken)
    {
        taken = chain;
        if (!IsLive)
        {
            return false;
        }
        ushort head = memory.Read<ushort>(available + RingHeader + (2 * (uint)(nextAvailable % Place.Size)));
        chain.Begin(head);
        if (ReadChain(head) is string mistake)
        {
            fail(mistake);
            return false;
        }
        nextAvailable++;
        return true;
    }

    /// <summary>Puts the buffer that was taken last back: it will be the next that is taken.</summary>
    public void PutBack() => nextAvailable--;

    /// <summary>Gives a buffer back to the driver.</summary>
    /// <param name="head">Which.</param>
    /// <param name="written">Bytes that were written to it, from its first on.</param>
    public void Complete(ushort head, uint written)
    {
        if (!IsLive)
        {
            return;
        }
        uint element = used + RingHeader + (UsedElementSize * (uint)(nextUsed % Place.Size));
        memory.Write(element, (uint)head);
        memory.Write(element + 4, written);
        nextUsed++;
        memory.Write(used + IndexOffset, nextUsed);
    }

    /// <summary>Interrupts the driver if buffers have been given back and it wants to know; to be called after a batch of them.</summary>
    public void Announce()
    {
        if (!IsEnabled || !IsLive)
        {
            return;
        }
        if (wantsNotification && hasEventIndex)
        {
            AskForNotification(true);
        }
        ushort fresh = (ushort)(nextUsed - announcedUsed);
        announcedUsed = nextUsed;
        bool wanted = hasEventIndex
            ? (ushort)(nextUsed - memory.Read<ushort>(available + RingHeader + (2u * Place.Size)) - 1) < fresh
            : fresh > 0 && (memory.Read<ushort>(available) & NoInterruptFlag) == 0;
        if (wanted)
        {
            interrupt();
        }
    }

    /// <summary>Says whether the driver should tell of new buffers. A wish, no more.</summary>
    public void AskForNotification(bool wanted)
    {
        if (!IsEnabled || !IsLive)
        {
            return;
        }
        wantsNotification = wanted;
        if (hasEventIndex)
        {
            // One behind the next index lies a whole turn of 65536 buffers ahead.
            memory.Write(used + RingHeader + (UsedElementSize * Place.Size), wanted ? nextAvailable : (ushort)(nextAvailable - 1));
        }
        else
        {
            memory.Write(used, wanted ? (ushort)0 : NoNotifyFlag);
        }
    }

    private bool IsGood(ulong address, uint length, uint alignment) => address % alignment == 0 && IsInside(address, length);

    private bool IsInside(ulong address, uint length) => address <= MemoryEnd && length <= MemoryEnd - address;

    /// <summary>Follows a chain of descriptors.</summary>
    /// <returns>Null, or what is wrong with it.</returns>
    private string? ReadChain(uint index)
    {
        uint table = descriptors;
        uint count = Place.Size;
        bool isIndirect = false;
        ulong total = 0;
        for (int seen = 0; seen < LongestChain; seen++)
        {
            if (index >= count)
            {
                return $"descriptor {index} in a table of {count}";
            }
            uint place = table + (index * DescriptorSize);
            ulong address = memory.Read<ulong>(place);
            uint length = memory.Read<uint>(place + 8);
            ushort flags = memory.Read<ushort>(place + 12);
            index = memory.Read<ushort>(place + 14);
            if (!IsInside(address, length))
            {
                return $"a buffer of 0x{length:x} bytes at 0x{address:x}";
            }
            if ((flags & IndirectFlag) != 0)
            {
                if (!hasIndirect || isIndirect || (flags & NextFlag) != 0 || length == 0 || length % DescriptorSize != 0)
                {
                    return $"an indirect descriptor with flags 0x{flags:x} and 0x{length:x} bytes";
                }
                (table, count, index, isIndirect) = ((uint)address, length / DescriptorSize, 0, true);
                continue;
            }
            bool isWritable = (flags & WriteFlag) != 0;
            if (!isWritable && chain.HasWritable)
            {
                return "a buffer to read behind one to write";
            }
            if (isWritable && !memory.TakesWrites((uint)address, length))
            {
                return $"a buffer in a ROM at 0x{address:x}";
            }
            if (length > 0)
            {
                chain.Add(new GuestSection((uint)address, length), isWritable);
            }
            total += length;
            if (total > uint.MaxValue)
            {
                return "a chain of more than 4 GiB";
            }
            if ((flags & NextFlag) == 0)
            {
                return null;
            }
        }
        return "a chain without an end";
    }
}

/// <summary>Where a queue lies.</summary>
/// <param name="Size">Descriptors, a power of two.</param>
/// <param name="Descriptors">Guest physical address of the descriptor table.</param>
/// <param name="Available">Guest physical address of the available ring, which the driver writes.</param>
/// <param name="Used">Guest physical address of the used ring, which the device writes.</param>
internal readonly record struct VirtqueuePlace(ushort Size, ulong Descriptors, ulong Available, ulong Used)
{
    /// <summary>What a driver finds.</summary>
    public static VirtqueuePlace Initial => new(Virtqueue.MaximumSize, 0, 0, 0);
}
