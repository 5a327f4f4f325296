// Opening the files that a machine is made of, with errors that a user can act on, and reading them straight into its memory.

using Lguest.X86.Memory;

namespace Lguest.Launcher.Images;

internal static class ImageFile
{
    /// <summary>Opens a file for reading.</summary>
    /// <param name="role">What the file is for, as in "kernel".</param>
    /// <param name="path">Where it is.</param>
    /// <exception cref="MachineConfigurationException">It cannot be opened.</exception>
    public static FileStream Open(string role, string path)
    {
        try
        {
            if (Directory.Exists(path))
            {
                throw new MachineConfigurationException($"{role} {path} is a directory.");
            }
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new MachineConfigurationException($"{role} {path} does not exist.", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new MachineConfigurationException($"{role} {path} cannot be opened: {error.Message}", error);
        }
    }

    /// <summary>Reads from a stream to a place in memory.</summary>
    /// <param name="contents">The stream, at the first byte.</param>
    /// <param name="memory">The memory of a machine that does not run yet.</param>
    /// <param name="address">Physical address of the place, which lies inside the Guest's memory.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>Bytes read; fewer than <paramref name="length"/> where the stream ends.</returns>
    public static uint Read(Stream contents, MachineMemory memory, uint address, uint length)
    {
        memory.Commit(address, length);
        uint done = 0;
        while (done < length && contents.Read(memory.Contiguous(address + done, length - done)) is > 0 and int count)
        {
            done += (uint)count;
        }
        return done;
    }
}
