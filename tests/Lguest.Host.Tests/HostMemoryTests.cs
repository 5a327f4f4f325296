// Blocks of host memory lie between pages that nobody may touch, and one byte too many ends the process instead of changing a neighbour.

using System.Globalization;
using Lguest.Platform;

namespace Lguest.Host.Tests;

public class HostMemoryTests
{
    [Fact]
    public void ABlock_LiesBetweenPagesThatNobodyMayTouch()
    {
        using var memory = new HostMemory(3 * 4096);
        ulong first = AddressOf(memory);
        Assert.Equal("---p", RightsAt(first - 1));
        Assert.Equal("rw-p", RightsAt(first));
        Assert.Equal("rw-p", RightsAt(first + (3 * 4096) - 1));
        Assert.Equal("---p", RightsAt(first + (3 * 4096)));
    }

    private static unsafe ulong AddressOf(HostMemory memory)
    {
        // SAFETY: the address is only compared.
        unsafe
        {
            return (ulong)memory.Address;
        }
    }

    /// <summary>Rights of the mapping at an address, as the system shows them; null when there is none.</summary>
    private static string? RightsAt(ulong address)
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] part = line.Split(' ');
            string[] range = part[0].Split('-');
            if (ulong.Parse(range[0], NumberStyles.HexNumber) <= address && address < ulong.Parse(range[1], NumberStyles.HexNumber))
            {
                return part[1];
            }
        }
        return null;
    }
}
