// `--share FOLDER:TAG[,readonly]`. The tag stands behind the last colon, so that a folder's name may have some, too.

using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal static class ShareArgument
{
    private const string ReadOnly = ",readonly";

    /// <summary>Reads the option's value.</summary>
    /// <exception cref="CommandException">It names no folder or no tag.</exception>
    public static DeviceOptions Read(string value)
    {
        bool isReadOnly = value.EndsWith(ReadOnly, StringComparison.Ordinal);
        string place = isReadOnly ? value[..^ReadOnly.Length] : value;
        int colon = place.LastIndexOf(':');
        return colon > 0 && colon < place.Length - 1
            ? new ShareOptions(place[..colon], place[(colon + 1)..]) { IsReadOnly = isReadOnly }
            : throw new CommandException("--share needs a folder and the tag by which the Guest mounts it, as in --share /srv/data:data");
    }
}
