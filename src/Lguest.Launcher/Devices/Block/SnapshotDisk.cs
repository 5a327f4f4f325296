// A disk that forgets: what is written goes to a temporary file beside the image, which nobody can find and which vanishes with the process,
// however that ends. One bit for each block of 4 KiB says where the block is now; it is set only when the block is whole there.

using System.Collections;
using Lguest.Platform;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Launcher.Devices.Block;

/// <summary>An image that is only read, under an overlay that takes the writes.</summary>
internal sealed class SnapshotDisk : IDisk
{
    /// <summary>Bytes of the unit that is copied on write: a block of the file systems that Guests use, and a page.</summary>
    public const int BlockSize = 4096;

    private readonly IDisk image;
    private readonly SafeFileHandle overlay;
    private readonly BitArray overlaid;
    private readonly byte[] block = new byte[BlockSize];

    /// <summary>Puts an empty overlay over an image.</summary>
    /// <param name="image">The image; it is closed with this disk.</param>
    /// <param name="directory">Where the overlay's bytes are kept.</param>
    /// <exception cref="IOException">The directory takes no file (or an <see cref="UnauthorizedAccessException"/>).</exception>
    public SnapshotDisk(IDisk image, string directory)
    {
        this.image = image;
        overlaid = new BitArray((int)((image.Length + BlockSize - 1) / BlockSize));
        string path = Path.Combine(directory, $"lguest-snapshot-{Guid.NewGuid():n}");
        overlay = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.Delete, FileOptions.DeleteOnClose);
        if (!OperatingSystem.IsWindows())
        {
            File.Delete(path);
        }
    }

    /// <inheritdoc/>
    public long Length => image.Length;

    /// <inheritdoc/>
    public bool IsReadOnly => false;

    // L:214 A disk that forgets. Reads come from the image until a block has been written; from then on that block lives in a temporary
    // file. One bit for each block says which. A write that begins or ends in the middle of a block brings the rest of it along first, so
    // that a block is always whole in one of the two places.
    /// <inheritdoc/>
    public int Read(Span<byte> bytes, long offset)
    {
        bytes = bytes[..(int)Math.Clamp(Length - offset, 0, bytes.Length)];
        int done = 0;
        while (done < bytes.Length)
        {
            long at = offset + done;
            bool isOverlaid = overlaid[BlockOf(at)];
            long end = at;
            do
            {
                end = (end / BlockSize * BlockSize) + BlockSize;
            }
            while (end < offset + bytes.Length && overlaid[BlockOf(end)] == isOverlaid);
            Span<byte> run = bytes[done..(int)Math.Min(bytes.Length, end - offset)];
            int count = isOverlaid ? RandomAccess.Read(overlay, run, at) : image.Read(run, at);
            if (count == 0)
            {
                break;
            }
            done += count;
        }
        return done;
    }

    /// <inheritdoc/>
    public void Write(ReadOnlySpan<byte> bytes, long offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes.Length, Length - offset);
        if (bytes.IsEmpty)
        {
            return;
        }
        long end = offset + bytes.Length;
        CopyUp(offset, atBorder: offset % BlockSize == 0);
        CopyUp(end - 1, atBorder: end % BlockSize == 0 || end == Length);
        RandomAccess.Write(overlay, bytes, offset);
        for (int i = BlockOf(offset); i <= BlockOf(end - 1); i++)
        {
            overlaid[i] = true;
        }
    }
    // :*

    /// <inheritdoc/>
    /// <remarks>Nothing here is to survive, so all of it is always as safe as it can be.</remarks>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        overlay.Dispose();
        image.Dispose();
    }

    private static int BlockOf(long offset) => (int)(offset / BlockSize);

    /// <summary>Brings the rest of a block that is about to be written in part.</summary>
    private void CopyUp(long offset, bool atBorder)
    {
        int number = BlockOf(offset);
        if (!atBorder && !overlaid[number])
        {
            long start = (long)number * BlockSize;
            int count = image.Read(block, start);
            RandomAccess.Write(overlay, block.AsSpan(0, count), start);
            overlaid[number] = true;
        }
    }
}
