// The address of a Guest's interface: random, so that Guests of different processes can meet on one bridge.

using System.Security.Cryptography;

namespace Lguest.Launcher.Devices.Virtio.Network;

internal static class HardwareAddress
{
    /// <summary>Makes an address of one's own: not a group's, and not from a vendor's store.</summary>
    public static byte[] MakeRandom()
    {
        const byte Group = 1, LocallyAdministered = 2;
        byte[] address = RandomNumberGenerator.GetBytes(VirtioNetworkConfiguration.HardwareAddressSize);
        address[0] = (byte)((address[0] & ~Group) | LocallyAdministered);
        return address;
    }
}
