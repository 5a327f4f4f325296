// What virtio devices have in common, whatever carries them: a type, features, a little configuration space, queues, and input that waits
// until the driver has a buffer for it. (Virtual I/O Device 1.2; "the specification" in this folder.)

namespace Lguest.Launcher.Devices.Virtio;

/// <summary>Device types of the specification's chapter 5.</summary>
internal enum VirtioDeviceType : ushort
{
    /// <summary>A network interface.</summary>
    Network = 1,

    /// <summary>A disk.</summary>
    Block = 2,

    /// <summary>A terminal.</summary>
    Console = 3,

    /// <summary>A source of random bytes.</summary>
    Entropy = 4,

    /// <summary>A folder of the host.</summary>
    Share = 9,
}

/// <summary>Feature bits that belong to the rings and not to a device.</summary>
internal static class VirtioFeatures
{
    /// <summary>A descriptor may point to a table of descriptors.</summary>
    public const ulong IndirectDescriptors = 1UL << 28;

    /// <summary>Each side says at which index it wants to hear of the other.</summary>
    public const ulong EventIndex = 1UL << 29;

    /// <summary>The driver knows version 1 of the specification: without it, there is no device.</summary>
    public const ulong Version1 = 1UL << 32;

    /// <summary>What every device offers.</summary>
    public const ulong Common = IndirectDescriptors | EventIndex | Version1;
}

/// <summary>What carries a device to its driver.</summary>
internal interface IVirtioTransport
{
    /// <summary>Features that both sides have agreed on; 0 before.</summary>
    ulong Features { get; }

    /// <summary>The device's queues. While the driver is not ready, they are empty.</summary>
    IReadOnlyList<Virtqueue> Queues { get; }

    /// <summary>Says that the configuration space has changed.</summary>
    void ConfigurationChanged();

    /// <summary>Ends the service until the driver resets the device.</summary>
    /// <param name="mistake">What the driver did.</param>
    void Fail(string mistake);
}

/// <summary>A device. Its methods run on the Guest's thread while the Guest is stopped, unless they say otherwise.</summary>
internal abstract class VirtioDevice : IDisposable
{
    /// <summary>What the Guest chooses its driver by.</summary>
    public abstract VirtioDeviceType Type { get; }

    /// <summary>The class code of its PCI function.</summary>
    public abstract uint ClassCode { get; }

    /// <summary>Features of this type that the device offers.</summary>
    public virtual ulong Features => 0;

    /// <summary>How many queues it has.</summary>
    public abstract int QueueCount { get; }

    /// <summary>The configuration space; the driver cannot write it.</summary>
    public virtual ReadOnlySpan<byte> Configuration => [];

    /// <summary>The way to the driver, once <see cref="Attach"/> has been called.</summary>
    protected IVirtioTransport Transport { get; private set; } = null!;

    /// <summary>Tells the device what carries it. Once, before the Guest exists.</summary>
    public void Attach(IVirtioTransport transport) => Transport = transport;

    /// <summary>The driver says that a queue has new buffers.</summary>
    public abstract void Serve(int queue);

    /// <summary>Hands waiting input to the driver, as far as it has buffers.</summary>
    public virtual void DeliverInput()
    {
    }

    /// <summary>Forgets what belongs to a driver that is gone.</summary>
    public virtual void Reset()
    {
    }

    /// <summary>Begins to wait for input from outside.</summary>
    /// <param name="wake">To be called, from any thread, whenever input has arrived: <see cref="DeliverInput"/> is to follow.</param>
    public virtual void Start(Action wake)
    {
    }

    /// <summary>Ends what <see cref="Start"/> began; afterwards nobody is woken any more.</summary>
    public virtual void Stop()
    {
    }

    /// <summary>Serves the buffers of a queue that are available now, each at once and in order, and gives them back.</summary>
    /// <param name="number">The queue.</param>
    /// <param name="serve">Does what a buffer asks for, and returns how many bytes it has written to it.</param>
    protected void ServeRequests(int number, Func<DescriptorChain, uint> serve)
    {
        Virtqueue queue = Transport.Queues[number];
        for (int waiting = queue.CountAvailable(); waiting > 0 && queue.TryTake(out DescriptorChain chain); waiting--)
        {
            queue.Complete(chain.Head, serve(chain));
        }
        queue.Announce();
    }

    /// <summary>Gives back what the device has opened. The Guest is gone by then, or never was.</summary>
    public virtual void Dispose()
    {
    }
}
