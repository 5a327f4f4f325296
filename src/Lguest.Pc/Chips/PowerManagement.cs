// The fixed hardware of ACPI (specification 2.0, 4.7): an event block in which nothing ever happens, a control register by which the Guest
// switches the machine off, and a timer that never stops. It is all that a kernel needs to power off without being told how.

namespace Lguest.Pc.Chips;

/// <summary>The PM1a blocks and the power management timer.</summary>
/// <param name="powerOff">Called when the Guest enters the sleeping state S5.</param>
/// <param name="time">The host's time.</param>
internal sealed class PowerManagement(Action powerOff, TimeProvider time) : IPortDevice
{
    /// <summary>PM1a status and enable registers, two bytes each.</summary>
    public const ushort EventPort = 0x600;

    /// <summary>PM1a control register, two bytes.</summary>
    public const ushort ControlPort = 0x604;

    /// <summary>The timer, four bytes.</summary>
    public const ushort TimerPort = 0x608;

    /// <summary>The type of sleep that S5 is, as the DSDT says.</summary>
    public const byte PowerOffType = 5;

    private const int PortCount = 12;
    private const long TimerFrequency = 3_579_545;
    private const uint AcpiEnabled = 1;
    private const uint SleepEnable = 1 << 13;
    private const uint WritableControl = 0x1C06;

    private readonly DeviceClock clock = new(time, TimerFrequency);
    private uint enable;
    private uint control = AcpiEnabled;

    /// <summary>Puts the blocks at their ports.</summary>
    public void Connect(PortBus bus) => bus.Register(EventPort, PortCount, this);

    public uint Read(ushort port, int size)
    {
        uint word = (port & ~3) switch
        {
            EventPort => enable << 16,
            ControlPort => control,
            _ => (uint)clock.Now,
        };
        return (word >> (8 * (port & 3))) & (uint.MaxValue >> (32 - (8 * size)));
    }

    public void Write(ushort port, int size, uint value)
    {
        switch (port)
        {
            case EventPort when size == 4:
                enable = value >> 16;
                break;
            case EventPort + 2:
                enable = value & 0xFFFF;
                break;
            case ControlPort:
                control = (value & WritableControl) | AcpiEnabled;
                if ((value & SleepEnable) != 0 && ((value >> 10) & 7) == PowerOffType)
                {
                    powerOff();
                }
                break;
        }
    }
}
