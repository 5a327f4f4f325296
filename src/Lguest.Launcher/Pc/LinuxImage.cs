// A Linux kernel for a PC. A vmlinux is entered where its ELF header says. A bzImage has a setup header, which tells where its compressed
// kernel is: if the host can unpack that, the loader inside is skipped, with its hundreds of millions of instructions; if not, the
// loader does its work in the Guest.

using System.Buffers.Binary;
using Lguest.Launcher.Images;
using Lguest.Pc.Boot;
using Lguest.Platform;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Pc;

/// <summary>A kernel by the Linux boot protocol.</summary>
internal sealed class LinuxImage : IDisposable
{
    private const int HeaderMagic = 0x202, Version = 0x206, LoadFlags = 0x211, SetupSectors = 0x1F1, JumpOffset = 0x201;
    private const int InitrdLimit = 0x22C, CommandLineLimit = 0x238, PayloadOffset = 0x248, PayloadLength = 0x24C;
    private const int PreferredAddress = 0x258, InitSize = 0x260;
    private const int SectorSize = 512;
    private const int LongestHeader = 0x290;
    private const ushort FirstUsableVersion = 0x020A;
    private const byte LoadedHigh = 1;
    private const uint LoaderAddress = 0x0010_0000;

    /// <summary>Where kernels that do not say want their initrd to end: inside the memory that every configuration maps.</summary>
    private const uint DefaultInitrdEnd = 0x3800_0000;

    private readonly KernelImage pieces;

    private LinuxImage(KernelImage pieces, byte[] header)
    {
        this.pieces = pieces;
        Header = header;
        MemoryEnd = pieces.MemoryEnd;
    }

    /// <summary>The setup header, from byte 1F1h of the file on; empty for a vmlinux.</summary>
    public byte[] Header { get; }

    /// <summary>Physical address of the 32-bit entry.</summary>
    public uint Entry => pieces.EntryPoint;

    /// <summary>First physical address that the kernel does not need while it starts.</summary>
    public ulong MemoryEnd { get; private init; }

    /// <summary>First physical address that no initrd may touch.</summary>
    public uint InitrdEnd { get; private init; } = DefaultInitrdEnd;

    /// <summary>Longest command line, without its final 0.</summary>
    public int LongestCommandLine { get; private init; } = LinuxBoot.DefaultCommandLineSize - 1;

    /// <summary>Opens a vmlinux or a bzImage.</summary>
    /// <exception cref="MachineConfigurationException">There is no such file, or it is no i386 Linux kernel.</exception>
    public static LinuxImage Open(string path)
    {
        string name = $"kernel {path}";
        FileStream file = ImageFile.Open("kernel", path);
        try
        {
            if (ElfImage.IsElf(file))
            {
                return new LinuxImage(ElfImage.Read(name, file), []);
            }
            // Larger than any Guest's memory, and nobody needs to read it to know: a disk image, most likely.
            byte[] contents = new byte[file.Length <= MemoryMap.MaximumTop / 2 ? file.Length : 0];
            file.Position = 0;
            file.ReadExactly(contents);
            file.Dispose();
            return Read(name, contents);
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

    /// <summary>Copies the kernel to its place; it must fit.</summary>
    public void CopyTo(MachineMemory memory) => pieces.CopyTo(memory);

    public void Dispose() => pieces.Dispose();

    private static LinuxImage Read(string name, byte[] file)
    {
        if (file.Length < LongestHeader || !file.AsSpan(HeaderMagic, 4).SequenceEqual("HdrS"u8))
        {
            throw new MachineConfigurationException($"{name} is neither a vmlinux (ELF) nor a bzImage.");
        }
        if (BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(Version)) < FirstUsableVersion || (file[LoadFlags] & LoadedHigh) == 0)
        {
            throw new MachineConfigurationException($"{name} is older than Linux 2.6.31: its boot protocol is not known here.");
        }
        int start = ((file[SetupSectors] == 0 ? 4 : file[SetupSectors]) + 1) * SectorSize;
        int headerEnd = Math.Min(HeaderMagic + file[JumpOffset], LongestHeader);
        ulong needed = Long(file, PreferredAddress) + Word(file, InitSize);
        KernelImage pieces = UnpackPayload(name, file, start) ?? Loader(name, file, start);
        return new LinuxImage(pieces, file[LinuxBoot.HeaderOffset..headerEnd])
        {
            MemoryEnd = Math.Max(pieces.MemoryEnd, needed),
            InitrdEnd = Math.Min(Word(file, InitrdLimit) & ~(MemoryMap.PageSize - 1), DefaultInitrdEnd),
            LongestCommandLine = (int)Math.Min(Word(file, CommandLineLimit), LinuxBoot.DefaultCommandLineSize - 1),
        };
    }

    /// <summary>The kernel inside, if the host can unpack it.</summary>
    private static KernelImage? UnpackPayload(string name, byte[] file, int start)
    {
        ulong first = (ulong)start + Word(file, PayloadOffset), length = Word(file, PayloadLength);
        if (length == 0)
        {
            // Not Linux: memtest86+ and others have its header, and nothing to unpack.
            return null;
        }
        if (length < 8 || first + length > (ulong)file.Length)
        {
            throw new MachineConfigurationException($"{name} is damaged or truncated: its compressed kernel ends behind the file.");
        }
        ReadOnlyMemory<byte> payload = file.AsMemory((int)first, (int)length);
        Stream? kernel = payload.Span switch
        {
            [0x1F, 0x8B, ..] => BzImage.Inflate(name, payload),
            [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => Unpack(payload.Span, Decompression.TryUnpackXz),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Unpack(payload.Span, Decompression.TryUnpackZstandard),
            _ => null,
        };
        return kernel != null && ElfImage.IsElf(kernel) ? ElfImage.Read(name, kernel) : null;
    }

    private delegate bool Unpacker(ReadOnlySpan<byte> source, Span<byte> target);

    /// <summary>The kernel's build puts the size of the contents behind the compressed stream.</summary>
    private static MemoryStream? Unpack(ReadOnlySpan<byte> payload, Unpacker unpacker)
    {
        uint size = BinaryPrimitives.ReadUInt32LittleEndian(payload[^4..]);
        if (size > MemoryMap.MaximumTop / 2)
        {
            return null;
        }
        byte[] contents = new byte[size];
        return unpacker(payload[..^4], contents) ? new MemoryStream(contents) : null;
    }

    /// <summary>The file's own protected-mode part.</summary>
    private static KernelImage Loader(string name, byte[] file, int start)
    {
        if (start >= file.Length)
        {
            throw new MachineConfigurationException($"{name} is damaged or truncated: it ends within its setup code.");
        }
        var segment = new ImageSegment((uint)start, (uint)(file.Length - start), LoaderAddress, (uint)(file.Length - start));
        return new KernelImage(name, new MemoryStream(file), [segment], 0) { EntryPoint = LoaderAddress };
    }

    private static uint Word(byte[] file, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(offset));

    private static ulong Long(byte[] file, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(offset));
}
