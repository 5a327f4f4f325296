// A device as its user describes it, before there is a machine: each kind is a record of its own, and the list of them is the order on the bus.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>Describes a device of a <see cref="Machine"/> besides its console.</summary>
public abstract record DeviceOptions
{
    private protected DeviceOptions()
    {
    }

    /// <summary>Opens what the device needs, for the lguest bus.</summary>
    /// <exception cref="MachineConfigurationException">It cannot be had; nothing is left behind.</exception>
    internal abstract Device Open(ILogger logger);

    /// <summary>Opens what the device needs, for a PC.</summary>
    /// <exception cref="MachineConfigurationException">It cannot be had; nothing is left behind.</exception>
    internal abstract VirtioDevice OpenVirtio(ILogger logger);
}
