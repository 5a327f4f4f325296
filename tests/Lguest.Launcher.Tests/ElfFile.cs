// Kernel files made to measure: tests bend one field at a time.

using System.Buffers.Binary;

namespace Lguest.Launcher.Tests;

/// <summary>One LOAD segment of a made-up kernel.</summary>
internal sealed record ElfSegment(uint VirtualAddress, uint PhysicalAddress, byte[] Contents)
{
    public uint Type { get; init; } = 1;

    public uint? MemorySize { get; init; }
}

/// <summary>Writes an i386 ELF program.</summary>
internal sealed record ElfFile
{
    public const uint PageOffset = 0xC000_0000;

    public const uint KernelAddress = 0x0010_0000;

    public IReadOnlyList<ElfSegment> Segments { get; init; } = [];

    public byte Class { get; init; } = 1;

    public ushort Type { get; init; } = 2;

    public ushort Machine { get; init; } = 3;

    public ushort EntrySize { get; init; } = 32;

    public ushort? EntryCount { get; init; }

    /// <summary>A kernel of one segment at 1 MiB whose code follows the entry mark.</summary>
    public static ElfFile WithCode(byte[] code) => new()
    {
        Segments = [new ElfSegment(PageOffset + KernelAddress, KernelAddress, [.. "GenuineLguest"u8, .. code])],
    };

    public byte[] ToBytes()
    {
        var file = new MemoryStream();
        file.SetLength(52 + (32 * Segments.Count));
        byte[] header = new byte[52];
        byte[] start = [0x7F, (byte)'E', (byte)'L', (byte)'F', Class, 1, 1];
        start.CopyTo(header, 0);
        Half(header, 16, Type);
        Half(header, 18, Machine);
        Word(header, 24, 0xDEAD_BEEF);
        Word(header, 28, 52);
        Half(header, 42, EntrySize);
        Half(header, 44, EntryCount ?? (ushort)Segments.Count);
        file.Write(header);
        uint offset = (uint)file.Length;
        foreach (ElfSegment segment in Segments)
        {
            byte[] entry = new byte[32];
            Word(entry, 0, segment.Type);
            Word(entry, 4, offset);
            Word(entry, 8, segment.VirtualAddress);
            Word(entry, 12, segment.PhysicalAddress);
            Word(entry, 16, (uint)segment.Contents.Length);
            Word(entry, 20, segment.MemorySize ?? (uint)segment.Contents.Length);
            file.Write(entry);
            offset += (uint)segment.Contents.Length;
        }
        foreach (ElfSegment segment in Segments)
        {
            file.Write(segment.Contents);
        }
        return file.ToArray();
    }

    private static void Half(byte[] bytes, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(offset), value);

    private static void Word(byte[] bytes, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(offset), value);
}
