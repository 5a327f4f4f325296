// A disk as its user describes it, and everything that can be wrong with the file that is to be one.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Block;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Block;
using Lguest.Platform;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>What a Guest may do to a disk.</summary>
public enum BlockAccess
{
    /// <summary>Read and write. The Guest has the image alone.</summary>
    ReadWrite,

    /// <summary>Read. Writes fail. Any number of readers share an image, as long as nobody writes to it.</summary>
    ReadOnly,

    /// <summary>Read and write, but the writes go to a temporary file and are forgotten with the machine. The image is shared as by readers.</summary>
    Snapshot,
}

/// <summary>A disk from a raw image or a block device of the host (ABI 10.10, or virtio on a PC).</summary>
/// <param name="Path">The file: a multiple of 512 bytes, not 0, less than 2 TiB. Its size never changes.</param>
public sealed record BlockDeviceOptions(string Path) : DeviceOptions
{
    /// <summary>What the Guest may do to it; reading and writing by default.</summary>
    public BlockAccess Access { get; init; } = BlockAccess.ReadWrite;

    /// <inheritdoc/>
    internal override Device Open(ILogger logger) => new BlockDevice(OpenDisk(logger), logger);

    /// <inheritdoc/>
    internal override VirtioDevice OpenVirtio(ILogger logger) => new VirtioBlockDevice(OpenDisk(logger), System.IO.Path.GetFileName(Path));

    private GuestDisk OpenDisk(ILogger logger)
    {
        string name = $"block image {Path}";
        IDisk disk = OpenFile(name);
        try
        {
            if (disk.Length == 0)
            {
                throw new MachineConfigurationException($"{name} is empty; a new disk of 1 GiB: truncate -s 1G FILE.");
            }
            if (disk.Length % GuestDisk.SectorSize != 0)
            {
                throw new MachineConfigurationException($"{name} has {disk.Length} bytes, which is not a multiple of {GuestDisk.SectorSize}: it is truncated, or no raw image.");
            }
            if (disk.Length / GuestDisk.SectorSize > uint.MaxValue)
            {
                throw new MachineConfigurationException($"{name} is too large: a Guest's disk is smaller than 2 TiB.");
            }
            return new GuestDisk(Access == BlockAccess.Snapshot ? OpenSnapshot(name, disk) : disk, name, logger);
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }

    // L:188 The user's devices are opened first of all, in the order of the command line. Files can be wrong in many ways, and each
    // deserves a sentence that helps. The most important refusal: two Guests that write to one image would destroy it within seconds, for
    // each believes that it has the disk alone. The file is locked, and the second one is told.
    private DiskFile OpenFile(string name)
    {
        bool writes = Access == BlockAccess.ReadWrite;
        try
        {
            return DiskFile.Open(Path, writes);
        }
        catch (DiskInUseException error)
        {
            throw new MachineConfigurationException(
                $"{name} is in use by another Guest: who writes to an image needs it alone, only readonly and snapshot share it.", error);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new MachineConfigurationException($"{name} does not exist.", error);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new MachineConfigurationException(writes
                ? $"{name} cannot be opened for writing; use it with ,readonly or ,snapshot, or allow writing."
                : $"{name} cannot be read: permission denied.", error);
        }
        catch (Exception error) when (error is IOException or ArgumentException or NotSupportedException)
        {
            throw new MachineConfigurationException($"{name} cannot be used: {error.Message.TrimEnd('.')}.", error);
        }
    }
    // :*

    private static SnapshotDisk OpenSnapshot(string name, IDisk image)
    {
        string directory = System.IO.Path.GetTempPath();
        try
        {
            return new SnapshotDisk(image, directory);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new MachineConfigurationException($"a snapshot of {name} needs a temporary file, which {directory} does not take: {error.Message}", error);
        }
    }
}
