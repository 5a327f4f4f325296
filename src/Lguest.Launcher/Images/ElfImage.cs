// vmlinux is what the kernel's linker makes: an i386 ELF program whose LOAD segments name both the physical address they are copied to and
// the virtual address they run at. The difference of the two is the page offset (ABI 2.2). The ELF entry point is for a PC: an
// lguest kernel starts behind its mark.

using System.Buffers.Binary;

namespace Lguest.Launcher.Images;

internal static class ElfImage
{
    private const int HeaderSize = 52;
    private const int ProgramHeaderSize = 32;
    private const int MaximumProgramHeaders = 2048;

    private const byte Class64 = 2;
    private const ushort Executable = 2;
    private const ushort Machine386 = 3;
    private const uint Load = 1;

    private static ReadOnlySpan<byte> Magic => [0x7F, (byte)'E', (byte)'L', (byte)'F'];

    /// <summary>Whether a stream begins as ELF files do. Leaves the position behind the magic.</summary>
    public static bool IsElf(Stream contents)
    {
        Span<byte> magic = stackalloc byte[4];
        contents.Position = 0;
        return contents.ReadAtLeast(magic, 4, throwOnEndOfStream: false) == 4 && magic.SequenceEqual(Magic);
    }

    // L:130 Reading an ELF kernel is short, because a kernel is the simplest ELF file there is: a list of segments, each with a place in
    // the file, a physical address to copy it to, and a virtual address at which it will be seen. The difference of the last two is the
    // page offset, usually 0xC0000000. It must be the same for all segments, since the page tables that we make will have just that one
    // difference in them.
    //
    // The file may be damaged or malicious. Every number in it is checked against the file's length before it is used.
    /// <summary>Understands the headers of a kernel.</summary>
    /// <exception cref="MachineConfigurationException">It is not an i386 kernel, is cut short, or has two page offsets.</exception>
    public static KernelImage Read(string name, Stream contents)
    {
        KernelImage kernel = ReadProgram(name, contents, out IReadOnlyList<uint> differences);
        foreach (uint difference in differences)
        {
            if (difference != differences[0])
            {
                throw new MachineConfigurationException(
                    $"{name} has segments with different page offsets (0x{differences[0]:x} and 0x{difference:x}): not a Linux kernel for lguest.");
            }
        }
        return kernel;
    }

    /// <summary>Understands the headers of any i386 program.</summary>
    /// <param name="name">What to call it in messages.</param>
    /// <param name="contents">The file.</param>
    /// <param name="differences">Virtual minus physical address of each segment.</param>
    /// <exception cref="MachineConfigurationException">It is not an i386 program or is cut short.</exception>
    public static KernelImage ReadProgram(string name, Stream contents, out IReadOnlyList<uint> differences)
    {
        contents.Position = 0;
        byte[] header = ReadHeaders(name, contents, HeaderSize);
        if (header[4] == Class64)
        {
            throw new MachineConfigurationException($"{name} is a 64-bit program; lguest runs 32-bit i386 kernels.");
        }
        ushort type = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(16));
        ushort machine = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(18));
        uint tableOffset = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(28));
        ushort entrySize = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(42));
        ushort entryCount = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(44));
        if (type != Executable || machine != Machine386 || entrySize != ProgramHeaderSize || entryCount is 0 or > MaximumProgramHeaders)
        {
            throw new MachineConfigurationException($"{name} has a malformed ELF header: not an i386 kernel (vmlinux).");
        }

        contents.Position = tableOffset;
        byte[] table = ReadHeaders(name, contents, entryCount * ProgramHeaderSize);
        var segments = new List<ImageSegment>();
        var offsets = new List<uint>();
        for (int i = 0; i < entryCount; i++)
        {
            ReadOnlySpan<byte> entry = table.AsSpan(i * ProgramHeaderSize, ProgramHeaderSize);
            if (Word(entry, 0) != Load)
            {
                continue;
            }
            uint fileOffset = Word(entry, 4), virtualAddress = Word(entry, 8), physicalAddress = Word(entry, 12), fileSize = Word(entry, 16);
            if (fileOffset + (ulong)fileSize > (ulong)contents.Length)
            {
                throw new MachineConfigurationException(
                    $"{name} is truncated: a segment ends at byte {fileOffset + (ulong)fileSize} of a file of {contents.Length}.");
            }
            segments.Add(new ImageSegment(fileOffset, fileSize, physicalAddress, Word(entry, 20)));
            offsets.Add(virtualAddress - physicalAddress);
        }
        differences = offsets;
        return segments.Count > 0
            ? new KernelImage(name, contents, segments, offsets[0]) { EntryPoint = Word(header, 24) }
            : throw new MachineConfigurationException($"{name} has nothing to load: its ELF header names no LOAD segment.");
    }
    // :*

    private static byte[] ReadHeaders(string name, Stream contents, int size)
    {
        byte[] bytes = new byte[size];
        return contents.ReadAtLeast(bytes, size, throwOnEndOfStream: false) == size
            ? bytes
            : throw new MachineConfigurationException($"{name} is truncated: it ends within its ELF headers.");
    }

    private static uint Word(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);
}
