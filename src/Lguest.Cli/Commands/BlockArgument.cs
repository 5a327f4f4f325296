// `--block FILE[,readonly|,snapshot]`. Only these two endings mean anything: every other comma belongs to the file's name.

using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal static class BlockArgument
{
    private const string ReadOnly = ",readonly";
    private const string Snapshot = ",snapshot";

    /// <summary>Reads the option's value.</summary>
    /// <exception cref="CommandException">It names no file.</exception>
    public static DeviceOptions Read(string value)
    {
        (string path, BlockAccess access) =
            value.EndsWith(ReadOnly, StringComparison.Ordinal) ? (value[..^ReadOnly.Length], BlockAccess.ReadOnly)
            : value.EndsWith(Snapshot, StringComparison.Ordinal) ? (value[..^Snapshot.Length], BlockAccess.Snapshot)
            : (value, BlockAccess.ReadWrite);
        return path.Length > 0
            ? new BlockDeviceOptions(path) { Access = access }
            : throw new CommandException("--block needs the name of a disk image, as in --block disk.img");
    }
}
