// The "zero page" through which every Linux learns from its boot loader what machine it wakes up in (ABI 2.4). Ours says very little:
// one piece of RAM, a command line, and perhaps an initrd; no screen, no disks, no BIOS.

using System.Text;
using Lguest.X86.Memory;

namespace Lguest.Launcher;

internal static class BootBlock
{
    private const uint E820Count = 0x1E8;
    private const uint LoaderType = 0x210;
    private const uint InitrdAddress = 0x218;
    private const uint InitrdSize = 0x21C;
    private const uint CommandLineAddress = 0x228;
    private const uint HardwareSubarchitecture = 0x23C;
    private const uint E820Entries = 0x2D0;

    private const byte UnknownLoader = 0xFF;
    private const uint LguestSubarchitecture = 1;
    private const uint E820Ram = 1;

    // L:184 And the boot block, the form that every boot loader fills in for Linux. Of some hundred fields we need seven. One of them
    // says "subarchitecture: lguest", so that the kernel knows what it has woken up in.
    /// <summary>Fills in the block and the command line behind it.</summary>
    /// <exception cref="MachineConfigurationException">The command line is too long or has characters beyond Latin-1.</exception>
    public static void Write(MachineMemory memory, in MemoryMap map, string commandLine)
    {
        memory.Write(MemoryMap.BootBlock + E820Count, (byte)1);
        memory.Write(MemoryMap.BootBlock + E820Entries, 0UL);
        memory.Write(MemoryMap.BootBlock + E820Entries + 8, (ulong)map.Memory);
        memory.Write(MemoryMap.BootBlock + E820Entries + 16, E820Ram);
        memory.Write(MemoryMap.BootBlock + CommandLineAddress, MemoryMap.CommandLine);
        memory.Write(MemoryMap.BootBlock + HardwareSubarchitecture, LguestSubarchitecture);
        if (map.InitrdSize != 0)
        {
            memory.Write(MemoryMap.BootBlock + LoaderType, UnknownLoader);
            memory.Write(MemoryMap.BootBlock + InitrdAddress, map.Initrd);
            memory.Write(MemoryMap.BootBlock + InitrdSize, map.InitrdSize);
        }
        memory.Write(MemoryMap.CommandLine, EncodeCommandLine(commandLine));
    }
    // :*

    private static byte[] EncodeCommandLine(string commandLine)
    {
        if (commandLine.Length >= MemoryMap.CommandLineSize)
        {
            throw new MachineConfigurationException(
                $"The kernel command line has {commandLine.Length} characters; the Guest reads at most {MemoryMap.CommandLineSize - 1}.");
        }
        if (commandLine.Any(static c => c is '\0' or > '\xFF'))
        {
            throw new MachineConfigurationException("The kernel command line has a character that is not Latin-1 text.");
        }
        return [.. Encoding.Latin1.GetBytes(commandLine), 0];
    }
}
