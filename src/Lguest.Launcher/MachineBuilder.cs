// Setting up a machine, in the order of the original Launcher (ABI 2.1): memory and devices, then the kernel, the initrd, the first page
// tables and the boot block. Everything that can be wrong with the user's choices is found here, before a Guest exists.

using Lguest.Host;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Images;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>What the Host is told at INITIALIZE besides the memory (ABI 3.2).</summary>
/// <param name="PageDirectory">Guest physical address of the initial page directory.</param>
/// <param name="Entry">Guest virtual address of the first instruction.</param>
/// <param name="PageOffset">Guest virtual minus Guest physical address.</param>
internal readonly record struct GuestStart(uint PageDirectory, uint Entry, uint PageOffset);

internal static partial class MachineBuilder
{
    private const long Mebibyte = 1 << 20;

    // L:100 A machine is built. Before anything is copied, everything is looked at: the size of memory, the kernel's headers, the initrd,
    // and whether all of it fits. A user's mistake is an exception with one line of text, and it comes here, before there is a Guest, or
    // not at all.
    //
    // The order is the original's: devices, kernel, initrd, page tables, boot block. At the end there is a memory full of bytes, an
    // address to start at, and no Guest yet.
    public static (MachineMemory Memory, GuestStart Start) Build(MachineOptions options, IReadOnlyList<Device> devices)
    {
        uint memorySize = CheckMemorySize(options.MemoryBytes, DeviceTable.CountPages(devices));
        using KernelImage kernel = KernelImage.Open(options.Kernel);
        using FileStream? initrd = options.Initrd is string path ? ImageFile.Open("initrd", path) : null;
        ulong initrdSize = MemoryMap.RoundUp((ulong)(initrd?.Length ?? 0));
        if (initrdSize >= memorySize)
        {
            throw new MachineConfigurationException(
                $"initrd {options.Initrd} ({Megabytes(initrdSize)} MiB) is larger than the Guest's memory ({Megabytes(memorySize)} MiB).");
        }
        var map = new MemoryMap(memorySize, (uint)initrdSize, kernel.PageOffset);
        CheckRoom(kernel, map);

        var memory = new MachineMemory((map.DescriptorPage / MemoryMap.PageSize) + 1 + DeviceTable.CountPages(devices), LguestAbi.ArenaFrames);
        try
        {
            DeviceTable.Write(memory, map, devices);
            kernel.CopyTo(memory);
            uint entry = kernel.FindEntry(memory);
            if (initrd != null)
            {
                CopyInitrd(initrd, memory, map);
            }
            InitialPageTables.Write(memory, map);
            BootBlock.Write(memory, map, options.CommandLine);
            LogBuilt(options.Logger, options.Kernel, entry, map.PageOffset, map.PageDirectory, map.Initrd, map.InitrdSize);
            return (memory, new GuestStart(map.PageDirectory, entry, map.PageOffset));
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }
    // :*

    private static uint CheckMemorySize(long size, uint devicePages)
    {
        if (size <= MemoryMap.KernelStart)
        {
            throw new MachineConfigurationException($"{size} bytes of memory are too small: a kernel alone begins at 1 MiB.");
        }
        if (size > MemoryMap.MaximumTop - ((1 + devicePages) * MemoryMap.PageSize))
        {
            throw new MachineConfigurationException(
                $"{Megabytes((ulong)size)} MiB of memory are too large: a Guest has at most {(MemoryMap.MaximumTop / Mebibyte) - 1} MiB.");
        }
        return size % MemoryMap.PageSize == 0
            ? (uint)size
            : throw new MachineConfigurationException($"{size} bytes of memory are not a multiple of {MemoryMap.PageSize}.");
    }

    private static void CheckRoom(KernelImage kernel, in MemoryMap map)
    {
        if (map.PageOffset >= LguestAbi.SwitcherAddress)
        {
            throw new MachineConfigurationException(
                $"The kernel's page offset 0x{map.PageOffset:x} lies in the Host's own window, from 0x{LguestAbi.SwitcherAddress:x} on.");
        }
        if (!map.Fits(kernel.MemoryEnd))
        {
            // A program that is no kernel may well ask for strange addresses: say that first.
            kernel.RequireEntryMark();
            ulong needed = kernel.MemoryEnd + map.InitrdSize + (((ulong)map.PageTableCount + 1) * MemoryMap.PageSize);
            throw new MachineConfigurationException(
                $"{Megabytes(map.Memory)} MiB of memory are too small: kernel and initrd alone need {Megabytes(needed)} MiB.");
        }
    }

    private static ulong Megabytes(ulong bytes) => (bytes + (ulong)Mebibyte - 1) / (ulong)Mebibyte;

    // L:180 The initrd, a file system in a file from which Linux starts its first program, goes to the very top of memory. The kernel
    // finds its address in the boot block.
    private static void CopyInitrd(FileStream initrd, MachineMemory memory, in MemoryMap map)
    {
        try
        {
            ImageFile.Read(initrd, memory, map.Initrd, map.InitrdSize);
        }
        catch (IOException error)
        {
            throw new MachineConfigurationException($"initrd {initrd.Name} cannot be read: {error.Message}", error);
        }
    }
    // :*

    [LoggerMessage(LogLevel.Information,
        "Kernel {Kernel}: entry 0x{Entry:x8}, page offset 0x{PageOffset:x8}; page directory at 0x{Directory:x}; initrd at 0x{Initrd:x}, 0x{InitrdSize:x} bytes")]
    private static partial void LogBuilt(ILogger logger, string kernel, uint entry, uint pageOffset, uint directory, uint initrd, uint initrdSize);
}
