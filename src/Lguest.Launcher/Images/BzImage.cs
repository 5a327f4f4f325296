// A bzImage is a boot sector, a decompressor, and somewhere in between the kernel as gzip made it. The original Launcher trusts no header
// of it: a small automaton looks for the gzip stream, and the page offset is guessed from the kernel's own code (ABI 2.3). Kernels of our
// days keep an ELF program in there instead of a raw image; that one is loaded by its own headers.

using System.Buffers.Binary;
using System.IO.Compression;

namespace Lguest.Launcher.Images;

internal static class BzImage
{
    private const int SearchStart = 52;
    private const byte LoadEaxAbsolute = 0xA1;
    private const int Convincing = 4;

    /// <summary>Unpacks the kernel inside and understands it. Closes <paramref name="contents"/>.</summary>
    /// <exception cref="MachineConfigurationException">There is no kernel inside, or it is damaged.</exception>
    public static KernelImage Read(string name, Stream contents)
    {
        // Larger than any Guest's memory, and nobody needs to read it to know: a disk image, most likely.
        byte[] file = new byte[contents.Length <= MemoryMap.MaximumTop / 2 ? contents.Length : 0];
        contents.Position = 0;
        contents.ReadExactly(file);

        int start = FindGzip(file);
        if (start < 0)
        {
            throw new MachineConfigurationException($"{name} is neither a vmlinux (ELF) nor a bzImage with a gzip-compressed kernel.");
        }
        MemoryStream kernel = Inflate(name, file.AsMemory(start));
        contents.Dispose();
        if (ElfImage.IsElf(kernel))
        {
            return ElfImage.Read(name, kernel);
        }
        ReadOnlySpan<byte> image = kernel.GetBuffer().AsSpan(0, (int)kernel.Length);
        uint pageOffset = GuessPageOffset(image)
            ?? throw new MachineConfigurationException($"{name} does not reveal its page offset: not a Linux kernel of lguest's time; use its vmlinux.");
        return new KernelImage(name, kernel, [new ImageSegment(0, (uint)kernel.Length, MemoryMap.KernelStart, (uint)kernel.Length)], pageOffset);
    }

    // L:150 A bzImage has headers that say where the compressed kernel begins, in every version of Linux at another place. The Launcher
    // of 2007 ignored them and looked for the ten bytes with which a gzip file begins: a tiny automaton that reads byte for byte. It can
    // be fooled, and never was.
    /// <summary>The automaton: 1F 8B, seven bytes of any kind, 03 ("made on Unix").</summary>
    /// <returns>Offset of the 1F, or -1. One candidate that fails at its last byte ends the search for good, as it always did.</returns>
    internal static int FindGzip(ReadOnlySpan<byte> file)
    {
        int state = 0;
        for (int i = SearchStart; i < file.Length; i++)
        {
            byte value = file[i];
            switch (state)
            {
                case 0:
                    state = value == 0x1F ? 1 : 0;
                    break;
                case 1:
                    state = value == 0x8B ? 2 : 0;
                    break;
                case 9:
                    return value == 0x03 ? i - 9 : -1;
                default:
                    state++;
                    break;
            }
        }
        return -1;
    }

    // L:170 An old bzImage unpacks to a raw image that says nothing about its page offset. But it betrays it: kernel code is full of
    // instructions that load EAX from a fixed address, opcode A1, and most of those addresses are the kernel's data. The top byte that
    // comes up four times first is the page offset's. It is a guess, and an honest piece of detective work. (Kernels of our days have an
    // ELF file inside, and nobody has to guess.)
    /// <summary>The high byte that absolute loads of EAX name most: kernel data lies there.</summary>
    internal static uint? GuessPageOffset(ReadOnlySpan<byte> image)
    {
        Span<int> counts = stackalloc int[256];
        counts.Clear();
        for (int i = 0; i + 4 < image.Length; i++)
        {
            if (image[i] == LoadEaxAbsolute && ++counts[image[i + 4]] == Convincing)
            {
                return (uint)image[i + 4] << 24;
            }
        }
        return null;
    }

    // L:160 Unpacking is the library's work. Ours is to distrust it: a compressed file of a few megabytes can unpack to any number of
    // gigabytes, and a file that was cut off may look like one that ends. So there is a limit, and the checksum that gzip puts behind the
    // data is compared.
    public static MemoryStream Inflate(string name, ReadOnlyMemory<byte> member)
    {
        int body = SkipGzipHeader(member.Span);
        var kernel = new MemoryStream();
        try
        {
            using var source = new MemoryStream(member[Math.Min(body, member.Length)..].ToArray(), writable: false);
            using var inflater = new DeflateStream(source, CompressionMode.Decompress);
            byte[] buffer = new byte[1 << 16];
            for (int count; (count = inflater.Read(buffer)) > 0;)
            {
                if (kernel.Length + count > MemoryMap.MaximumTop / 2)
                {
                    throw new MachineConfigurationException($"{name} unpacks to more than any Guest's memory.");
                }
                kernel.Write(buffer, 0, count);
            }
        }
        catch (InvalidDataException error)
        {
            throw Damaged(name, error);
        }

        // The member's own trailer says whether all of it came out: the inflater takes a stream that is cut off for one that ends.
        Span<byte> trailer = stackalloc byte[8];
        BinaryPrimitives.WriteUInt32LittleEndian(trailer, Crc32(kernel.GetBuffer().AsSpan(0, (int)kernel.Length)));
        BinaryPrimitives.WriteUInt32LittleEndian(trailer[4..], (uint)kernel.Length);
        return member.Span.IndexOf(trailer) >= 0 ? kernel : throw Damaged(name, null);
    }
    // :*

    private static MachineConfigurationException Damaged(string name, Exception? error) =>
        new($"{name} is damaged or truncated: its compressed kernel cannot be unpacked.", error);

    /// <summary>The checksum of gzip (reflected polynomial EDB88320).</summary>
    private static uint Crc32(ReadOnlySpan<byte> bytes)
    {
        Span<uint> table = stackalloc uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint entry = i;
            for (int bit = 0; bit < 8; bit++)
            {
                entry = (entry >> 1) ^ ((entry & 1) * 0xEDB8_8320);
            }
            table[(int)i] = entry;
        }
        uint crc = ~0u;
        foreach (byte value in bytes)
        {
            crc = table[(byte)(crc ^ value)] ^ (crc >> 8);
        }
        return ~crc;
    }

    /// <summary>Length of the header of a gzip member: ten bytes, and the optional fields that the fourth announces.</summary>
    private static int SkipGzipHeader(ReadOnlySpan<byte> member)
    {
        const int HeaderCrc = 2, Extra = 4, Name = 8, Comment = 16;
        int flags = member[3];
        int position = 10;
        if ((flags & Extra) != 0 && position + 2 <= member.Length)
        {
            position += 2 + member[position] + (member[position + 1] << 8);
        }
        foreach (int text in (ReadOnlySpan<int>)[Name, Comment])
        {
            if ((flags & text) != 0)
            {
                while (position < member.Length && member[position] != 0)
                {
                    position++;
                }
                position++;
            }
        }
        return position + ((flags & HeaderCrc) != 0 ? 2 : 0);
    }
}
