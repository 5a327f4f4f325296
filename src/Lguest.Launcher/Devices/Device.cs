// What the Launcher's devices have in common: a descriptor by which the Guest finds them, a key to which it sends, and input that waits
// until the Guest has a buffer for it (ABI 10.1 and 10.8).

namespace Lguest.Launcher.Devices;

/// <summary>Device types of the lguest bus.</summary>
internal enum DeviceType : ushort
{
    /// <summary>A terminal.</summary>
    Console = 1,
}

/// <summary>A device on the lguest bus.</summary>
internal abstract class Device
{
    /// <summary>What the Guest chooses its driver by.</summary>
    public abstract DeviceType Type { get; }

    /// <summary>Feature bits of the descriptor.</summary>
    public virtual ushort Features => 0;

    /// <summary>The key to which the Guest sends its output.</summary>
    public abstract uint OutputKey { get; }

    /// <summary>Bytes of input that wait for <see cref="DeliverInput"/>. May be asked from any thread.</summary>
    public abstract int WaitingInput { get; }

    /// <summary>Takes what the Guest sent.</summary>
    /// <returns>Bytes taken: the Guest finds them in the first word of its list.</returns>
    public abstract uint HandleOutput(in DmaBuffer buffer);

    /// <summary>Hands waiting input to the Guest, as far as it has buffers. Runs on the Guest's thread, while the Guest is stopped.</summary>
    public abstract void DeliverInput(IInputPort port);

    /// <summary>Begins to wait for input from outside.</summary>
    /// <param name="wake">To be called, from any thread, whenever input has arrived.</param>
    public abstract void Start(Action wake);

    /// <summary>Ends what <see cref="Start"/> began; afterwards nobody is woken any more.</summary>
    public abstract void Stop();
}

/// <summary>The Guest's end of a device's input.</summary>
internal interface IInputPort
{
    /// <summary>Asks for a free buffer that the Guest has bound to a key.</summary>
    /// <returns>False when there is none now.</returns>
    bool TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq);

    /// <summary>Says that a buffer has been filled and raises its interrupt.</summary>
    void Complete(in DmaBuffer buffer, uint length, uint irq);
}
