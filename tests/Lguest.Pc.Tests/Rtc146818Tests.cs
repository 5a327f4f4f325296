// The clock against its data sheet (Motorola MC146818). It begins at 20:30:58 on Tuesday, 9 October 2007.

using Lguest.Pc.Chips;

namespace Lguest.Pc.Tests;

public sealed class Rtc146818Tests : IDisposable
{
    private const long Second = 1_000_000_000;
    private const byte Binary = 4, TwentyFour = 2;

    private readonly ManualTime time = new();
    private readonly RecordingLine line = new();
    private readonly Rtc146818 rtc;

    public Rtc146818Tests() => rtc = new Rtc146818(line, time);

    public void Dispose() => rtc.Dispose();

    [Fact]
    public void ItShowsTheHostsTimeInDecimalDigits()
    {
        Assert.Equal([0x58, 0x30, 0x20, 3, 9, 0x10, 7, 0x20], Time());
        time.Advance(3 * Second);
        Assert.Equal([1, 0x31, 0x20, 3, 9, 0x10, 7, 0x20], Time());
    }

    [Fact]
    public void ItShowsBinaryAndTwelveHours()
    {
        this[11] = Binary;
        Assert.Equal([58, 30, 8 | 0x80, 3, 9, 10, 7, 20], Time());
    }

    [Fact]
    public void AnUpdateIsAnnouncedTwoMillisecondsAhead()
    {
        Assert.Equal(0x26, this[10]);
        time.Advance(Second - 2_300_000);
        Assert.Equal(0x26, this[10]);
        time.Advance(100_000);
        Assert.Equal(0xA6, this[10]);
        Assert.Equal(0x58, this[0]);
        time.Advance(2_200_000);
        Assert.Equal(0x26, this[10]);
        Assert.Equal(0x59, this[0]);
    }

    [Fact]
    public void WhatIsSetGoesOn()
    {
        this[11] = 0x80 | Binary | TwentyFour;
        (this[0], this[2], this[4], this[7], this[8], this[9], this[0x32]) = (59, 59, 23, 31, 12, 99, 20);
        time.Advance(5 * Second);
        Assert.Equal(59, this[0]);
        this[11] = Binary | TwentyFour;
        time.Advance(Second);
        Assert.Equal([0, 0, 0, 6, 1, 1, 0, 21], Time());
    }

    [Fact]
    public void AnImpossibleDateChangesNothing()
    {
        this[11] = 0x80 | Binary | TwentyFour;
        this[8] = 77;
        this[11] = TwentyFour;
        Assert.Equal([0x58, 0x30, 0x20, 3, 9, 0x10, 7, 0x20], Time());
    }

    [Fact]
    public void PeriodicInterruptsComeAtTheirRate()
    {
        this[10] = 0x26;
        this[11] = 0x40 | TwentyFour;
        for (int i = 0; i < 1024; i++)
        {
            time.Advance(Second / 1024);
            if (line.Level)
            {
                Assert.Equal(0xC0, this[12] & 0xC0);
                Assert.False(line.Level);
            }
        }
        Assert.InRange(line.Rises, 1020, 1025);
    }

    [Fact]
    public void UpdateInterruptsComeOnceASecond()
    {
        this[11] = 0x10 | TwentyFour;
        time.Advance(Second);
        Assert.True(line.Level);
        Assert.Equal(0x90, this[12] & 0x90);
        Assert.Equal(0, this[12]);
        time.Advance(Second);
        Assert.Equal(2, line.Rises);
    }

    [Fact]
    public void AnAlarmComesAtItsTime()
    {
        (this[1], this[3], this[5]) = (0x01, 0x31, 0xC0);
        this[11] = 0x20 | TwentyFour;
        time.Advance(2 * Second);
        Assert.False(line.Level);
        time.Advance(Second);
        Assert.True(line.Level);
        Assert.Equal(0xA0, this[12] & 0xA0);
    }

    [Fact]
    public void NothingInterruptsThatIsNotEnabled()
    {
        time.Advance(100 * Second);
        Assert.Equal(0, line.Rises);
        Assert.Equal(0x50, this[12] & 0x70);
        Assert.Equal(0x80, this[13]);
    }

    [Fact]
    public void MemoryKeepsWhatIsStored()
    {
        rtc.Store(0x15, 0x80);
        Assert.Equal(0x80, this[0x15]);
        this[0x40] = 0x77;
        Assert.Equal(0x77, this[0x40]);
    }

    private byte this[int register]
    {
        get
        {
            rtc.Write(0x70, (byte)register);
            return rtc.Read(0x71);
        }
        set
        {
            rtc.Write(0x70, (byte)register);
            rtc.Write(0x71, value);
        }
    }

    private byte[] Time() => [this[0], this[2], this[4], this[6], this[7], this[8], this[9], this[0x32]];
}
