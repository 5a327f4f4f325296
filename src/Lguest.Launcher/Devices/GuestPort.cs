// The Launcher's end of a Guest's DMA: what the Guest sends goes to the device that watches its key, and input goes into buffers that the
// Guest has bound. Whoever runs a Guest of the lguest platform has one of these for each of its lives.

using Lguest.Host;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices;

/// <summary>The way between a Guest and its devices (ABI 10.8).</summary>
/// <remarks>Belongs to the Guest's thread, while the Guest is stopped.</remarks>
/// <param name="lguest">The Guest's door.</param>
/// <param name="memory">The Guest's memory.</param>
/// <param name="devices">All devices of the Guest.</param>
internal sealed class GuestPort(LguestDevice lguest, MachineMemory memory, IReadOnlyList<Device> devices) : IDevicePort
{
    /// <summary>Why the Guest cannot go on; null while it can.</summary>
    public string? Death { get; private set; }

    /// <inheritdoc/>
    public void Fail(string reason) => Death ??= reason;

    // L:210 The Guest has sent a list to a key. Each device watches one key, which is the address of its first page, or 0 for the
    // console. A key that no device watches is not an error: the Guest talks to somebody who is not there.
    //
    // When the device has taken what it wants, the number of bytes goes into the first word of the list, where the Guest's driver expects
    // it.

    /// <summary>Gives a device what the Guest has sent.</summary>
    /// <param name="address">Guest physical address of the list.</param>
    /// <param name="key">The key that it was sent to.</param>
    /// <returns>False if no device watches this key.</returns>
    public bool TryHandleOutput(uint address, uint key)
    {
        foreach (Device device in devices)
        {
            if (device.OutputKey == key)
            {
                if (TryReadList(address, out DmaBuffer buffer))
                {
                    buffer.UsedLength = device.HandleOutput(buffer, this);
                }
                // The Guest is stopped anyhow, and who has just sent is often ready to receive.
                if (device.WaitingInput > 0)
                {
                    device.DeliverInput(this);
                }
                return true;
            }
        }
        return false;
    }
    // :*

    /// <summary>Hands all waiting input to the Guest, as far as it has buffers.</summary>
    public void DeliverInput()
    {
        foreach (Device device in devices)
        {
            device.DeliverInput(this);
        }
    }

    /// <inheritdoc/>
    public bool TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq)
    {
        irq = 0;
        buffer = default;
        if (lguest.GetDma(key, out uint address) != LguestError.None || !TryReadList(address, out buffer))
        {
            return false;
        }
        irq = buffer.UsedLength;
        return true;
    }

    /// <inheritdoc/>
    public void Complete(in DmaBuffer buffer, uint length, uint irq)
    {
        buffer.UsedLength = length;
        // A Guest that has died meanwhile, perhaps of its peer's transfer, has a reason of its own: the next read tells it.
        if (lguest.Irq(irq) == LguestError.InvalidArgument)
        {
            Fail($"interrupt {irq} refused");
        }
    }

    private bool TryReadList(uint address, out DmaBuffer buffer)
    {
        if (DmaBuffer.TryRead(memory, address, out buffer, out uint badAddress))
        {
            return true;
        }
        Fail($"invalid address {badAddress}");
        return false;
    }
}
