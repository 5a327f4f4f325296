// Guests that share a network share a page of a file. This file maps such a page, so that what one writes the others read, and tells
// which file it is: by its inode where there are inodes, so that every path and every process agrees, and by its path elsewhere.

using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>A page of a shared file.</summary>
/// <param name="File">Identity of the file (<see cref="SharedFileMapping.Identity"/>).</param>
/// <param name="Page">Page number in the file, of 4096 bytes.</param>
public readonly record struct SharedPage(string File, uint Page);

/// <summary>The first pages of a file, mapped so that everybody who maps the file sees the same bytes.</summary>
/// <remarks>The file must not be made shorter while it is mapped: the host system ends a process that touches what is gone.</remarks>
public sealed unsafe class SharedFileMapping : IDisposable
{
    private const int PageSize = 4096;

    private readonly MemoryMappedFile file;
    private readonly MemoryMappedViewAccessor view;
    private byte* address;

    /// <summary>Maps the first pages of a file.</summary>
    /// <param name="file">The file, open for reading and writing; it may be closed afterwards.</param>
    /// <param name="pages">Pages of 4096 bytes, at least 1.</param>
    /// <exception cref="IOException">The file is shorter, or the host refuses the mapping.</exception>
    public SharedFileMapping(FileStream file, uint pages)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentOutOfRangeException.ThrowIfZero(pages);
        long size = (long)pages * PageSize;
        if (file.Length < size)
        {
            throw new IOException($"{file.Name} has {file.Length} bytes; {size} are to be shared.");
        }
        Pages = pages;
        Identity = Identify(file);
        this.file = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
        view = this.file.CreateViewAccessor(0, size, MemoryMappedFileAccess.ReadWrite);
        // SAFETY: the view begins at the start of the file, so it is page-aligned and has size bytes; Dispose gives the pointer back.
        unsafe
        {
            view.SafeMemoryMappedViewHandle.AcquirePointer(ref address);
        }
    }

    /// <summary>Pages that are mapped.</summary>
    public uint Pages { get; }

    /// <summary>What all mappings of this file agree on, and those of other files do not, as long as one of them exists.</summary>
    public string Identity { get; }

    /// <summary>First byte; valid until <see cref="Dispose"/>.</summary>
    public byte* Address => address;

    /// <summary>Ends the mapping. Nobody may hold an address into it afterwards.</summary>
    public void Dispose()
    {
        // SAFETY: the pointer is given back once, by whoever acquired it.
        unsafe
        {
            if (address == null)
            {
                return;
            }
            address = null;
            view.SafeMemoryMappedViewHandle.ReleasePointer();
        }
        view.Dispose();
        file.Dispose();
    }

    private static string Identify(FileStream file)
    {
        if (!OperatingSystem.IsLinux())
        {
            return Path.GetFullPath(file.Name);
        }
        if (!FileStatus.TryGet(file.SafeFileHandle, out FileStatus status))
        {
            throw new IOException($"The host does not tell the inode of {file.Name} (error {Marshal.GetLastPInvokeError()}).");
        }
        return $"{status.DeviceMajor}:{status.DeviceMinor}:{status.Inode}";
    }
}
