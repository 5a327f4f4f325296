// What a driver and a virtio console say to each other (specification 5.3), as far as a console with one port has it.

namespace Lguest.Launcher.Devices.Virtio.Console;

/// <summary>Feature bits of a console.</summary>
internal static class VirtioConsoleFeatures
{
    /// <summary>The configuration space tells the size of the terminal.</summary>
    public const ulong Size = 1 << 0;
}

/// <summary>Offsets in the configuration space, in bytes.</summary>
internal static class VirtioConsoleConfiguration
{
    /// <summary>Bytes up to the fields of features that are not offered.</summary>
    public const int Size = 4;

    /// <summary>u16.</summary>
    public const int Columns = 0;

    /// <summary>u16.</summary>
    public const int Rows = 2;
}
