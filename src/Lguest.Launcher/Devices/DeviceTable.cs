// The lguest bus: an array of sixteen descriptors in the page behind the Guest's RAM (ABI 10.1). The order of the devices is the order of
// their creation, and it matters: the Guest numbers its interrupts by it, and the console always comes last.

using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices;

internal static class DeviceTable
{
    /// <summary>Devices that the bus has room for.</summary>
    public const int MaximumDevices = 16;

    private const uint DescriptorSize = 12;
    private const uint FeaturesOffset = 2;

    /// <summary>Writes the descriptors of a machine's devices.</summary>
    public static void Write(MachineMemory memory, in MemoryMap map, IReadOnlyList<Device> devices)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(devices.Count, MaximumDevices);
        for (int i = 0; i < devices.Count; i++)
        {
            uint descriptor = map.DescriptorPage + ((uint)i * DescriptorSize);
            memory.Write(descriptor, (ushort)devices[i].Type);
            memory.Write(descriptor + FeaturesOffset, devices[i].Features);
        }
    }
}
