// Loading kernels (ABI 2.2 and 2.3), and saying what is wrong with the ones that cannot be loaded.


using System.IO.Compression;
using Lguest.Launcher.Images;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Tests;

public class KernelImageTests
{
    private const uint Frames = 2048;

    private static readonly byte[] Code = [0x90, 0x91, 0x92];

    [Fact]
    public void ElfSegmentsGoToTheirPhysicalAddressesAndOtherHeadersAreIgnored()
    {
        byte[] first = [.. "GenuineLguest"u8, 1, 2, 3], second = [.. Enumerable.Range(0, 200_000).Select(static i => (byte)i)];
        var elf = new ElfFile
        {
            Segments =
            [
                new ElfSegment(0, 0x5000, [9, 9, 9]) { Type = 4 },
                new ElfSegment(0xC020_0000, 0x0020_0000, second),
                new ElfSegment(0xC010_0000, 0x0010_0000, first) { MemorySize = 0x3000 },
            ],
        };
        using MachineMemory memory = Load(elf.ToBytes(), out KernelImage image);

        Assert.Equal(0xC000_0000u, image.PageOffset);
        Assert.Equal(first, Read(memory, 0x0010_0000, first.Length));
        Assert.Equal(second, Read(memory, 0x0020_0000, second.Length));
        Assert.Equal(0u, memory.Read<uint>(0x5000));
        Assert.Equal(0x0020_0000u + (uint)second.Length, image.MemoryEnd);
        Assert.Equal(0xC010_0000u + 13, image.FindEntry(memory));
    }

    [Fact]
    public void TheEntryIsBehindTheFirstMarkWhereverItLies()
    {
        // Around 64 KiB: the search works in pieces of this size and must not lose a mark that two of them share.
        for (int position = 65536 - 14; position <= 65536 + 1; position++)
        {
            byte[] contents = new byte[200_000];
            "GenuineLguest"u8.CopyTo(contents.AsSpan(position));
            "GenuineLguest"u8.CopyTo(contents.AsSpan(150_000));
            var elf = new ElfFile { Segments = [new ElfSegment(0x8010_0000, 0x0010_0000, contents)] };
            using MachineMemory memory = Load(elf.ToBytes(), out KernelImage image);
            Assert.Equal(0x8010_0000u + (uint)position + 13, image.FindEntry(memory));
        }
    }

    [Fact]
    public void TheElfEntryPointIsIgnored()
    {
        using MachineMemory memory = Load(ElfFile.WithCode(Code).ToBytes(), out KernelImage image);
        Assert.Equal(0xC010_000Du, image.FindEntry(memory));
    }

    public static TheoryData<string, byte[], string> BadKernels()
    {
        ElfFile good = ElfFile.WithCode(Code);
        byte[] bytes = good.ToBytes();
        return new()
        {
            { "empty", [], "is empty" },
            { "text", "#!/bin/sh\necho hello"u8.ToArray(), "neither a vmlinux (ELF) nor a bzImage" },
            { "header cut", bytes[..40], "ends within its ELF headers" },
            { "program headers cut", bytes[..60], "ends within its ELF headers" },
            { "segment cut", bytes[..^1], "is truncated: a segment ends at byte 100 of a file of 99" },
            { "64-bit", (good with { Class = 2, Machine = 62 }).ToBytes(), "64-bit" },
            { "other machine", (good with { Machine = 40 }).ToBytes(), "malformed ELF header" },
            { "object file", (good with { Type = 1 }).ToBytes(), "malformed ELF header" },
            { "entry size", (good with { EntrySize = 56 }).ToBytes(), "malformed ELF header" },
            { "no program headers", (good with { EntryCount = 0 }).ToBytes(), "malformed ELF header" },
            { "too many program headers", (good with { EntryCount = 2049 }).ToBytes(), "malformed ELF header" },
            { "nothing to load", new ElfFile { Segments = [new ElfSegment(0, 0, Code) { Type = 6 }] }.ToBytes(), "nothing to load" },
            {
                "two page offsets",
                new ElfFile { Segments = [new ElfSegment(0xC010_0000, 0x0010_0000, Code), new ElfSegment(0x8020_0000, 0x0020_0000, Code)] }.ToBytes(),
                "different page offsets (0xc0000000 and 0x80000000)"
            },
        };
    }

    [Theory]
    [MemberData(nameof(BadKernels))]
    public void ABadKernelIsRefusedInOneLine(string what, byte[] contents, string message)
    {
        using var file = new TemporaryFile(contents);
        var error = Assert.Throws<MachineConfigurationException>(() => KernelImage.Open(file.Path));
        Assert.Contains(message, error.Message);
        Assert.Contains(file.Path, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.NotEmpty(what);
        // Nothing stays open: a file that is open for reading here could not be opened exclusively.
        using FileStream exclusive = new(file.Path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
    }

    [Fact]
    public void AKernelWithoutTheMarkNamesTheConfigurationOption()
    {
        var elf = new ElfFile { Segments = [new ElfSegment(0xC010_0000, 0x0010_0000, "GenuineLgues?"u8.ToArray())] };
        using MachineMemory memory = Load(elf.ToBytes(), out KernelImage image);
        var error = Assert.Throws<MachineConfigurationException>(() => image.FindEntry(memory));
        Assert.Contains("CONFIG_LGUEST_GUEST=y", error.Message);
    }

    [Fact]
    public void ABzImageIsInflatedTo1MebibyteAndItsPageOffsetGuessed()
    {
        byte[] kernel = RawKernel(0xC1);
        using MachineMemory memory = Load(MakeBzImage(kernel), out KernelImage image);
        Assert.Equal(0xC100_0000u, image.PageOffset);
        Assert.Equal(kernel, Read(memory, 0x0010_0000, kernel.Length));
        Assert.Equal(0xC100_0000u + 0x0010_0000 + 5 + 13, image.FindEntry(memory));
        Assert.Equal(0x0010_0000u + (uint)kernel.Length, image.MemoryEnd);
    }

    [Fact]
    public void ABzImageThatHoldsAnElfProgramIsLoadedByItsHeaders()
    {
        var elf = new ElfFile { Segments = [new ElfSegment(0xC100_0000, 0x0030_0000 + 0x0010_0000, "GenuineLguest"u8.ToArray())] };
        using MachineMemory memory = Load(MakeBzImage(elf.ToBytes()), out KernelImage image);
        Assert.Equal(0xC0C0_0000u, image.PageOffset);
        Assert.Equal(0xC100_000Du, image.FindEntry(memory));
    }

    [Fact]
    public void ADamagedOrTruncatedBzImageIsRefused()
    {
        byte[] good = MakeBzImage(RawKernel(0xC0), trailing: 0);
        byte[] damaged = [.. good];
        damaged[^100] ^= 0x40;
        foreach (byte[] bad in new[] { good[..^9], good[..^200], good[..1100], damaged })
        {
            using var file = new TemporaryFile(bad);
            Assert.Contains("damaged or truncated", Assert.Throws<MachineConfigurationException>(() => KernelImage.Open(file.Path)).Message);
        }
    }

    [Fact]
    public void ABzImageThatHidesItsPageOffsetIsRefused()
    {
        using var file = new TemporaryFile(MakeBzImage(new byte[5000]));
        Assert.Contains("page offset", Assert.Throws<MachineConfigurationException>(() => KernelImage.Open(file.Path)).Message);
    }

    [Fact]
    public void TheGzipAutomatonIsTheOriginals()
    {
        byte[] member = [0x1F, 0x8B, 8, 0, 1, 2, 3, 4, 2, 3];
        Assert.Equal(60, BzImage.FindGzip([.. new byte[60], .. member]));
        Assert.Equal(52, BzImage.FindGzip([.. new byte[52], .. member]));
        // The first 52 bytes were read as an ELF header and are not searched.
        Assert.Equal(-1, BzImage.FindGzip([.. new byte[51], .. member]));
        // 1F 1F 8B: the second 1F is not looked at again.
        Assert.Equal(-1, BzImage.FindGzip([.. new byte[60], 0x1F, .. member]));
        Assert.Equal(63, BzImage.FindGzip([.. new byte[60], 0x1F, 0, 0, .. member]));
        // A candidate that was not made on Unix ends the search, whatever follows.
        Assert.Equal(-1, BzImage.FindGzip([.. new byte[60], 0x1F, 0x8B, 8, 0, 1, 2, 3, 4, 2, 0, .. new byte[20], .. member]));
        Assert.Equal(-1, BzImage.FindGzip([.. new byte[60], .. member[..9]]));
    }

    [Fact]
    public void TheFourthLoadDecidesThePageOffset()
    {
        Assert.Null(BzImage.GuessPageOffset(Loads(0xC0, 0xC0, 0xC0, 0x80, 0x80, 0x80)));
        Assert.Equal(0x8000_0000u, BzImage.GuessPageOffset(Loads(0xC0, 0xC0, 0xC0, 0x80, 0x80, 0x80, 0x80, 0xC0)));
        // The last place that is looked at is the one whose fifth byte is the image's last.
        Assert.Equal(0xC000_0000u, BzImage.GuessPageOffset(Loads(0xC0, 0xC0, 0xC0, 0xC0)));
        Assert.Null(BzImage.GuessPageOffset(Loads(0xC0, 0xC0, 0xC0, 0xC0).AsSpan()[..^1]));
    }

    private static byte[] Loads(params byte[] highBytes) => [.. highBytes.SelectMany(static high => new byte[] { 0xA1, 0, 0, 0, high })];

    private static byte[] RawKernel(byte pageOffsetByte)
    {
        byte[] noise = new byte[3000];
        new Random(7).NextBytes(noise);
        noise.AsSpan().Replace((byte)0xA1, (byte)0xA2);
        return [1, 2, 3, 4, 5, .. "GenuineLguest"u8, .. Loads(pageOffsetByte, pageOffsetByte, pageOffsetByte, pageOffsetByte), .. noise];
    }

    private static byte[] MakeBzImage(byte[] kernel, int trailing = 300)
    {
        var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Optimal, leaveOpen: true))
        {
            gzip.Write(kernel);
        }
        byte[] member = compressed.ToArray();
        member[9] = 3;
        // What follows the member is none of its business, even where it looks like another one.
        return [.. new byte[1000], .. member, .. trailing == 0 ? [] : new byte[] { 0x1F, 0x8B, 8 }, .. new byte[trailing]];
    }

    private static MachineMemory Load(byte[] contents, out KernelImage image)
    {
        using var file = new TemporaryFile(contents);
        image = KernelImage.Open(file.Path);
        var memory = new MachineMemory(Frames, 1);
        image.CopyTo(memory);
        image.Dispose();
        return memory;
    }

    private static byte[] Read(MachineMemory memory, uint address, int length)
    {
        byte[] bytes = new byte[length];
        memory.Read(address, bytes);
        return bytes;
    }
}
