// The clock with a battery, and the few bytes of memory beside it (data sheet: Motorola MC146818). It shows the host's time of day, plus
// what the Guest has moved it by. Like the other chips it does not tick: flags and updates are computed when somebody asks, and a timer
// sleeps only while an interrupt is enabled.

namespace Lguest.Pc.Chips;

/// <summary>MC146818 real-time clock with 128 bytes of CMOS memory, at ports 70h and 71h.</summary>
/// <remarks>Thread-safe.</remarks>
public sealed class Rtc146818 : IBytePortDevice, IDisposable
{
    private const ushort IndexPort = 0x70;
    private const int Seconds = 0, SecondsAlarm = 1, Minutes = 2, MinutesAlarm = 3, Hours = 4, HoursAlarm = 5;
    private const int DayOfWeek = 6, Day = 7, Month = 8, Year = 9, RegisterA = 10, RegisterB = 11, RegisterC = 12, RegisterD = 13;

    /// <summary>Where PCs keep the century.</summary>
    private const int Century = 0x32;

    private const byte Set = 0x80, Periodic = 0x40, Alarm = 0x20, UpdateEnded = 0x10, Binary = 0x04, TwentyFour = 0x02;
    private const byte Requested = 0x80;
    private const byte Afternoon = 0x80;

    // 244 microseconds of warning and 1984 of work, in ticks of 100 ns before the second.
    private const long UpdateTicks = 22_280;
    private const long OscillatorFrequency = 32_768;

    private readonly Lock door = new();
    private readonly byte[] memory = new byte[128];
    private readonly IInterruptLine line;
    private readonly TimeProvider time;
    private readonly ITimer timer;
    private TimeSpan offset;
    private DateTime looked;
    private int index;

    /// <summary>Makes a clock that shows UTC.</summary>
    /// <param name="line">IRQ 8.</param>
    /// <param name="time">The host's time.</param>
    public Rtc146818(IInterruptLine line, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(time);
        this.line = line;
        this.time = time;
        memory[RegisterA] = 0x26;
        memory[RegisterB] = TwentyFour;
        looked = Now;
        timer = time.CreateTimer(static rtc => ((Rtc146818)rtc!).OnTimer(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        ShowTime(looked);
    }

    /// <summary>A byte of the memory, for what a firmware would leave there.</summary>
    /// <param name="address">14 to 127.</param>
    /// <param name="value">The byte.</param>
    public void Store(int address, byte value)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(address, RegisterD);
        memory[address] = value;
    }

    /// <summary>Puts the chip at its ports.</summary>
    public void Connect(PortBus bus)
    {
        ArgumentNullException.ThrowIfNull(bus);
        bus.Register(IndexPort, 2, this);
    }

    /// <inheritdoc/>
    public byte Read(ushort port)
    {
        if (port == IndexPort)
        {
            return 0xFF;
        }
        lock (door)
        {
            DateTime now = Now;
            switch (index)
            {
                case RegisterA:
                    bool updating = IsRunning && TimeSpan.TicksPerSecond - (now.Ticks % TimeSpan.TicksPerSecond) <= UpdateTicks;
                    return (byte)(memory[RegisterA] | (updating ? 0x80 : 0));
                case RegisterC:
                    CollectFlags(now);
                    byte flags = memory[RegisterC];
                    memory[RegisterC] = 0;
                    line.Set(false);
                    Arm(now);
                    return flags;
                case RegisterD:
                    return 0x80;
                case < RegisterA or Century when IsRunning:
                    ShowTime(now);
                    break;
            }
            return memory[index];
        }
    }

    /// <inheritdoc/>
    public void Write(ushort port, byte value)
    {
        lock (door)
        {
            if (port == IndexPort)
            {
                index = value & 0x7F;
                return;
            }
            DateTime now = Now;
            CollectFlags(now);
            switch (index)
            {
                case RegisterA:
                    memory[RegisterA] = (byte)(value & 0x7F);
                    break;
                case RegisterB:
                    WriteControl(value, now);
                    break;
                case RegisterC or RegisterD:
                    return;
                case SecondsAlarm or MinutesAlarm or HoursAlarm:
                    memory[index] = value;
                    break;
                case < RegisterA or Century:
                    if (IsRunning)
                    {
                        ShowTime(now);
                    }
                    memory[index] = value;
                    if (IsRunning)
                    {
                        TakeTime();
                    }
                    break;
                default:
                    memory[index] = value;
                    break;
            }
            Arm(now);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => timer.Dispose();

    private DateTime Now => time.GetUtcNow().UtcDateTime + offset;

    /// <summary>Whether the time goes on: the Guest is not setting it, and the divider chain is not held.</summary>
    private bool IsRunning => (memory[RegisterB] & Set) == 0;

    /// <summary>Ticks of 100 ns between periodic flags; 0 when there are none.</summary>
    private long Period
    {
        get
        {
            int rate = memory[RegisterA] & 0x0F;
            // The two fastest rates are slower than those behind them (data sheet, table 5).
            int shift = rate is 1 or 2 ? rate + 6 : rate - 1;
            return rate == 0 ? 0 : (TimeSpan.TicksPerSecond << shift) / OscillatorFrequency;
        }
    }

    private void WriteControl(byte value, DateTime now)
    {
        bool wasRunning = IsRunning;
        if (wasRunning)
        {
            ShowTime(now);
        }
        if ((value & Set) != 0)
        {
            value &= unchecked((byte)~UpdateEnded);
        }
        memory[RegisterB] = value;
        if (!wasRunning && IsRunning)
        {
            TakeTime();
            looked = Now;
        }
    }

    /// <summary>Sets the flags of what has happened since somebody looked last, and the interrupt if it is enabled.</summary>
    private void CollectFlags(DateTime now)
    {
        byte flags = 0;
        if (Period is > 0 and long period && now.Ticks / period != looked.Ticks / period)
        {
            flags |= Periodic;
        }
        long seconds = (now.Ticks / TimeSpan.TicksPerSecond) - (looked.Ticks / TimeSpan.TicksPerSecond);
        if (IsRunning && seconds > 0)
        {
            flags |= UpdateEnded;
            // An alarm that lies in a long time without a look was within its last day.
            for (long back = 0; back < Math.Min(seconds, 86_400); back++)
            {
                if (IsAlarm(now.AddSeconds(-back)))
                {
                    flags |= Alarm;
                    break;
                }
            }
        }
        looked = now;
        memory[RegisterC] |= flags;
        if ((memory[RegisterC] & memory[RegisterB] & (Periodic | Alarm | UpdateEnded)) != 0)
        {
            memory[RegisterC] |= Requested;
            line.Set(true);
        }
    }

    private bool IsAlarm(DateTime moment)
    {
        bool Matches(int register, byte value) => memory[register] >= 0xC0 || memory[register] == value;
        return Matches(SecondsAlarm, Encode(moment.Second)) && Matches(MinutesAlarm, Encode(moment.Minute))
            && Matches(HoursAlarm, EncodeHour(moment.Hour));
    }

    private void Arm(DateTime now)
    {
        byte enabled = memory[RegisterB];
        long next = long.MaxValue;
        // Once requested, nothing more happens until register C is read.
        if ((memory[RegisterC] & Requested) == 0)
        {
            if ((enabled & Periodic) != 0 && Period is > 0 and long period)
            {
                next = period - (now.Ticks % period);
            }
            if ((enabled & (Alarm | UpdateEnded)) != 0 && IsRunning)
            {
                next = Math.Min(next, TimeSpan.TicksPerSecond - (now.Ticks % TimeSpan.TicksPerSecond));
            }
        }
        timer.Change(next == long.MaxValue ? Timeout.InfiniteTimeSpan : new TimeSpan(next), Timeout.InfiniteTimeSpan);
    }

    private void OnTimer()
    {
        lock (door)
        {
            DateTime now = Now;
            CollectFlags(now);
            Arm(now);
        }
    }

    private void ShowTime(DateTime now)
    {
        memory[Seconds] = Encode(now.Second);
        memory[Minutes] = Encode(now.Minute);
        memory[Hours] = EncodeHour(now.Hour);
        memory[DayOfWeek] = Encode((int)now.DayOfWeek + 1);
        memory[Day] = Encode(now.Day);
        memory[Month] = Encode(now.Month);
        memory[Year] = Encode(now.Year % 100);
        memory[Century] = Encode(now.Year / 100);
    }

    /// <summary>The Guest has set the registers: its time differs from the host's from now on. Impossible dates are not taken.</summary>
    private void TakeTime()
    {
        byte hours = memory[Hours];
        int hour = (memory[RegisterB] & TwentyFour) != 0
            ? Decode(hours)
            : (Decode((byte)(hours & ~Afternoon)) % 12) + ((hours & Afternoon) != 0 ? 12 : 0);
        int year = (Decode(memory[Century]) * 100) + Decode(memory[Year]);
        int month = Decode(memory[Month]), day = Decode(memory[Day]), minute = Decode(memory[Minutes]), second = Decode(memory[Seconds]);
        if (year is < 1970 or > 2999 || month is < 1 or > 12 || day < 1 || day > DateTime.DaysInMonth(year, month) || hour > 23 || minute > 59 || second > 59)
        {
            return;
        }
        DateTime now = time.GetUtcNow().UtcDateTime;
        long fraction = now.Ticks % TimeSpan.TicksPerSecond;
        offset = new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc).AddTicks(fraction) - now;
        looked = Now;
    }

    private byte EncodeHour(int hour)
    {
        if ((memory[RegisterB] & TwentyFour) != 0)
        {
            return Encode(hour);
        }
        byte twelve = Encode(hour % 12 == 0 ? 12 : hour % 12);
        return (byte)(twelve | (hour >= 12 ? Afternoon : 0));
    }

    private byte Encode(int value) => (byte)((memory[RegisterB] & Binary) != 0 ? value : (value / 10 << 4) | (value % 10));

    private int Decode(byte value) => (memory[RegisterB] & Binary) != 0 ? value : ((value >> 4) * 10) + (value & 15);
}
