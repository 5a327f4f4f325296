// A network interface as a virtio device (specification 5.1), with the same outsides as the lguest device: what the Guest sends goes to the
// back end at once, what comes from there waits in its queue for a buffer. An outside that is gone is a cable that has been pulled.

using Lguest.Launcher.Devices.Network;

namespace Lguest.Launcher.Devices.Virtio.Network;

/// <summary>A virtio network interface.</summary>
internal sealed class VirtioNetworkDevice : VirtioDevice
{
    private const int ReceiveQueue = 0;
    private const int SendQueue = 1;

    private readonly NetworkBackEnd backEnd;
    private readonly byte[] configuration = new byte[VirtioNetworkConfiguration.Size];
    private readonly byte[] head = new byte[VirtioNetworkHeader.Size];

    /// <summary>Makes the device.</summary>
    /// <param name="backEnd">The outside; it is closed with the device.</param>
    /// <param name="hardwareAddress">The Guest's address, six bytes.</param>
    public VirtioNetworkDevice(NetworkBackEnd backEnd, ReadOnlySpan<byte> hardwareAddress)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(hardwareAddress.Length, VirtioNetworkConfiguration.HardwareAddressSize);
        this.backEnd = backEnd;
        hardwareAddress.CopyTo(configuration.AsSpan(VirtioNetworkConfiguration.HardwareAddress));
        configuration[VirtioNetworkConfiguration.Status] = VirtioNetworkConfiguration.LinkUp;
        head[VirtioNetworkHeader.BufferCount] = 1;
    }

    public override VirtioDeviceType Type => VirtioDeviceType.Network;

    public override uint ClassCode => 0x02_0000;

    public override ulong Features => VirtioNetworkFeatures.HardwareAddress | VirtioNetworkFeatures.Status | (backEnd.CompletesChecksums
        ? VirtioNetworkFeatures.SendsPartialChecksums | VirtioNetworkFeatures.ReceivesPartialChecksums
        : 0);

    public override int QueueCount => 2;

    public override ReadOnlySpan<byte> Configuration => configuration;

    public override void Serve(int queue)
    {
        if (queue == ReceiveQueue)
        {
            DeliverInput();
        }
        else
        {
            ServeRequests(SendQueue, Send);
        }
    }

    public override void DeliverInput()
    {
        FrameQueue input = backEnd.Input;
        Virtqueue queue = Transport.Queues[ReceiveQueue];
        if (!queue.IsLive)
        {
            input.Clear();
        }
        if (backEnd.Failure != null && configuration[VirtioNetworkConfiguration.Status] != 0)
        {
            configuration[VirtioNetworkConfiguration.Status] = 0;
            Transport.ConfigurationChanged();
        }
        int buffers = queue.CountAvailable();
        for (; buffers > 0 && input.TryPeek(out Span<byte> frame) && queue.TryTake(out DescriptorChain chain); buffers--)
        {
            queue.Complete(chain.Head, Receive(chain.Writable, frame));
            input.Remove();
        }
        // Who has nothing to give need not hear of room for it.
        queue.AskForNotification(input.Count > 0);
        queue.Announce();
        backEnd.InputTaken();
    }

    public override void Reset()
    {
        backEnd.Input.Clear();
        backEnd.InputTaken();
    }

    public override void Start(Action wake) => backEnd.Start(wake);

    public override void Stop() => backEnd.Stop();

    public override void Dispose() => backEnd.Dispose();

    /// <summary>Fills a buffer with a packet; one that does not fit is lost.</summary>
    private uint Receive(in GuestSections buffer, ReadOnlySpan<byte> frame)
    {
        if (buffer.Length < head.Length + frame.Length)
        {
            return 0;
        }
        bool tellsChecksums = (Transport.Features & VirtioNetworkFeatures.ReceivesPartialChecksums) != 0;
        head[VirtioNetworkHeader.Flags] = tellsChecksums ? VirtioNetworkHeader.ChecksumIsValid : (byte)0;
        buffer.CopyFrom(head);
        buffer.Slice(head.Length, frame.Length).CopyFrom(frame);
        return (uint)(head.Length + frame.Length);
    }

    private uint Send(DescriptorChain chain)
    {
        GuestSections packet = chain.Readable;
        long length = packet.Length - VirtioNetworkHeader.Size;
        if (length is >= FrameQueue.MinimumFrame and <= FrameQueue.MaximumFrame)
        {
            _ = backEnd.TrySend(packet.Slice(VirtioNetworkHeader.Size, length));
        }
        return 0;
    }
}
