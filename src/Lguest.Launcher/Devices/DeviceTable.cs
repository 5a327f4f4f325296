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
    private const uint PageCountOffset = 6;
    private const uint PageNumberOffset = 8;

    /// <summary>Pages of all devices together, without the descriptor page.</summary>
    public static uint CountPages(IEnumerable<Device> devices) => (uint)devices.Sum(static device => device.PageCount);

    // L:190 What is plugged in? On a PC, finding out takes a bus protocol. Here the answer lies in a page behind the end of RAM: an array
    // of sixteen descriptors of twelve bytes. The order is the order of creation, and it is important, since device n has interrupt n +
    // 1. A device that needs pages of its own, to share with the Guest, gets them right behind.
    /// <summary>Writes the descriptors of a machine's devices, and gives each its pages.</summary>
    public static void Write(MachineMemory memory, in MemoryMap map, IReadOnlyList<Device> devices)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(devices.Count, MaximumDevices);
        uint nextPage = map.DescriptorPage + MemoryMap.PageSize;
        for (int i = 0; i < devices.Count; i++)
        {
            Device device = devices[i];
            uint descriptor = map.DescriptorPage + ((uint)i * DescriptorSize);
            memory.Write(descriptor, (ushort)device.Type);
            memory.Write(descriptor + FeaturesOffset, device.Features);
            if (device.PageCount > 0)
            {
                memory.Write(descriptor + PageCountOffset, (ushort)device.PageCount);
                memory.Write(descriptor + PageNumberOffset, nextPage / MemoryMap.PageSize);
            }
            device.Attach(memory, new DevicePlace(descriptor, nextPage));
            nextPage += device.PageCount * MemoryMap.PageSize;
        }
    }
    // :*
}
