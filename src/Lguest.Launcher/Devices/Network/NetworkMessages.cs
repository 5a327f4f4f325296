// What the networks of a machine tell its log.

using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices.Network;

internal static partial class NetworkMessages
{
    [LoggerMessage(LogLevel.Information, "In the network {Path} the Guest has slot {Slot}.")]
    public static partial void LogSlot(ILogger logger, string path, int slot);

    [LoggerMessage(LogLevel.Information, "The host's end of the TAP network is {Name}.")]
    public static partial void LogInterface(ILogger logger, string name);
}
