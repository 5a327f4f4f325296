// The way out through an interface of the host. What the Guest sends is written at once, on its own thread: the host takes or drops a
// frame, but does not make anybody wait.

using Lguest.Platform;

namespace Lguest.Launcher.Devices.Network;

internal sealed class TapBackEnd(TapInterface tap) : NetworkBackEnd("lguest tap")
{
    private readonly PollSet poll = new();
    private readonly byte[] sent = new byte[FrameQueue.MaximumFrame];
    private readonly byte[] received = new byte[FrameQueue.MaximumFrame];

    public override ReadOnlySpan<byte> HardwareAddress => tap.HardwareAddress;

    public override bool TrySend(in GuestSections frame) => tap.TryWrite(sent.AsSpan(0, frame.CopyTo(sent)));

    public override void Dispose()
    {
        poll.Dispose();
        tap.Dispose();
    }

    protected override void Wait(bool read)
    {
        poll.Clear();
        if (read)
        {
            poll.Add(tap.Descriptor, PollEvents.In);
        }
        poll.Wait(Timeout.Infinite);
        if (read)
        {
            // The queue has room for these: it is asked before every wait.
            for (int count = 0; count < FrameQueue.Capacity / 2 && tap.Read(received) is > 0 and int length; count++)
            {
                Input.TryAdd(received.AsSpan(0, length));
            }
        }
    }

    protected override void Wake() => poll.Wake();
}
