// Opening the files that a machine is made of, with errors that a user can act on.

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
}
