// What a Guest has taken hold of by a number, and perhaps opened.

using Lguest.Platform;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Launcher.Devices.Virtio.Share;

/// <summary>The protocol's fid.</summary>
/// <param name="node">The inode; it is closed with this object.</param>
internal sealed class ShareFile(HostNode node) : IDisposable
{
    /// <summary>The inode.</summary>
    public HostNode Node { get; private set; } = node;

    /// <summary>The file or folder, once it has been opened.</summary>
    public SafeFileHandle? Opened { get; private set; }

    /// <summary>Opens it; an earlier opening ends.</summary>
    public void Open(SafeFileHandle opened)
    {
        Opened?.Dispose();
        Opened = opened;
    }

    /// <summary>Makes the number mean another inode, which is open.</summary>
    public void Become(HostNode other, SafeFileHandle opened)
    {
        Node.Dispose();
        Node = other;
        Open(opened);
    }

    public void Dispose()
    {
        Opened?.Dispose();
        Node.Dispose();
    }
}
