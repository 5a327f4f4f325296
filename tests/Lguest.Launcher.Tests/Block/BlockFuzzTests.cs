// A Guest that writes nonsense into its block page and its lists, against a model of a few lines that knows only the ABI's text: the same
// bytes must be in the Guest's memory, on the disk, and in the reply, and there must be no others.

using System.Security.Cryptography;
using Lguest.Launcher.Devices.Block;
using Lguest.Platform;
using Lguest.X86.Memory;
using static Lguest.Launcher.Tests.Block.BlockBench;

namespace Lguest.Launcher.Tests.Block;

public class BlockFuzzTests
{
    private const int DiskBytes = 61 * 512;
    private const int Requests = 2000;
    private const int GuestBytes = (int)(Frames * 4096);

    private readonly Random random;
    private readonly byte[] diskModel = new byte[DiskBytes];
    private readonly byte[] memoryModel = new byte[GuestBytes];

    public BlockFuzzTests()
    {
        int seed = Environment.GetEnvironmentVariable("LGUEST_SEED") is string text ? int.Parse(text) : Environment.TickCount;
        random = new Random(seed);
        TestContext.Current.TestOutputHelper?.WriteLine($"LGUEST_SEED={seed}");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RandomRequestsDoWhatTheAbiSaysAndNothingElse(bool snapshot)
    {
        random.NextBytes(diskModel);
        byte[] image = [.. diskModel];
        using var file = new TemporaryFile(image);
        IDisk disk = DiskFile.Open(file.Path, writes: !snapshot);
        if (snapshot)
        {
            disk = new SnapshotDisk(disk, Path.GetTempPath());
        }
        using (var bench = new BlockBench(disk))
        {
            Assert.True(bench.Memory.TryAllocateFrame(out uint behind));
            random.NextBytes(memoryModel);
            bench.Memory.Write(0, memoryModel);
            byte[] contents = new byte[GuestBytes], onDisk = new byte[DiskBytes];
            for (int i = 0; i < Requests; i++)
            {
                Disturb(bench.Memory);
                int interrupts = bench.Interrupts;
                bench.Send();
                bool answered = Predict();
                Assert.Equal(answered ? 1 : 0, bench.Interrupts - interrupts);
                bench.Memory.Read(0, contents);
                Assert.True(contents.AsSpan().SequenceEqual(memoryModel), $"request {i}: the Guest's memory differs at {contents.AsSpan().CommonPrefixLength(memoryModel):x}");
            }
            Assert.Equal(DiskBytes, disk.Read(onDisk, 0));
            Assert.Equal(diskModel, onDisk);
            Assert.Equal(new byte[4096], bench.Memory.FrameBytes(behind).ToArray());
        }
        byte[] left = File.ReadAllBytes(file.Path);
        Assert.Equal(snapshot ? image : diskModel, left);
        Assert.NotEqual(SHA256.HashData(image), SHA256.HashData(diskModel));
    }

    /// <summary>Lets the Guest change its page, its lists and its status.</summary>
    private void Disturb(MachineMemory memory)
    {
        SetWord(memory, Page, random.Next(8) switch { 0 => (uint)random.Next(), < 4 => 0, _ => 1 });
        SetWord(memory, Page + 4, random.Next(16) == 0 ? (uint)random.NextInt64(1L << 32) : (uint)random.Next(63));
        SetWord(memory, Page + 12, 0);
        SetWord(memory, Descriptor + 4, (uint)random.Next(0x200));
        uint total = FillList(memory, SentList);
        total = random.Next(2) == 0 ? total : FillList(memory, BoundList);
        SetWord(memory, Page + 8, random.Next(4) == 0 ? (uint)random.Next(4096) : total);
    }

    private uint FillList(MachineMemory memory, uint list)
    {
        uint total = 0;
        int count = random.Next(17);
        for (int i = 0; i < 16; i++)
        {
            uint address = random.Next(20) switch
            {
                0 when random.Next(8) == 0 => (uint)random.NextInt64(1L << 32),
                1 => Page + (uint)random.Next(64),
                2 => list + (uint)random.Next(100),
                _ => Data + (uint)random.Next(0x1_0000),
            };
            uint length = i == count ? 0 : random.Next(3) == 0 ? 512u * (uint)random.Next(1, 9) : (uint)random.Next(1, 700);
            SetWord(memory, list + 4 + (4 * (uint)i), address);
            memory.Write(list + 68 + (2 * (uint)i), (ushort)length);
            BitConverter.TryWriteBytes(memoryModel.AsSpan((int)(list + 68 + (2 * (uint)i))), (ushort)length);
            total += i < count ? length : 0;
        }
        SetWord(memory, list, 0);
        return total;
    }

    private void SetWord(MachineMemory memory, uint address, uint value)
    {
        memory.Write(address, value);
        BitConverter.TryWriteBytes(memoryModel.AsSpan((int)address), value);
    }

    /// <summary>The model: what ABI 10.8, 10.10 and E1 say about the request in the page.</summary>
    /// <returns>Whether an interrupt tells the Guest.</returns>
    private bool Predict()
    {
        uint type = Word(Page), sector = Word(Page + 4), bytes = Word(Page + 8);
        bool flushes = (Word(Descriptor + 4) & 0x100) != 0;
        if (ReadList(SentList) is not { } sent || sector >= DiskBytes / 512 || ReadList(BoundList) is not { } bound)
        {
            return false;
        }
        long offset = sector * 512L;
        uint moved = 0, used = 0;
        if (type == 1)
        {
            if (offset + sent.Count > DiskBytes)
            {
                return false;
            }
            foreach (int address in sent)
            {
                diskModel[offset++] = memoryModel[address];
            }
            moved = (uint)sent.Count;
            if (flushes && moved == 0 && bytes == 0)
            {
                BitConverter.TryWriteBytes(memoryModel.AsSpan((int)Page + 20), 1u);
            }
        }
        else if (type == 0)
        {
            foreach (int address in bound.Take((int)(DiskBytes - offset)))
            {
                memoryModel[address] = diskModel[offset++];
                used = ++moved;
            }
        }
        BitConverter.TryWriteBytes(memoryModel.AsSpan((int)Page + 12), type <= 1 && moved == bytes ? 1u : 2u);
        BitConverter.TryWriteBytes(memoryModel.AsSpan((int)BoundList), used);
        return true;
    }

    private uint Word(uint address) => BitConverter.ToUInt32(memoryModel, (int)address);

    /// <summary>The address of each byte of a list, or null when the Launcher refuses it.</summary>
    private List<int>? ReadList(uint list)
    {
        var addresses = new List<int>();
        for (uint i = 0; i < 16; i++)
        {
            uint address = Word(list + 4 + (4 * i)), length = BitConverter.ToUInt16(memoryModel, (int)(list + 68 + (2 * i)));
            if (length == 0)
            {
                break;
            }
            if (address + (ulong)length >= GuestBytes)
            {
                return null;
            }
            addresses.AddRange(Enumerable.Range((int)address, (int)length));
        }
        return addresses;
    }
}
