// Random bytes from the host's generator (specification 5.4): the driver makes a buffer available, and it comes back full.

using System.Security.Cryptography;

namespace Lguest.Launcher.Devices.Virtio.Entropy;

/// <summary>A source of random bytes.</summary>
internal sealed class EntropyDevice : VirtioDevice
{
    /// <summary>Bytes that a request gets at most: a driver that wants more asks again.</summary>
    public const int Most = 1 << 16;

    public override VirtioDeviceType Type => VirtioDeviceType.Entropy;

    public override uint ClassCode => 0xFF_0000;

    public override int QueueCount => 1;

    public override void Serve(int queue) => ServeRequests(queue, static chain =>
    {
        GuestSections bytes = chain.Writable.Slice(0, Math.Min(chain.Writable.Length, Most));
        foreach (Span<byte> piece in bytes)
        {
            RandomNumberGenerator.Fill(piece);
        }
        bytes.Overwritten(bytes.Length);
        return (uint)bytes.Length;
    });
}
