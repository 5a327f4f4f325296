// A network of two: the Guest in slot 1, and in slot 0 the Launcher, who wants every packet (ABI 10.11). What is behind the Launcher, a
// TAP interface or a network without privilege, is its back end's affair.

using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices.Network;

internal sealed class NetworkDevice(NetworkBackEnd backEnd) : Device
{
    private const int LauncherSlot = 0;
    private const int GuestSlot = 1;

    private NetworkPage page;

    public override DeviceType Type => DeviceType.Network;

    public override ushort Features => (ushort)(GuestSlot | NetworkPage.Randomness | (backEnd.CompletesChecksums ? NetworkPage.NoChecksums : 0));

    public override uint PageCount => 1;

    public override uint? OutputKey => page.Key(LauncherSlot);

    public override int WaitingInput => backEnd.Input.Count;

    public override void Attach(MachineMemory memory, DevicePlace place)
    {
        page = new NetworkPage(memory, place.FirstPage);
        Span<byte> entry = stackalloc byte[NetworkPage.EntrySize];
        backEnd.HardwareAddress.CopyTo(entry);
        entry[0] |= NetworkPage.Promiscuous;
        page.Write(LauncherSlot, entry);
    }

    // L:216 A network of two, the Guest in slot 1 and the Launcher in slot 0. A packet that the Guest sends is an Ethernet frame in a
    // list, and goes to the back end at once. Packets for the Guest wait in a queue; each takes one of the buffers that the Guest has
    // bound. If the Guest has no interface open, it will not take any of them, and they are thrown away.
    public override uint HandleOutput(in DmaBuffer buffer, IDevicePort port) =>
        buffer.Length is >= FrameQueue.MinimumFrame and <= FrameQueue.MaximumFrame && backEnd.TrySend(buffer.Pieces) ? (uint)buffer.Length : 0;

    public override void DeliverInput(IDevicePort port)
    {
        if (backEnd.Failure is string reason)
        {
            port.Fail(reason);
            return;
        }
        FrameQueue input = backEnd.Input;
        if (!page.IsOpen(GuestSlot))
        {
            // Nobody will ever take it. The Guest says that it has opened its interface before it binds its first buffer.
            input.Clear();
        }
        // Only what waits now: a Guest whose buffers have no room gets empty packets, but is not kept here by them.
        for (int waiting = input.Count; waiting > 0 && port.TryGetBuffer(page.Key(GuestSlot), out DmaBuffer buffer, out uint irq); waiting--)
        {
            _ = input.TryPeek(out Span<byte> frame);
            frame = frame[..Math.Min(frame.Length, buffer.Length)];
            buffer.CopyFrom(frame);
            input.Remove();
            port.Complete(buffer, (uint)frame.Length, irq);
        }
        backEnd.InputTaken();
    }
    // :*

    public override void Start(Action wake) => backEnd.Start(wake);

    public override void Stop() => backEnd.Stop();

    public override void Dispose() => backEnd.Dispose();
}
