// A disk of the host with a Guest in front of it: bytes go between the host's file and the Guest's pages by the host's own copy, once, and
// what the host cannot do is a message in the log and a failed request for the Guest.

using Lguest.Platform;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices.Block;

/// <summary>Moves the bytes of requests.</summary>
/// <param name="disk">Where the bytes are; it is closed with this object.</param>
/// <param name="name">What the user calls it, for messages.</param>
/// <param name="logger">Receives failures of the host.</param>
internal sealed partial class GuestDisk(IDisk disk, string name, ILogger logger) : IDisposable
{
    /// <summary>Bytes of the unit that requests count in.</summary>
    public const int SectorSize = 512;

    /// <summary>What the user calls it.</summary>
    public string Name => name;

    /// <summary>Size in bytes.</summary>
    public long Length => disk.Length;

    /// <summary>Whether every write fails.</summary>
    public bool IsReadOnly => disk.IsReadOnly;

    /// <summary>Fills pieces of memory from the disk.</summary>
    /// <returns>Bytes that are right; fewer than asked for at the end of the disk and after a failure.</returns>
    public long Read(in GuestSections pieces, long offset)
    {
        long done = 0;
        try
        {
            foreach (Span<byte> piece in pieces)
            {
                int count = disk.Read(piece, offset + done);
                done += count;
                if (count < piece.Length)
                {
                    break;
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            LogFailure(name, error.Message);
        }
        // A piece whose reading failed may have been filled in part.
        pieces.Overwritten(pieces.Length);
        return done;
    }

    /// <summary>Writes pieces of memory to the disk, none of them beyond its end.</summary>
    /// <returns>False when the disk is read-only or the host refused.</returns>
    public bool TryWrite(in GuestSections pieces, long offset)
    {
        if (disk.IsReadOnly)
        {
            return false;
        }
        try
        {
            foreach (Span<byte> piece in pieces)
            {
                disk.Write(piece, offset);
                offset += piece.Length;
            }
            return true;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            LogFailure(name, error.Message);
            return false;
        }
    }

    /// <summary>Returns when everything that was written has reached the medium, or with false when it has not.</summary>
    public bool TryFlush()
    {
        try
        {
            disk.Flush();
            return true;
        }
        catch (IOException error)
        {
            LogFailure(name, error.Message);
            return false;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => disk.Dispose();

    [LoggerMessage(LogLevel.Warning, "{Name} failed: {Error}")]
    private partial void LogFailure(string name, string error);
}
