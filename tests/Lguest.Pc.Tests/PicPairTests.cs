// The pair of 8259A against its data sheet (Intel 231468), and the wires that only a PC has.

using Lguest.Pc.Chips;

namespace Lguest.Pc.Tests;

public sealed class PicPairTests
{
    private const ushort Master = 0x20, Slave = 0xA0, Levels = 0x4D0;
    private const byte EndOfInterrupt = 0x20;

    private readonly PicPair pic;
    private int signals;

    public PicPairTests()
    {
        pic = new PicPair(() => signals++);
        Initialize(0x20, 0x28);
    }

    [Fact]
    public void AnEdgeIsDeliveredOnceWithItsVector()
    {
        Pulse(3);
        Assert.True(signals > 0);
        Assert.Equal(0x23, Acknowledge());
        Assert.Null(Acknowledge());
        pic.Write(Master, EndOfInterrupt);
        Assert.Null(Acknowledge());
        // Still high: an edge-triggered input wants another edge.
        pic.Line(3).Set(true);
        Assert.Equal(0x23, Acknowledge());
        pic.Write(Master, EndOfInterrupt);
        pic.Line(3).Set(true);
        Assert.Null(Acknowledge());
    }

    [Fact]
    public void ALowerPriorityWaitsForTheEndOfAHigherOne()
    {
        Pulse(5);
        Assert.Equal(0x25, Acknowledge());
        Pulse(6);
        Assert.Null(Acknowledge());
        Pulse(1);
        Assert.Equal(0x21, Acknowledge());
        pic.Write(Master, EndOfInterrupt);
        Assert.Null(Acknowledge());
        pic.Write(Master, EndOfInterrupt);
        Assert.Equal(0x26, Acknowledge());
    }

    [Fact]
    public void TheSlaveSpeaksThroughInputTwo()
    {
        Pulse(12);
        Assert.Equal(0x2C, Acknowledge());
        Assert.Equal(1 << 2, InService(Master));
        Assert.Equal(1 << 4, InService(Slave));
        // IRQ 8 outranks IRQ 12, but the master is not specially nested: it waits for the master's end of interrupt.
        Pulse(8);
        Assert.Null(Acknowledge());
        pic.Write(Master, EndOfInterrupt);
        Assert.Equal(0x28, Acknowledge());
        // Everything of the slave outranks IRQ 3.
        Pulse(3);
        Assert.Null(Acknowledge());
    }

    [Fact]
    public void TheMaskHoldsBackAndKeeps()
    {
        pic.Write(Master + 1, 1 << 4);
        Pulse(4);
        Assert.Null(Acknowledge());
        Assert.Equal(1 << 4, pic.Read(Master));
        Assert.Equal(1 << 4, pic.Read(Master + 1));
        signals = 0;
        pic.Write(Master + 1, 0);
        Assert.Equal(1, signals);
        Assert.Equal(0x24, Acknowledge());
    }

    [Fact]
    public void ALevelIsDeliveredAsLongAsItLasts()
    {
        pic.Write(Levels + 1, 0xFF);
        Assert.Equal(0xDE, pic.Read(Levels + 1));
        pic.Write(Levels, 0xFF);
        Assert.Equal(0xF8, pic.Read(Levels));
        pic.Line(11).Set(true);
        Assert.Equal(0x2B, Acknowledge());
        EndBoth();
        Assert.Equal(0x2B, Acknowledge());
        pic.Line(11).Set(false);
        EndBoth();
        Assert.Null(Acknowledge());
    }

    [Fact]
    public void ARequestThatVanishesIsSpurious()
    {
        pic.Write(Levels + 1, 1 << 2);
        pic.Line(10).Set(true);
        // Masked at the slave after the master has latched the edge of input 2.
        pic.Write(Slave + 1, 1 << 2);
        Assert.Equal(0x2F, Acknowledge());
        Assert.Equal(0, InService(Slave));
        Assert.Equal(1 << 2, InService(Master));
    }

    [Fact]
    public void ASpecificEndEndsThatOne()
    {
        Pulse(6);
        Acknowledge();
        Pulse(2 - 1);
        Acknowledge();
        pic.Write(Master, 0x60 | 6);
        Assert.Equal(1 << 1, InService(Master));
    }

    [Fact]
    public void RotationMakesTheServedOneTheLast()
    {
        Pulse(0);
        Acknowledge();
        pic.Write(Master, 0xA0);
        Pulse(0);
        Pulse(7);
        Assert.Equal(0x27, Acknowledge());
        // And set by hand: with 5 the lowest, 6 is the highest.
        pic.Write(Master, EndOfInterrupt);
        pic.Write(Master, 0xC0 | 5);
        Pulse(5);
        Pulse(6);
        Assert.Equal(0x26, Acknowledge());
    }

    [Fact]
    public void WithAutomaticEndsNothingStaysInService()
    {
        Initialize(0x40, 0x48, 0x03);
        Pulse(3);
        Assert.Equal(0x43, Acknowledge());
        Assert.Equal(0, InService(Master));
        Pulse(5);
        Assert.Equal(0x45, Acknowledge());
    }

    [Fact]
    public void SpecialMaskModeLetsLowerOnesThrough()
    {
        Pulse(3);
        Acknowledge();
        pic.Write(Master + 1, 1 << 3);
        pic.Write(Master, 0x68);
        Pulse(6);
        Assert.Equal(0x26, Acknowledge());
        pic.Write(Master, 0x48);
        Pulse(7);
        Assert.Null(Acknowledge());
    }

    [Fact]
    public void APollAcknowledges()
    {
        Pulse(4);
        pic.Write(Master, 0x0C);
        Assert.Equal(0x84, pic.Read(Master));
        Assert.Equal(1 << 4, InService(Master));
        pic.Write(Master, 0x0C);
        Assert.Equal(0, pic.Read(Master));
    }

    [Fact]
    public void InitializationForgets()
    {
        Pulse(1);
        Acknowledge();
        Pulse(2 + 1);
        pic.Write(Master + 1, 0xFF);
        Initialize(0x20, 0x28);
        Assert.Equal(0, pic.Read(Master + 1));
        Assert.Equal(0, InService(Master));
        Assert.Null(Acknowledge());
    }

    private void Initialize(byte master, byte slave, byte fourth = 0x01)
    {
        foreach ((ushort port, byte vector, byte cascade) in new[] { (Master, master, (byte)4), (Slave, slave, (byte)2) })
        {
            pic.Write(port, 0x11);
            pic.Write((ushort)(port + 1), vector);
            pic.Write((ushort)(port + 1), cascade);
            pic.Write((ushort)(port + 1), fourth);
        }
    }

    private void Pulse(int irq)
    {
        pic.Line(irq).Set(true);
        pic.Line(irq).Set(false);
    }

    private int? Acknowledge() => pic.TryAcknowledge(out byte vector) ? vector : null;

    private void EndBoth()
    {
        pic.Write(Slave, EndOfInterrupt);
        pic.Write(Master, EndOfInterrupt);
    }

    private int InService(ushort port)
    {
        pic.Write(port, 0x0B);
        int value = pic.Read(port);
        pic.Write(port, 0x0A);
        return value;
    }
}
