// What the Guest finds in memory when it wakes up (ABI 1.4, 2.4, 2.5, 10.1), and the sizes that cannot work.

using System.Text;
using Lguest.Launcher.Devices;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher.Tests;

public class MachineBuilderTests
{
    private const uint Mebibyte = 1 << 20;

    [Fact]
    public void TheMemoryMapOfTheAbisExample()
    {
        var map = new MemoryMap(64 * Mebibyte, 0, 0xC000_0000);
        Assert.Equal(0x03FF_F000u, map.PageDirectory);
        Assert.Equal(16u, map.PageTableCount);
        Assert.Equal(0x03FE_F000u, map.PageTables);
        Assert.Equal(0x0400_0000u, map.DescriptorPage);
        Assert.Equal(map.Memory, map.Initrd);
    }

    [Theory]
    [InlineData(64u, 0xC000_0000u, 768, 783)]
    [InlineData(5u, 0xC000_0000u, 768, 769)]
    [InlineData(2047u, 0xC000_0000u, 768, 1023)]
    [InlineData(100u, 0x8000_0000u, 512, 536)]
    public void TheInitialPageTablesMapRamAtThePageOffsetAndNothingElse(uint mebibytes, uint pageOffset, int firstIndex, int lastIndex)
    {
        uint size = mebibytes * Mebibyte;
        using MachineMemory memory = Build(new TestKernel(pageOffset), size, out GuestStart start);
        Assert.Equal(size - 4096, start.PageDirectory);
        for (int index = 0; index < 1024; index++)
        {
            uint entry = memory.Read<uint>(start.PageDirectory + (4 * (uint)index));
            if (index < firstIndex || index > lastIndex)
            {
                Assert.Equal(0u, entry);
                continue;
            }
            uint table = start.PageDirectory - ((uint)(lastIndex - index + 1) * 4096);
            Assert.Equal(table | 7, entry);
            for (uint i = 0; i < 1024; i++)
            {
                uint page = ((uint)(index - firstIndex) * 1024) + i;
                Assert.Equal(page < size / 4096 ? (page * 4096) | 7 : 0, memory.Read<uint>(table + (4 * i)));
            }
        }
    }

    [Fact]
    public void TheBootBlockSaysOnlyWhatTheAbiLists()
    {
        using var initrd = new TemporaryFile([.. Enumerable.Range(0, 5000).Select(static i => (byte)(i + 1))]);
        uint size = 16 * Mebibyte;
        using MachineMemory memory = Build(new TestKernel(), size, out _, options => options with { Initrd = initrd.Path, CommandLine = "root=/dev/lgba é " });

        byte[] expected = new byte[4096];
        expected[0x1E8] = 1;
        expected[0x210] = 0xFF;
        BitConverter.TryWriteBytes(expected.AsSpan(0x218), size - 8192);
        BitConverter.TryWriteBytes(expected.AsSpan(0x21C), 8192);
        BitConverter.TryWriteBytes(expected.AsSpan(0x228), 0x1000);
        BitConverter.TryWriteBytes(expected.AsSpan(0x23C), 1);
        BitConverter.TryWriteBytes(expected.AsSpan(0x2D8), (ulong)size);
        BitConverter.TryWriteBytes(expected.AsSpan(0x2E0), 1);
        Assert.Equal(expected, Read(memory, 0, 4096));

        byte[] commandLine = Encoding.Latin1.GetBytes("root=/dev/lgba é \0");
        Assert.Equal(commandLine, Read(memory, 0x1000, commandLine.Length));
        Assert.Equal(File.ReadAllBytes(initrd.Path), Read(memory, size - 8192, 5000));
        Assert.Equal(new byte[3192], Read(memory, size - 8192 + 5000, 3192));
    }

    [Fact]
    public void WithoutAnInitrdTheBootBlockNamesNoLoader()
    {
        using MachineMemory memory = Build(new TestKernel(), 16 * Mebibyte, out _);
        Assert.Equal(0, memory.Read<byte>(0x210));
        Assert.Equal(0ul, memory.Read<ulong>(0x218));
    }

    [Fact]
    public void TheConsoleIsTheOnlyDeviceOnTheBus()
    {
        using MachineMemory memory = Build(new TestKernel(), 16 * Mebibyte, out _);
        Assert.Equal((16 * Mebibyte / 4096) + 1, memory.GuestFrames);
        byte[] page = new byte[4096];
        page[0] = 1;
        Assert.Equal(page, Read(memory, 16 * Mebibyte, 4096));
    }

    public static TheoryData<long, string> BadSizes() => new()
    {
        { 0, "too small" },
        { -5, "too small" },
        { 1 << 20, "too small" },
        { 2 << 20, "2 MiB of memory are too small: kernel and initrd alone need 3 MiB" },
        { (5 << 20) + 1, "not a multiple of 4096" },
        { 0xB800_0000, "2944 MiB of memory are too large: a Guest has at most 2943 MiB" },
        { 1L << 40, "too large" },
        { long.MaxValue, "too large" },
    };

    [Theory]
    [MemberData(nameof(BadSizes))]
    public void AMemorySizeThatCannotWorkIsRefused(long size, string message)
    {
        var error = Assert.Throws<MachineConfigurationException>(() => Build(new TestKernel { Bss = 2 * Mebibyte - 8192 }, size, out _));
        Assert.Contains(message, error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void TheLargestGuestCanBeBuilt()
    {
        using MachineMemory memory = Build(new TestKernel(), 2943L << 20, out GuestStart start);
        Assert.Equal(0xB7EF_F000u, start.PageDirectory);
    }

    [Fact]
    public void KernelAndTopOfMemoryMayTouchButNotOverlap()
    {
        // 4 MiB: directory and one page table below the top leave the kernel 4 MiB - 8 KiB.
        uint bss = (4 * Mebibyte) - 8192 - ElfFile.KernelAddress;
        Build(new TestKernel { Bss = bss }, 4 * Mebibyte, out _).Dispose();
        Assert.Throws<MachineConfigurationException>(() => Build(new TestKernel { Bss = bss + 1 }, 4 * Mebibyte, out _));
    }

    [Fact]
    public void AnInitrdLargerThanMemoryIsRefused()
    {
        using var initrd = new TemporaryFile(new byte[5 * Mebibyte]);
        var error = Assert.Throws<MachineConfigurationException>(
            () => Build(new TestKernel(), 4 * Mebibyte, out _, options => options with { Initrd = initrd.Path }));
        Assert.Contains("(5 MiB) is larger than the Guest's memory (4 MiB)", error.Message);
    }

    [Fact]
    public void AProgramThatIsNoKernelIsToldSoBeforeItsStrangeAddresses()
    {
        byte[] program = new ElfFile { Segments = [new ElfSegment(0x0804_8000, 0x0804_8000, new byte[100])] }.ToBytes();
        using var file = new TemporaryFile(program);
        var error = Assert.Throws<MachineConfigurationException>(
            () => MachineBuilder.Build(new MachineOptions { Kernel = file.Path, MemoryBytes = 16 * Mebibyte }, []));
        Assert.Contains("CONFIG_LGUEST_GUEST", error.Message);
    }

    [Fact]
    public void APageOffsetInTheSwitcherWindowIsRefused()
    {
        var error = Assert.Throws<MachineConfigurationException>(() => Build(new TestKernel(0xFFC0_0000), 4 * Mebibyte, out _));
        Assert.Contains("page offset 0xffc00000", error.Message);
    }

    [Fact]
    public void MissingFilesAreNamed()
    {
        var error = Assert.Throws<MachineConfigurationException>(() => new Machine(new MachineOptions { Kernel = "/no/such/kernel" }));
        Assert.Equal("kernel /no/such/kernel does not exist.", error.Message);
        error = Assert.Throws<MachineConfigurationException>(
            () => Build(new TestKernel(), 4 * Mebibyte, out _, options => options with { Initrd = "/no/such/initrd" }));
        Assert.Equal("initrd /no/such/initrd does not exist.", error.Message);
        error = Assert.Throws<MachineConfigurationException>(() => new Machine(new MachineOptions { Kernel = Path.GetTempPath() }));
        Assert.Contains("is a directory", error.Message);
    }

    [Fact]
    public void ACommandLineThatTheGuestCannotReadIsRefused()
    {
        Build(new TestKernel(), 4 * Mebibyte, out _, static o => o with { CommandLine = new string('a', 2047) }).Dispose();
        Assert.Contains("2048 characters", Assert.Throws<MachineConfigurationException>(
            () => Build(new TestKernel(), 4 * Mebibyte, out _, static o => o with { CommandLine = new string('a', 2048) })).Message);
        Assert.Contains("Latin-1", Assert.Throws<MachineConfigurationException>(
            () => Build(new TestKernel(), 4 * Mebibyte, out _, static o => o with { CommandLine = "quiet €" })).Message);
    }

    private sealed record TestKernel(uint PageOffset = 0xC000_0000)
    {
        public uint Bss { get; init; } = 4096;

        public byte[] ToBytes() => new ElfFile
        {
            Segments = [new ElfSegment(PageOffset + ElfFile.KernelAddress, ElfFile.KernelAddress, [.. "GenuineLguest"u8, 0x90]) { MemorySize = Bss }],
        }.ToBytes();
    }

    private static MachineMemory Build(TestKernel kernel, long size, out GuestStart start, Func<MachineOptions, MachineOptions>? change = null)
    {
        using var file = new TemporaryFile(kernel.ToBytes());
        var options = new MachineOptions { Kernel = file.Path, MemoryBytes = size };
        Device[] devices = [new ConsoleDevice(null, null, TimeProvider.System, NullLogger.Instance)];
        (MachineMemory memory, start) = MachineBuilder.Build(change?.Invoke(options) ?? options, devices);
        return memory;
    }

    private static byte[] Read(MachineMemory memory, uint address, int length)
    {
        byte[] bytes = new byte[length];
        memory.Read(address, bytes);
        return bytes;
    }
}
