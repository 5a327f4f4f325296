// A program by the Multiboot Specification: an ELF file, or any file whose multiboot header says itself where its bytes belong.

using System.Buffers.Binary;
using Lguest.Launcher.Images;
using Lguest.Pc.Boot;

namespace Lguest.Launcher.Pc;

internal static class MultibootImage
{
    private const int HeaderSize = 32;
    private const uint HasAddresses = 1 << 16;

    /// <summary>What a loader must understand: aligned modules and memory sizes, which every program gets, and nothing else.</summary>
    private const uint KnownRequirements = 3;

    /// <summary>Opens a program.</summary>
    /// <exception cref="MachineConfigurationException">There is no such file, or it is no multiboot program.</exception>
    public static KernelImage Open(string path)
    {
        string name = $"program {path}";
        FileStream file = ImageFile.Open("program", path);
        try
        {
            byte[] start = new byte[MultibootBoot.HeaderSearch + HeaderSize];
            int length = file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
            int header = FindHeader(start.AsSpan(0, length))
                ?? throw new MachineConfigurationException($"{name} has no multiboot header (version 1).");
            uint flags = Word(start, header + 4);
            if ((flags & 0xFFFF & ~KnownRequirements) != 0)
            {
                throw new MachineConfigurationException($"{name} requires what no PC here has: multiboot flags 0x{flags & 0xFFFF:x}.");
            }
            if ((flags & HasAddresses) == 0)
            {
                return ElfImage.IsElf(file)
                    ? ElfImage.ReadProgram(name, file, out _)
                    : throw new MachineConfigurationException($"{name} is no ELF file, and its multiboot header names no addresses.");
            }
            return ByAddresses(name, file, start, header);
        }
        catch (Exception error)
        {
            file.Dispose();
            if (error is IOException or UnauthorizedAccessException)
            {
                throw new MachineConfigurationException($"{name} cannot be read: {error.Message}", error);
            }
            throw;
        }
    }

    /// <summary>Magic, flags and checksum add up to 0.</summary>
    private static int? FindHeader(ReadOnlySpan<byte> start)
    {
        for (int i = 0; i + 12 <= Math.Min(start.Length, MultibootBoot.HeaderSearch); i += 4)
        {
            if (Word(start, i) == MultibootBoot.HeaderMagic && Word(start, i) + Word(start, i + 4) + Word(start, i + 8) == 0)
            {
                return i;
            }
        }
        return null;
    }

    private static KernelImage ByAddresses(string name, FileStream file, ReadOnlySpan<byte> start, int header)
    {
        uint headerAddress = Word(start, header + 12), load = Word(start, header + 16), loadEnd = Word(start, header + 20);
        uint memoryEnd = Word(start, header + 24), entry = Word(start, header + 28);
        long offset = header - ((long)headerAddress - load);
        long size = loadEnd == 0 ? file.Length - offset : (long)loadEnd - load;
        if (load > headerAddress || offset < 0 || size <= 0 || offset + size > file.Length || size > MemoryMap.MaximumTop)
        {
            throw new MachineConfigurationException($"{name} has a multiboot header whose addresses do not fit the file.");
        }
        uint occupied = memoryEnd > load ? memoryEnd - load : (uint)size;
        return new KernelImage(name, file, [new ImageSegment((uint)offset, (uint)size, load, occupied)], 0) { EntryPoint = entry };
    }

    private static uint Word(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);
}
