// The options that put devices on the Guest's bus. Both forms of the command take them, and their order on the command line, across all of
// them, is the order on the bus (ABI 2.1): it names the Guest's disks and numbers its interrupts.

using System.CommandLine;
using System.CommandLine.Parsing;
using Lguest.Launcher;

namespace Lguest.Cli.Commands;

internal sealed class DeviceArguments
{
    private readonly List<(Option<string[]> Option, Func<string, DeviceOptions> Read)> kinds =
    [
        (new("--block") { Description = "Disk: a raw image or a block device; repeatable.", HelpName = "FILE[,readonly|,snapshot]" }, BlockArgument.Read),
        (new("--net") { Description = "Network without privilege: user[,hostfwd=tcp:[ADDR]:PORT-[GUEST]:PORT]...", HelpName = "user" }, NetworkValues.ReadUser),
        (new("--tunnet") { Description = "Network with the host: an IPv4 address, or bridge:NAME.", HelpName = "ADDR" }, NetworkValues.ReadTap),
        (new("--sharenet") { Description = "Network with the Guests that name the same file.", HelpName = "FILE" }, static path => new SharedNetworkOptions(path)),
        (new("--share") { Description = "Folder for a PC to mount by its tag (9p over virtio).", HelpName = "FOLDER:TAG[,readonly]" }, ShareArgument.Read),
    ];

    /// <summary>The options, for a command to take.</summary>
    public IEnumerable<Option> Options => kinds.Select(static kind => kind.Option);

    /// <summary>Reads the devices in the order in which the user named them.</summary>
    /// <exception cref="CommandException">A value makes no sense.</exception>
    public IReadOnlyList<DeviceOptions> Read(ParseResult parsed)
    {
        var devices = new List<DeviceOptions>();
        Func<string, DeviceOptions>? read = null;
        foreach (Token token in parsed.Tokens)
        {
            if (token.Type == TokenType.Option)
            {
                read = kinds.Find(kind => kind.Option.Name == token.Value).Read;
            }
            else if (token.Type == TokenType.Argument && read != null)
            {
                devices.Add(read(token.Value));
                read = null;
            }
        }
        return devices;
    }
}
