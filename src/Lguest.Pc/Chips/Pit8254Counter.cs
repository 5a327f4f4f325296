// One of the three counters of an 8254. It does not count: it remembers when it was started, and whoever looks computes what it would have
// come to by then. That is exact and costs nothing while nobody looks (data sheet: Intel 231164).

namespace Lguest.Pc.Chips;

/// <summary>One counter; all times are ticks of the 1.193182 MHz oscillator since power-on.</summary>
internal sealed class Pit8254Counter
{
    private const int LowByte = 1;
    private const int HighByte = 2;
    private const int BothBytes = 3;

    private int access = BothBytes;
    private bool decimalDigits;
    private bool secondByteIsNext;
    private bool readsSecondByte;
    private byte writtenLow;
    private int count = 0x1_0000;
    private bool hasCount;
    private bool running;
    private long start;
    private long frozen;
    private int nextCount;
    private long nextStart;
    private readonly Queue<byte> latchedCount = new();
    private byte? latchedStatus;

    /// <summary>The GATE pin.</summary>
    public bool Gate { get; private set; } = true;

    /// <summary>Counting mode, 0 to 5.</summary>
    public int Mode { get; private set; } = 3;

    /// <summary>Programs access and mode: a control word for this counter.</summary>
    public void Program(byte word, long now)
    {
        int newAccess = (word >> 4) & 3;
        if (newAccess == 0)
        {
            LatchCount(now);
            return;
        }
        access = newAccess;
        int mode = (word >> 1) & 7;
        Mode = mode > 5 ? mode - 4 : mode;
        decimalDigits = (word & 1) != 0;
        secondByteIsNext = readsSecondByte = false;
        hasCount = running = false;
        nextCount = 0;
        frozen = 0;
        latchedCount.Clear();
        latchedStatus = null;
    }

    /// <summary>Holds the present count for the next reads; the first of several commands counts.</summary>
    public void LatchCount(long now)
    {
        if (latchedCount.Count > 0)
        {
            return;
        }
        int value = Value(now);
        if (access is LowByte or BothBytes)
        {
            latchedCount.Enqueue((byte)value);
        }
        if (access is HighByte or BothBytes)
        {
            latchedCount.Enqueue((byte)(value >> 8));
        }
    }

    /// <summary>Holds the status byte for the next read.</summary>
    public void LatchStatus(long now)
    {
        Advance(now);
        bool nullCount = !hasCount || nextCount != 0;
        latchedStatus ??= (byte)((Output(now) ? 0x80 : 0) | (nullCount ? 0x40 : 0) | (access << 4) | (Mode << 1) | (decimalDigits ? 1 : 0));
    }

    /// <summary>Reads a byte: a latched status first, a latched count next, the running count else.</summary>
    public byte Read(long now)
    {
        if (latchedStatus is byte status)
        {
            latchedStatus = null;
            return status;
        }
        if (latchedCount.TryDequeue(out byte latched))
        {
            return latched;
        }
        int value = Value(now);
        bool high = access == HighByte || (access == BothBytes && readsSecondByte);
        readsSecondByte = access == BothBytes && !readsSecondByte;
        return (byte)(high ? value >> 8 : value);
    }

    /// <summary>Writes a byte of the count.</summary>
    public void Write(byte value, long now)
    {
        switch (access)
        {
            case LowByte:
                Load(value, now);
                break;
            case HighByte:
                Load(value << 8, now);
                break;
            case BothBytes when !secondByteIsNext:
                writtenLow = value;
                secondByteIsNext = true;
                if (Mode == 0)
                {
                    // The first byte stops the counting, and OUT goes low.
                    running = false;
                    hasCount = false;
                }
                break;
            default:
                secondByteIsNext = false;
                Load(writtenLow | (value << 8), now);
                break;
        }
    }

    /// <summary>Sets the GATE pin.</summary>
    public void SetGate(bool level, long now)
    {
        if (level == Gate)
        {
            return;
        }
        Advance(now);
        if (!level)
        {
            frozen = now - start;
        }
        Gate = level;
        if (!level || !hasCount)
        {
            return;
        }
        switch (Mode)
        {
            case 0 or 4:
                start = now - frozen;
                break;
            default:
                start = now;
                running = true;
                break;
        }
    }

    /// <summary>The OUT pin.</summary>
    public bool Output(long now)
    {
        Advance(now);
        if (!running)
        {
            return Mode != 0;
        }
        long elapsed = Elapsed(now);
        return Mode switch
        {
            0 or 1 => elapsed >= count,
            2 => !Gate || elapsed % count != count - 1,
            3 => !Gate || elapsed % count < (count + 1) / 2,
            _ => elapsed != count,
        };
    }

    /// <summary>When OUT rises next after a moment, or <see cref="long.MaxValue"/>.</summary>
    public long NextRise(long now)
    {
        Advance(now);
        if (!running || (!Gate && Mode is not (1 or 5)))
        {
            return long.MaxValue;
        }
        long elapsed = now - start;
        long rise = Mode switch
        {
            0 or 1 => count,
            2 or 3 => ((elapsed / count) + 1) * count,
            _ => count + 1,
        };
        return rise > elapsed ? start + rise : long.MaxValue;
    }

    private void Load(int written, long now)
    {
        Advance(now);
        int value = decimalDigits ? FromDecimal(written) : written;
        value = value != 0 ? value : decimalDigits ? 10_000 : 0x1_0000;
        if (Mode is 2 or 3 && running && Gate)
        {
            // The period that has begun is counted to its end.
            nextCount = value;
            nextStart = start + ((((now - start) / count) + 1) * count);
            return;
        }
        count = value;
        hasCount = true;
        frozen = 0;
        if (Mode is not (1 or 5))
        {
            start = now;
            running = true;
        }
    }

    private void Advance(long now)
    {
        if (nextCount != 0 && now >= nextStart)
        {
            count = nextCount;
            start = nextStart;
            nextCount = 0;
        }
    }

    private long Elapsed(long now) => Gate || Mode is 1 or 5 ? now - start : frozen;

    private int Value(long now)
    {
        Advance(now);
        long elapsed = running ? Elapsed(now) : 0;
        long left = Mode switch
        {
            2 => count - (elapsed % count),
            3 => count - (2 * elapsed % count),
            _ => count - elapsed,
        };
        if (!decimalDigits)
        {
            return (int)(left & 0xFFFF);
        }
        return ToDecimal((int)(((left % 10_000) + 10_000) % 10_000));
    }

    private static int FromDecimal(int digits) =>
        (((digits >> 12) & 15) * 1000) + (((digits >> 8) & 15) * 100) + (((digits >> 4) & 15) * 10) + (digits & 15);

    private static int ToDecimal(int value) =>
        (value / 1000 << 12) | (value / 100 % 10 << 8) | (value / 10 % 10 << 4) | (value % 10);
}
