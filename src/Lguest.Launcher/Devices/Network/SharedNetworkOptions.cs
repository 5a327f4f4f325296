// The network of Guests among themselves (ABI 10.11), as its user describes it: a file, which all its members name.

using System.Runtime.Versioning;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Network;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Network;
using Lguest.Platform;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>A network interface that meets those of all Guests of the same platform with the same file.</summary>
/// <param name="Path">The file: one page. A missing one is made, for its owner only; an empty one grows.</param>
/// <remarks>Linux only.</remarks>
public sealed record SharedNetworkOptions(string Path) : DeviceOptions
{
    private const long FileSize = MemoryMap.PageSize;

    internal override Device Open(ILogger logger) =>
        Join(logger, static (file, slot) => new SharedNetworkDevice(file, new SharedFileMapping(file, 1), slot));

    /// <summary>Guests on PCs meet each other. Those on the lguest bus, whose packets are DMA between Guests, they do not meet.</summary>
    internal override VirtioDevice OpenVirtio(ILogger logger) =>
        Join(logger, static (file, slot) => new VirtioNetworkDevice(new PeerBackEnd(file, slot), HardwareAddress.MakeRandom()));

    /// <summary>Opens the file, takes a slot, and makes the device.</summary>
    private T Join<T>(ILogger logger, Func<FileStream, int, T> make)
    {
        if (!OperatingSystem.IsLinux())
        {
            throw new MachineConfigurationException("Shared networks exist on Linux only.");
        }
        if (Directory.Exists(Path))
        {
            throw new MachineConfigurationException($"network file {Path} is a directory.");
        }
        FileStream? file = null;
        try
        {
            file = OpenFile();
            int slot = TakeSlot(file);
            NetworkMessages.LogSlot(logger, Path, slot);
            return make(file, slot);
        }
        catch (MachineConfigurationException)
        {
            file?.Dispose();
            throw;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            file?.Dispose();
            throw new MachineConfigurationException($"network file {Path} cannot be used: {error.Message}", error);
        }
    }

    [SupportedOSPlatform("linux")]
    private FileStream OpenFile()
    {
        var file = new FileStream(Path, new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.ReadWrite,
            Share = FileShare.ReadWrite | FileShare.Delete,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        try
        {
            // Several may do this at once, to the same effect.
            if (file.Length == 0)
            {
                file.SetLength(FileSize);
            }
            return file.Length == FileSize
                ? file
                : throw new MachineConfigurationException($"network file {Path} has {file.Length} bytes, not {FileSize}: it is something else, and Guests would write into it.");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    // L:192 Guests among themselves: all map the same page of the same file, so that all see the same addresses and all mean the same by
    // a key. The Launcher has to do only one thing, to see that no two of them take the same slot. It locks the byte of the file that has
    // the slot's number. Such a lock needs no tidying up: the system releases it when its owner ends, however that happens.
    /// <summary>Takes the first slot that nobody holds. It is ours until the file is closed.</summary>
    private int TakeSlot(FileStream file)
    {
        for (int slot = 0; slot < NetworkPage.SlotCount; slot++)
        {
            if (RecordLock.TryAcquire(file.SafeFileHandle, slot, 1))
            {
                return slot;
            }
        }
        throw new MachineConfigurationException($"network file {Path} is full: {NetworkPage.SlotCount} Guests use it.");
    }
    // :*
}
