// A folder of the host as its user shares it with a Guest.

using System.Text;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Share;
using Lguest.Platform;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>A folder of the host that a Guest on a PC can mount (9P2000.L over virtio).</summary>
/// <param name="Path">The folder. The Guest reaches what lies in it, and nothing else, whatever links it makes.</param>
/// <param name="Tag">The name by which the Guest mounts it, at most 31 bytes of UTF-8.</param>
/// <remarks>Linux only. Files belong to whoever runs the machine.</remarks>
public sealed record ShareOptions(string Path, string Tag) : DeviceOptions
{
    private const int LongestTag = 31;

    /// <summary>Whether the Guest may change nothing.</summary>
    public bool IsReadOnly { get; init; }

    internal override Device Open(ILogger logger) => throw new MachineConfigurationException("Folders are shared with Guests on a PC only (--platform pc).");

    internal override VirtioDevice OpenVirtio(ILogger logger)
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new MachineConfigurationException("Folders are shared on Linux only.");
        }
        if (Encoding.UTF8.GetByteCount(Tag) is 0 or > LongestTag)
        {
            throw new MachineConfigurationException($"'{Tag}' cannot be a folder's tag: tags have 1 to {LongestTag} bytes.");
        }
        try
        {
            return new ShareDevice(HostNode.OpenFolderAt(Path), Tag, IsReadOnly);
        }
        catch (DirectoryNotFoundException error)
        {
            throw new MachineConfigurationException($"folder {Path} does not exist.", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new MachineConfigurationException($"folder {Path} cannot be shared: {error.Message}.", error);
        }
    }
}
