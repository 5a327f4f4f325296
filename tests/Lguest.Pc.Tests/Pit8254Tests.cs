// The 8254 against its data sheet (Intel 231164), in ticks of its own oscillator.

using Lguest.Pc.Chips;

namespace Lguest.Pc.Tests;

public sealed class Pit8254Tests : IDisposable
{
    private const ushort Counter0 = 0x40, Control = 0x43, System = 0x61;

    private readonly ManualTime time = new();
    private readonly RecordingLine line = new();
    private readonly Pit8254 pit;
    private long ticks;

    public Pit8254Tests() => pit = new Pit8254(line, time);

    public void Dispose() => pit.Dispose();

    [Fact]
    public void ModeTwoRaisesTheInterruptOncePerPeriod()
    {
        Program(0, 2, 1000);
        int before = line.Rises;
        Tick(999);
        Assert.Equal(before, line.Rises);
        Tick(1);
        Assert.Equal(before + 1, line.Rises);
        for (int i = 0; i < 50; i++)
        {
            Tick(1000);
        }
        Assert.Equal(before + 51, line.Rises);
    }

    [Fact]
    public void ModeTwoCountsDownAndReloads()
    {
        Program(0, 2, 1000);
        Assert.Equal(1000, Latch(0));
        Tick(1);
        Assert.Equal(999, Latch(0));
        Tick(998);
        Assert.Equal(1, Latch(0));
        Tick(1);
        Assert.Equal(1000, Latch(0));
    }

    [Fact]
    public void ModeTwoTakesANewCountAtTheEndOfItsPeriod()
    {
        Program(0, 2, 1000);
        Tick(300);
        Load(0, 100);
        Assert.Equal(0x40, ReadStatus(0) & 0x40);
        Tick(699);
        Assert.Equal(1, Latch(0));
        Tick(1);
        Assert.Equal(100, Latch(0));
        Assert.Equal(0, ReadStatus(0) & 0x40);
    }

    [Fact]
    public void ModeZeroInterruptsOnceAtItsEnd()
    {
        Program(0, 0, 500);
        Assert.False(line.Level);
        Tick(499);
        Assert.False(line.Level);
        Tick(1);
        Assert.True(line.Level);
        Tick(100_000);
        Assert.Equal(1, line.Rises);
        // It counts on from zero.
        Assert.Equal((2 * 0x1_0000) - 100_000, Latch(0));
    }

    [Fact]
    public void ModeFourStrobes()
    {
        Program(0, 4, 500);
        int before = line.Rises;
        Tick(500);
        Assert.Equal(0, ReadStatus(0) & 0x80);
        Tick(1);
        Assert.Equal(before + 1, line.Rises);
        Assert.True(line.Level);
        Tick(100_000);
        Assert.Equal(before + 1, line.Rises);
    }

    [Fact]
    public void ModeThreeIsASquareWave()
    {
        Program(0, 3, 1000);
        Tick(10);
        Assert.Equal(980, Latch(0));
        Assert.Equal(0x80, ReadStatus(0) & 0x80);
        Tick(490);
        Assert.Equal(0, ReadStatus(0) & 0x80);
        Assert.Equal(1000, Latch(0));
        int before = line.Rises;
        Tick(500);
        Assert.Equal(before + 1, line.Rises);
        Assert.Equal(0x80, ReadStatus(0) & 0x80);
    }

    [Fact]
    public void ALatchedCountStaysUntilItIsRead()
    {
        Program(0, 2, 0x1234);
        pit.Write(Control, 0x00);
        Tick(0x234);
        pit.Write(Control, 0x00);
        Assert.Equal((0x34, 0x12), (pit.Read(Counter0), pit.Read(Counter0)));
        Assert.Equal(0x1000, pit.Read(Counter0) | (pit.Read(Counter0) << 8));
    }

    [Fact]
    public void ReadBackLatchesStatusThenCount()
    {
        Program(0, 2, 1000);
        Tick(1);
        pit.Write(Control, 0xC2);
        Assert.Equal(0x80 | 0x30 | (2 << 1), pit.Read(Counter0));
        Assert.Equal(999, pit.Read(Counter0) | (pit.Read(Counter0) << 8));
    }

    [Fact]
    public void AControlWordLeavesTheCountNull()
    {
        pit.Write(Control, 0x34);
        Assert.Equal(0x40, ReadStatus(0) & 0x40);
        Load(0, 5000);
        Assert.Equal(0, ReadStatus(0) & 0x40);
    }

    [Fact]
    public void OneByteAccessLoadsThatByte()
    {
        pit.Write(Control, 0x14);
        pit.Write(Counter0, 200);
        Tick(50);
        Assert.Equal(150, pit.Read(Counter0));
        Assert.Equal(150, pit.Read(Counter0));
        pit.Write(Control, 0x24);
        pit.Write(Counter0, 0x10);
        Tick(0x100);
        Assert.Equal(0x0F, pit.Read(Counter0));
    }

    [Fact]
    public void DecimalCountersCountInDecimal()
    {
        pit.Write(Control, 0x31);
        Load(0, 0x1000);
        Tick(1);
        Assert.Equal(0x0999, Latch(0));
    }

    [Fact]
    public void ZeroIsTheLargestCount()
    {
        Program(0, 2, 0);
        int before = line.Rises;
        Tick(65_535);
        Assert.Equal(before, line.Rises);
        Tick(1);
        Assert.Equal(before + 1, line.Rises);
    }

    [Fact]
    public void TheGateOfCounterTwoIsABitOfPort61()
    {
        pit.Write(System, 0);
        Program(2, 0, 1000);
        Tick(5000);
        Assert.Equal(0, pit.Read(System) & 0x20);
        Assert.Equal(1000, Latch(2));
        pit.Write(System, 1);
        Assert.Equal(1, pit.Read(System) & 0x0F);
        Tick(400);
        pit.Write(System, 0);
        Tick(5000);
        Assert.Equal(600, Latch(2));
        pit.Write(System, 1);
        Tick(599);
        Assert.Equal(0, pit.Read(System) & 0x20);
        Tick(1);
        Assert.Equal(0x20, pit.Read(System) & 0x20);
    }

    [Fact]
    public void ModeOneIsTriggeredByTheGate()
    {
        pit.Write(System, 0);
        Program(2, 1, 100);
        Tick(1000);
        Assert.Equal(0x20, pit.Read(System) & 0x20);
        pit.Write(System, 1);
        Assert.Equal(0, pit.Read(System) & 0x20);
        Tick(99);
        Assert.Equal(0, pit.Read(System) & 0x20);
        Tick(1);
        Assert.Equal(0x20, pit.Read(System) & 0x20);
    }

    [Fact]
    public void AnHourHasItsTicks()
    {
        Program(0, 2, 11932);
        int before = line.Rises;
        time.Advance(3600L * 1_000_000_000);
        Assert.Equal(before + (int)(3600 * Pit8254.Frequency / 11932), line.Rises);
    }

    [Fact]
    public void AGuestThatAsksForTicksWithoutEndGetsAModestNumber()
    {
        Program(0, 2, 2);
        int before = line.Rises;
        time.Advance(1_000_000_000);
        Assert.InRange(line.Rises - before, 1000, 25_000);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(4)]
    public void AnInterruptThatIsDueIsNotLostWhenTheGuestIsQuickerThanTheTimer(int mode)
    {
        Program(0, mode, 1000);
        int before = line.Rises;
        time.AdvanceBeforeTimers(1_000_000);
        // Not even about this counter: a kernel that measures its processor programs another.
        Program(2, 0, 100);
        Assert.Equal(before + 1, line.Rises);
        time.Advance(1000);
        Assert.Equal(before + 1, line.Rises);
    }

    private void Program(int counter, int mode, int count)
    {
        pit.Write(Control, (byte)((counter << 6) | 0x30 | (mode << 1)));
        Load(counter, count);
    }

    private void Load(int counter, int count)
    {
        pit.Write((ushort)(Counter0 + counter), (byte)count);
        pit.Write((ushort)(Counter0 + counter), (byte)(count >> 8));
    }

    private int Latch(int counter)
    {
        pit.Write(Control, (byte)(counter << 6));
        return pit.Read((ushort)(Counter0 + counter)) | (pit.Read((ushort)(Counter0 + counter)) << 8);
    }

    private byte ReadStatus(int counter)
    {
        pit.Write(Control, (byte)(0xE0 | (2 << counter)));
        return pit.Read((ushort)(Counter0 + counter));
    }

    /// <summary>Advances to the middle of a tick, a number of ticks from the present one.</summary>
    private void Tick(long count)
    {
        ticks += count;
        long moment = ((ticks * 1_000_000_000) + (Pit8254.Frequency / 2)) / Pit8254.Frequency;
        time.Advance(moment + 300 - time.Now);
    }
}
