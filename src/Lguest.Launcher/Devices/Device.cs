// What the Launcher's devices have in common: a descriptor by which the Guest finds them, perhaps pages of their own behind the Guest's RAM,
// a key to which the Guest sends, and input that waits until the Guest has a buffer for it (ABI 10.1 and 10.8).

using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices;

/// <summary>Device types of the lguest bus.</summary>
internal enum DeviceType : ushort
{
    /// <summary>A terminal.</summary>
    Console = 1,

    /// <summary>A network interface.</summary>
    Network = 2,

    /// <summary>A disk.</summary>
    Block = 3,
}

/// <summary>A device on the lguest bus. Its methods run on the Guest's thread while the Guest is stopped, unless they say otherwise.</summary>
internal abstract class Device : IDisposable
{
    /// <summary>What the Guest chooses its driver by.</summary>
    public abstract DeviceType Type { get; }

    /// <summary>Feature bits of the descriptor.</summary>
    public virtual ushort Features => 0;

    /// <summary>Pages of the device's own, behind the descriptor page.</summary>
    public virtual uint PageCount => 0;

    /// <summary>The key to which the Guest sends its output; null when it sends to nobody here.</summary>
    public abstract uint? OutputKey { get; }

    /// <summary>Input that waits for <see cref="DeliverInput"/>, in bytes or packets. May be asked from any thread.</summary>
    public abstract int WaitingInput { get; }

    /// <summary>Tells the device where it is; its pages are zero. Once, before the Guest exists.</summary>
    /// <param name="memory">The machine's memory.</param>
    /// <param name="place">Where the device is in it.</param>
    public virtual void Attach(MachineMemory memory, DevicePlace place)
    {
    }

    /// <summary>Takes what the Guest sent.</summary>
    /// <param name="buffer">The list that it sent.</param>
    /// <param name="port">For an answer at once.</param>
    /// <returns>Bytes taken: the Guest finds them in the first word of its list.</returns>
    public abstract uint HandleOutput(in DmaBuffer buffer, IDevicePort port);

    /// <summary>Hands waiting input to the Guest, as far as it has buffers.</summary>
    public abstract void DeliverInput(IDevicePort port);

    /// <summary>Begins to wait for input from outside.</summary>
    /// <param name="wake">To be called, from any thread, whenever input has arrived.</param>
    public abstract void Start(Action wake);

    /// <summary>Ends what <see cref="Start"/> began; afterwards nobody is woken any more.</summary>
    public abstract void Stop();

    /// <summary>Gives back what the device has opened. The Guest is gone by then, or never was.</summary>
    public virtual void Dispose()
    {
    }
}

/// <summary>Where a device is in the Guest's memory.</summary>
/// <param name="Descriptor">Guest physical address of its descriptor (ABI 10.1).</param>
/// <param name="FirstPage">Guest physical address of its first page; of no meaning without pages.</param>
internal readonly record struct DevicePlace(uint Descriptor, uint FirstPage)
{
    private const uint StatusOffset = 4;

    /// <summary>Guest physical address of the status word, which only the Guest writes.</summary>
    public uint Status => Descriptor + StatusOffset;
}

/// <summary>A device's way to the Guest.</summary>
internal interface IDevicePort
{
    /// <summary>Asks for a free buffer that the Guest has bound to a key.</summary>
    /// <returns>False when there is none now.</returns>
    bool TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq);

    /// <summary>Says that a buffer has been filled and raises its interrupt.</summary>
    void Complete(in DmaBuffer buffer, uint length, uint irq);

    /// <summary>Ends the Guest, because it asked for what no device can do.</summary>
    /// <param name="reason">One line that says what it asked for.</param>
    void Fail(string reason);
}
