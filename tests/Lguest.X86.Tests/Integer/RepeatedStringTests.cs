// Repeated string instructions at their borders: pages that are missing, pages that are one page twice, overlaps, segment ends, turns
// that end before the work does. A plain byte-by-byte model tells what must come out.

using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

public sealed class RepeatedStringTests : IDisposable
{
    private const uint Region = PagedMachine.Region;
    private const int Pages = 8;

    private readonly PagedMachine paged = new();
    private readonly int seed = System.Random.Shared.Next();
    private readonly Random random;

    public RepeatedStringTests()
    {
        random = new Random(seed);
    }

    public void Dispose() => paged.Dispose();

    // Linear pages 0 to 7 lie on four physical ones, so that a copy can overlap itself through a second name.
    private uint[] ScatterPages()
    {
        uint[] physical = new uint[Pages];
        for (uint page = 0; page < Pages; page++)
        {
            physical[page] = Region + ((uint)random.Next(4) * 4096);
            paged.Map(page, physical[page], 7);
        }
        return physical;
    }

    private void Prepare(byte[] code, uint source, uint destination, uint count, bool backward, uint flags = 0)
    {
        paged.Machine.Load(code);
        paged[Register32.Esi] = source;
        paged[Register32.Edi] = destination;
        paged[Register32.Ecx] = count;
        paged.State.Eflags = Eflags.AlwaysOne | (backward ? Eflags.Direction : 0) | flags;
    }

    private static byte[] Repeat(byte opcode, int size) => [0xF3, .. size == 2 ? (byte[])[0x66] : [], size == 1 ? opcode : (byte)(opcode + 1)];

    private bool StepToEnd(byte[] code, int limit = 100)
    {
        for (int i = 0; i < limit; i++)
        {
            if (!paged.Machine.Step())
            {
                return false;
            }
            if (paged.State.Eip != TestMachine.CodeAddress)
            {
                Assert.Equal(TestMachine.CodeAddress + (uint)code.Length, paged.State.Eip);
                return true;
            }
        }
        Assert.Fail("the instruction does not end");
        return false;
    }

    [Fact]
    public void MoveAndStoreAgreeWithTheModelHoweverPagesOverlap()
    {
        for (int round = 0; round < 400; round++)
        {
            uint[] physical = ScatterPages();
            byte[] model = new byte[4 * 4096];
            random.NextBytes(model);
            paged.Machine.Memory.Write(Region, model);

            bool move = random.Next(4) != 0;
            int size = 1 << random.Next(3);
            bool backward = random.Next(2) == 0;
            int count = random.Next(random.Next(2) == 0 ? 40 : 3 * 4096 / size);
            int span = count * size;
            int source = random.Next((Pages * 4096) - span - 8);
            int destination = random.Next(2) == 0
                ? random.Next((Pages * 4096) - span - 8)
                : Math.Clamp(source + random.Next(-9, 10), 0, (Pages * 4096) - span - 8);
            int start = backward ? Math.Max(0, span - size) : 0;
            uint value = (uint)random.Next();

            byte[] code = Repeat(move ? (byte)0xA4 : (byte)0xAA, size);
            Prepare(code, Region + (uint)(source + start), Region + (uint)(destination + start), (uint)count, backward);
            paged[Register32.Eax] = value;
            Assert.True(StepToEnd(code));

            byte[] element = new byte[size];
            for (int i = 0; i < count; i++)
            {
                int step = backward ? start - (i * size) : i * size;
                for (int b = 0; b < size; b++)
                {
                    element[b] = move ? model[Place(source + step + b)] : (byte)(value >> (8 * b));
                }
                for (int b = 0; b < size; b++)
                {
                    model[Place(destination + step + b)] = element[b];
                }
            }
            string what = $"{(move ? "MOVS" : "STOS")} of {count} times {size} from {source} to {destination}, " +
                $"backward {backward}, seed {seed}, round {round}";
            Assert.True(model.AsSpan().SequenceEqual(paged.Machine.Read(Region, model.Length)), what);
            Assert.Equal(0u, paged[Register32.Ecx]);
            int direction = backward ? -1 : 1;
            Assert.Equal(Region + (uint)(destination + start + (direction * span)), paged[Register32.Edi]);
            if (move)
            {
                Assert.Equal(Region + (uint)(source + start + (direction * span)), paged[Register32.Esi]);
            }

            int Place(int offset) => (int)(physical[offset / 4096] - Region) + (offset % 4096);
        }
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 4)]
    [InlineData(true, 1)]
    [InlineData(true, 4)]
    public void AFaultLeavesWhatIsDoneAndTheInstructionContinues(bool backward, int size)
    {
        byte[] data = new byte[4 * 4096];
        random.NextBytes(data);
        paged.Machine.Memory.Write(Region, data);
        // From the middle of page 0 to the middle of page 5, upwards, or the reverse; page 5 (4) comes into being late.
        const uint bytes = 0x1000;
        uint gone = backward ? 4u : 5u;
        paged.Map(gone, 0);
        uint first = backward ? bytes - (uint)size : 0;
        byte[] code = Repeat(0xA4, size);
        Prepare(code, Region + 0x800 + first, Region + 0x4800 + first, bytes / (uint)size, backward);
        Assert.False(StepToEnd(code));

        Assert.Equal(Vector.PageFault, paged.Machine.FaultVector);
        Assert.Equal(2u, paged.Machine.FaultErrorCode);
        uint half = 0x800;
        uint distance = backward ? 0 - half : half;
        Assert.Equal(Region + 0x800 + first + distance, paged[Register32.Esi]);
        Assert.Equal(Region + 0x4800 + first + distance, paged[Register32.Edi]);
        Assert.Equal(half / (uint)size, paged[Register32.Ecx]);
        Assert.Equal(paged[Register32.Edi], paged.State.Cr2);
        Assert.Equal(TestMachine.CodeAddress, paged.State.Eip);

        paged.Map(gone, 7);
        Assert.True(StepToEnd(code));
        Assert.Equal(data[0x800..0x1800], paged.Machine.Read(Region + 0x4800, (int)bytes));
    }

    [Theory]
    [InlineData(0xA6)]
    [InlineData(0xAE)]
    public void AComparisonThatFaultsLeavesTheFlags(byte opcode)
    {
        paged.Map(5, 0);
        paged[Register32.Eax] = 0;
        byte[] code = Repeat(opcode, 1);
        Prepare(code, Region, Region + 0x4FFE, 10, false, Eflags.Carry | Eflags.Overflow);
        Assert.False(StepToEnd(code));
        Assert.Equal(8u, paged[Register32.Ecx]);
        Assert.Equal(Region + 0x5000, paged[Register32.Edi]);
        Assert.Equal(Eflags.AlwaysOne | Eflags.Carry | Eflags.Overflow, paged.State.Eflags);
    }

    [Theory]
    [InlineData(0xA6, 0xF3)]
    [InlineData(0xAE, 0xF3)]
    [InlineData(0xAE, 0xF2)]
    [InlineData(0xA6, 0xF2)]
    public void AComparisonEndsWhereItMust(byte opcode, byte prefix)
    {
        for (int round = 0; round < 60; round++)
        {
            bool untilEqual = prefix == 0xF2;
            int count = random.Next(1, 9000);
            int end = random.Next(0, 12000);
            byte[] source = new byte[12000];
            byte[] destination = new byte[12000];
            Array.Fill(source, (byte)3);
            Array.Fill(destination, untilEqual ? (byte)5 : (byte)3);
            destination[end] = untilEqual ? (byte)3 : (byte)9;
            paged.Machine.Memory.Write(Region + 0x123, source);
            paged.Machine.Memory.Write(Region + 0x4456, destination);
            paged[Register32.Eax] = 3;
            byte[] code = [prefix, opcode];
            Prepare(code, Region + 0x123, Region + 0x4456, (uint)count, false);
            Assert.True(StepToEnd(code));

            int done = Math.Min(count, end + 1);
            Assert.True((uint)(count - done) == paged[Register32.Ecx], $"count {count}, end {end}, seed {seed}");
            Assert.Equal(Region + 0x4456 + (uint)done, paged[Register32.Edi]);
            Assert.Equal(Region + 0x123 + (opcode == 0xA6 ? (uint)done : 0), paged[Register32.Esi]);
            Assert.Equal(count > end == untilEqual, paged.State.Flags.Zero);
        }
    }

    [Fact]
    public void ALongOneComesBackNowAndThen()
    {
        byte[] code = Repeat(0xAA, 1);
        Prepare(code, 0, Region, 10_000, false);
        Assert.True(paged.Machine.Step());
        Assert.Equal(TestMachine.CodeAddress, paged.State.Eip);
        Assert.InRange(paged[Register32.Ecx], 1u, 9_999u);
        Assert.Equal(Region + 10_000 - paged[Register32.Ecx], paged[Register32.Edi]);
        Assert.True(StepToEnd(code));
    }

    [Fact]
    public void ASingleStepIsOneElement()
    {
        byte[] code = Repeat(0xA4, 4);
        Prepare(code, Region, Region + 0x800, 2, false, Eflags.Trap);
        Assert.True(paged.Machine.Step());
        Assert.Equal(1u, paged[Register32.Ecx]);
        Assert.Equal(TestMachine.CodeAddress, paged.State.Eip);
        Assert.True(paged.Machine.Step());
        Assert.Equal(0u, paged[Register32.Ecx]);
        Assert.Equal(TestMachine.CodeAddress + 2, paged.State.Eip);
    }

    [Fact]
    public void NothingToDoTouchesNothing()
    {
        paged.Map(0, 0);
        foreach (byte opcode in (byte[])[0xA4, 0xA6, 0xAA, 0xAC, 0xAE])
        {
            byte[] code = Repeat(opcode, 1);
            Prepare(code, Region, Region, 0, false, Eflags.Carry);
            Assert.True(StepToEnd(code));
            Assert.Equal(Region, paged[Register32.Edi]);
            Assert.Equal(Eflags.AlwaysOne | Eflags.Carry, paged.State.Eflags);
        }
    }

    [Fact]
    public void TheSegmentEndsTheStore()
    {
        paged.State.Segments[(int)SegmentName.ES].Limit = Region + 0x7FF;
        byte[] code = Repeat(0xAA, 4);
        Prepare(code, 0, Region + 0x7F2, 8, false);
        Assert.False(StepToEnd(code));
        Assert.Equal(Vector.GeneralProtection, paged.Machine.FaultVector);
        Assert.Equal(Region + 0x7FE, paged[Register32.Edi]);
        Assert.Equal(5u, paged[Register32.Ecx]);
    }

    [Fact]
    public void TheSegmentBeginsTheStoreDownwards()
    {
        paged.Machine.SetSegmentBase(SegmentName.ES, Region + 0x800);
        paged.State.Segments[(int)SegmentName.ES].Limit = 0xFFF;
        byte[] code = Repeat(0xAA, 4);
        Prepare(code, 0, 8, 5, true);
        paged[Register32.Eax] = 0xFFFF_FFFF;
        Assert.False(StepToEnd(code));
        Assert.Equal(Vector.GeneralProtection, paged.Machine.FaultVector);
        Assert.Equal(0xFFFF_FFFCu, paged[Register32.Edi]);
        Assert.Equal(2u, paged[Register32.Ecx]);
        Assert.Equal([0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], paged.Machine.Read(Region + 0x7FC, 8));
    }

    [Fact]
    public void UnalignedElementsAreReportedWhenAskedFor()
    {
        paged.Machine.SetPrivilegeLevel(3);
        paged.State.Cr0 |= Cr0.AlignmentMask;
        byte[] code = Repeat(0xAA, 4);
        Prepare(code, 0, Region + 2, 8, false, Eflags.AlignmentCheck);
        paged.Machine.Processor.StateChanged();
        Assert.False(StepToEnd(code));
        Assert.Equal(Vector.AlignmentCheck, paged.Machine.FaultVector);
        Assert.Equal(8u, paged[Register32.Ecx]);
    }

    [Fact]
    public void WritingCodeIsNoticed()
    {
        var tracker = new Tracker();
        paged.Machine.Memory.CodeTracker = tracker;
        paged.Machine.Memory.SetFrameHoldsCode(Region >> 12, true);
        byte[] code = Repeat(0xAA, 1);
        Prepare(code, 0, Region + 0x10, 3, false);
        Assert.True(StepToEnd(code));
        Assert.Equal([(Region >> 12, 0x10u), (Region >> 12, 0x11u), (Region >> 12, 0x12u)], tracker.Writes);
    }

    private sealed class Tracker : ICodeTracker
    {
        public List<(uint Frame, uint Offset)> Writes { get; } = [];

        public void CodeFrameWritten(uint frame, uint offset, uint length) => Writes.Add((frame, offset));
    }
}
