// Filling a PC's memory, as a boot loader would: the kernel to where it wants to be, the initrd to the top of what the kernel can reach, and
// behind that whatever the protocol promises. Everything that can be wrong with the user's choices is found here.

using Lguest.Launcher.Images;
using Lguest.Pc.Board;
using Lguest.Pc.Boot;
using Lguest.X86;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Pc;

/// <summary>A machine's memory with an image in it, and how to begin.</summary>
/// <param name="Memory">The memory.</param>
/// <param name="Begin">Sets a new processor on the image's first instruction.</param>
internal readonly record struct LoadedPc(MachineMemory Memory, Action<Processor> Begin);

internal static class PcLoader
{
    private const long Mebibyte = 1 << 20;
    private const uint SmallestMemory = 2 << 20;
    private const int SmallestRom = 1 << 16;
    private const int LargestRom = 16 << 20;

    // As much of a ROM as PCs show below 1 MiB.
    private const int LowRom = 1 << 17;
    private const uint LowMemoryEnd = 1 << 20;

    /// <summary>Loads what the options name.</summary>
    /// <exception cref="MachineConfigurationException">It cannot be loaded; nothing is left behind.</exception>
    public static LoadedPc Load(MachineOptions options)
    {
        uint size = CheckMemorySize(options.MemoryBytes);
        return options.ImageFormat switch
        {
            ImageFormat.Linux => LoadLinux(options, size),
            ImageFormat.Multiboot => LoadMultiboot(options, size),
            ImageFormat.Rom => LoadRom(options, size),
            _ => throw new MachineConfigurationException($"There is no image format {options.ImageFormat}."),
        };
    }

    private static uint CheckMemorySize(long size)
    {
        long maximum = Math.Min(PcGuest.MaximumMemory, MemoryMap.MaximumTop);
        if (size < SmallestMemory)
        {
            throw new MachineConfigurationException($"{size} bytes of memory are too small: a PC has at least {SmallestMemory / Mebibyte} MiB.");
        }
        if (size > maximum)
        {
            throw new MachineConfigurationException($"{Megabytes((ulong)size)} MiB of memory are too large: a PC has at most {maximum / Mebibyte} MiB.");
        }
        return size % MemoryMap.PageSize == 0
            ? (uint)size
            : throw new MachineConfigurationException($"{size} bytes of memory are not a multiple of {MemoryMap.PageSize}.");
    }

    private static LoadedPc LoadLinux(MachineOptions options, uint size)
    {
        using LinuxImage kernel = LinuxImage.Open(options.Kernel);
        if (options.CommandLine.Length > kernel.LongestCommandLine)
        {
            throw new MachineConfigurationException(
                $"The command line has {options.CommandLine.Length} characters; this kernel takes {kernel.LongestCommandLine}.");
        }
        LoadedPc Loaded(MachineMemory memory, InitrdPlace place)
        {
            byte[] header = kernel.Header;
            uint entry = kernel.Entry;
            return new LoadedPc(memory, processor => LinuxBoot.Prepare(processor, header, entry, options.CommandLine, place));
        }
        return LoadWithInitrd(options, size, kernel.MemoryEnd, kernel.InitrdEnd, kernel.CopyTo, Loaded);
    }

    private static LoadedPc LoadMultiboot(MachineOptions options, uint size)
    {
        using KernelImage program = MultibootImage.Open(options.Kernel);
        if (options.CommandLine.Length > MultibootBoot.LongestCommandLine)
        {
            throw new MachineConfigurationException(
                $"The command line has {options.CommandLine.Length} characters; a multiboot program gets {MultibootBoot.LongestCommandLine}.");
        }
        uint entry = program.EntryPoint;
        return LoadWithInitrd(options, size, program.MemoryEnd, size, program.CopyTo, (memory, place) =>
            new LoadedPc(memory, processor => MultibootBoot.Prepare(processor, entry, options.CommandLine, place)));
    }

    /// <summary>Loads an image, and an initrd as high as it may be.</summary>
    private static LoadedPc LoadWithInitrd(
        MachineOptions options, uint size, ulong imageEnd, uint initrdEnd, Action<MachineMemory> copyImage, Func<MachineMemory, InitrdPlace, LoadedPc> finish)
    {
        using FileStream? initrd = options.Initrd is string path ? ImageFile.Open("initrd", path) : null;
        ulong length = (ulong)(initrd?.Length ?? 0);
        ulong room = MemoryMap.RoundUp(length);
        uint end = Math.Min(size, initrdEnd);
        if (imageEnd > size || (room > 0 && imageEnd + room > end))
        {
            throw new MachineConfigurationException(
                $"{Megabytes(size)} MiB of memory are too small: kernel and initrd alone need {Megabytes(imageEnd + room)} MiB.");
        }
        var place = new InitrdPlace(end - (uint)room, (uint)length);
        var memory = new MachineMemory(size / MemoryMap.PageSize, 1);
        try
        {
            copyImage(memory);
            if (initrd != null)
            {
                Copy(initrd, memory, place);
            }
            return finish(memory, place);
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>A ROM ends at 4 GiB, where the processor looks for its first instruction, and its end is seen below 1 MiB once more.</summary>
    private static LoadedPc LoadRom(MachineOptions options, uint size)
    {
        if (options.Initrd != null || options.CommandLine.Length > 0)
        {
            throw new MachineConfigurationException("A ROM takes neither an initrd nor a command line.");
        }
        byte[] image;
        using (FileStream file = ImageFile.Open("ROM", options.Kernel))
        {
            if (file.Length is < SmallestRom or > LargestRom || file.Length % SmallestRom != 0)
            {
                throw new MachineConfigurationException(
                    $"ROM {options.Kernel} has {file.Length} bytes: a ROM has a multiple of 64 KiB, at most {LargestRom / Mebibyte} MiB.");
            }
            image = new byte[file.Length];
            try
            {
                file.ReadExactly(image);
            }
            catch (IOException error)
            {
                throw new MachineConfigurationException($"ROM {options.Kernel} cannot be read: {error.Message}", error);
            }
        }
        var memory = new MachineMemory(size / MemoryMap.PageSize, 1);
        ReadOnlySpan<byte> low = image.AsSpan(Math.Max(0, image.Length - LowRom));
        memory.PlaceRom(LowMemoryEnd - (uint)low.Length, low);
        memory.PlaceRom((uint)-image.Length, image);
        return new LoadedPc(memory, static processor => processor.ResetToRealMode());
    }

    private static void Copy(FileStream file, MachineMemory memory, InitrdPlace place)
    {
        try
        {
            byte[] buffer = new byte[1 << 16];
            uint done = 0;
            for (int count; (count = file.Read(buffer, 0, (int)Math.Min((uint)buffer.Length, place.Length - done))) > 0; done += (uint)count)
            {
                memory.Write(place.Address + done, buffer.AsSpan(0, count));
            }
        }
        catch (IOException error)
        {
            throw new MachineConfigurationException($"initrd {file.Name} cannot be read: {error.Message}", error);
        }
    }

    private static ulong Megabytes(ulong bytes) => (bytes + (ulong)Mebibyte - 1) / (ulong)Mebibyte;
}
