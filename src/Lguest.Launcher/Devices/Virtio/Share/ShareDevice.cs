// A folder of the host in the Guest (specification 5.12 draft; Linux's 9p over virtio): a mount tag in the configuration space, and a queue
// whose requests are messages of the file protocol with room for the answers.

using System.Buffers.Binary;
using System.Text;
using Lguest.Platform;

namespace Lguest.Launcher.Devices.Virtio.Share;

/// <summary>A virtio 9P device.</summary>
internal sealed class ShareDevice : VirtioDevice
{
    private const ulong HasMountTag = 1;

    private readonly ShareServer server;
    private readonly byte[] configuration;

    /// <summary>Makes the device.</summary>
    /// <param name="root">The folder; it is closed with the device.</param>
    /// <param name="tag">By which the Guest mounts it.</param>
    /// <param name="isReadOnly">Whether the Guest may change nothing.</param>
    public ShareDevice(HostNode root, string tag, bool isReadOnly)
    {
        byte[] text = Encoding.UTF8.GetBytes(tag);
        configuration = [0, 0, .. text];
        BinaryPrimitives.WriteUInt16LittleEndian(configuration, (ushort)text.Length);
        server = new ShareServer(root, isReadOnly);
    }

    public override VirtioDeviceType Type => VirtioDeviceType.Share;

    public override uint ClassCode => 0x01_8000;

    public override ulong Features => HasMountTag;

    public override int QueueCount => 1;

    public override ReadOnlySpan<byte> Configuration => configuration;

    public override void Serve(int queue) => ServeRequests(queue, Serve);

    public override void Reset() => server.Reset();

    public override void Dispose() => server.Dispose();

    private uint Serve(DescriptorChain chain)
    {
        if (server.TryAnswer(chain.Readable, chain.Writable, out uint written))
        {
            return written;
        }
        Transport.Fail($"a message of {chain.Readable.Length} bytes with {chain.Writable.Length} for the answer");
        return 0;
    }
}
