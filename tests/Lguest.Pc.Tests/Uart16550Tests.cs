// The serial port against its data sheet (National PC16550D), and against what drivers try in order to find out what it is.

using System.Text;
using Lguest.Pc.Chips;

namespace Lguest.Pc.Tests;

public sealed class Uart16550Tests
{
    private const ushort Base = 0x3F8;
    private const int Data = 0, Enable = 1, Identify = 2, Fifo = 2, LineControl = 3, ModemControl = 4, LineStatus = 5, ModemStatus = 6, Scratch = 7;
    private const byte NothingPending = 0x01;

    private readonly Peer peer = new();
    private readonly RecordingLine line = new();
    private readonly Uart16550 uart;

    public Uart16550Tests()
    {
        uart = new Uart16550(Base, line, peer);
        this[ModemControl] = 0x0A;
    }

    [Fact]
    public void WhatIsWrittenIsSentAtOnce()
    {
        foreach (byte value in "Hi"u8)
        {
            Assert.Equal(0x60, this[LineStatus]);
            this[Data] = value;
        }
        Assert.Equal("Hi", peer.Text);
        Assert.False(line.Level);
    }

    [Fact]
    public void TheOtherEndIsToldWhetherTheDriverWaitsForInterrupts()
    {
        this[Data] = (byte)'a';
        Assert.True(peer.IsPolled);
        this[Enable] = 0x02;
        this[Data] = (byte)'b';
        Assert.False(peer.IsPolled);
        this[Enable] = 0x0D;
        this[Data] = (byte)'c';
        Assert.True(peer.IsPolled);
    }

    [Fact]
    public void TheTransmitterAsksWhenItIsEnabledAndAfterEachByte()
    {
        this[Enable] = 2;
        Assert.True(line.Level);
        Assert.Equal(2, this[Identify]);
        Assert.False(line.Level);
        Assert.Equal(NothingPending, this[Identify]);
        this[Data] = 1;
        Assert.Equal(2, line.Rises);
        // An edge-triggered controller must see an edge for each byte.
        this[Data] = 2;
        Assert.Equal(3, line.Rises);
        // Drivers test for chips that do not ask again when it is enabled again.
        Assert.Equal(2, this[Identify]);
        this[Enable] = 0;
        this[Enable] = 2;
        Assert.Equal(2, this[Identify]);
    }

    [Fact]
    public void AReceivedByteInterrupts()
    {
        this[Enable] = 1;
        Type("x");
        Assert.True(line.Level);
        Assert.Equal(4, this[Identify]);
        Assert.Equal(0x61, this[LineStatus]);
        Assert.Equal((byte)'x', this[Data]);
        Assert.False(line.Level);
        Assert.Equal(0x60, this[LineStatus]);
    }

    [Fact]
    public void TheOtherEndWaitsUntilItIsAskedToSend()
    {
        this[ModemControl] = 0x08;
        Type("early");
        // What a driver does before it opens a port: it empties the queue, reads what is left, and loops the wires back.
        this[Fifo] = 0x07;
        Assert.Equal(0x60, this[LineStatus]);
        Assert.Equal(0, this[Data]);
        this[ModemControl] = 0x1A;
        Assert.Equal(0x60, this[LineStatus]);
        this[ModemControl] = 0x0A;
        foreach (char expected in "early")
        {
            Assert.Equal(expected, (char)this[Data]);
        }
    }

    [Fact]
    public void NothingIsLostHoweverMuchIsTyped()
    {
        this[Fifo] = 0xC7;
        this[Enable] = 1;
        string typed = string.Concat(Enumerable.Range(0, 500).Select(static i => (char)('a' + (i % 26))));
        Type(typed);
        var read = new StringBuilder();
        while ((this[LineStatus] & 1) != 0)
        {
            Assert.True(line.Level);
            read.Append((char)this[Data]);
        }
        Assert.Equal(typed, read.ToString());
        Assert.False(line.Level);
    }

    [Fact]
    public void TheFifoInterruptsAtItsTriggerOrAfterATime()
    {
        this[Fifo] = 0x81;
        this[Enable] = 1;
        Type("1234567");
        Assert.Equal(0xCC, this[Identify]);
        Type("8");
        Assert.Equal(0xC4, this[Identify]);
        this[Fifo] = 0x83;
        Assert.Equal(0xC1, this[Identify]);
        Assert.Equal(0x60, this[LineStatus]);
    }

    [Fact]
    public void ReceivedDataComesBeforeTheTransmitter()
    {
        this[Enable] = 3;
        Type("a");
        Assert.Equal(4, this[Identify]);
        _ = this[Data];
        Assert.Equal(2, this[Identify]);
        Assert.Equal(NothingPending, this[Identify]);
    }

    [Fact]
    public void WithoutOut2NoInterruptLeavesTheCard()
    {
        this[ModemControl] = 0;
        this[Enable] = 2;
        Assert.False(line.Level);
        this[ModemControl] = 8;
        Assert.True(line.Level);
    }

    [Fact]
    public void TheDivisorHidesBehindItsBit()
    {
        this[LineControl] = 0x83;
        Assert.Equal((12, 0), (this[Data], this[Enable]));
        (this[Data], this[Enable]) = (1, 2);
        Assert.Equal((1, 2), (this[Data], this[Enable]));
        this[LineControl] = 0x03;
        Assert.Equal(0, this[Enable]);
        Assert.Equal("", peer.Text);
    }

    [Fact]
    public void ProbingFindsA16550A()
    {
        this[Scratch] = 0xA5;
        Assert.Equal(0xA5, this[Scratch]);
        // The upper bits of the enable register do not exist.
        this[Enable] = 0xFF;
        Assert.Equal(0x0F, this[Enable]);
        this[Enable] = 0;
        Assert.Equal(0, this[Identify] & 0xC0);
        // A 16750 would set bit 5.
        this[Fifo] = 0xE7;
        Assert.Equal(0xC1, this[Identify]);
    }

    [Fact]
    public void TheLoopLeadsBackToItself()
    {
        Assert.Equal(0xB0, this[ModemStatus]);
        this[ModemControl] = 0x1A;
        Assert.Equal(0x90, this[ModemStatus] & 0xF0);
        this[Data] = 0x5A;
        Assert.Equal("", peer.Text);
        Type("z");
        Assert.Equal(0x5A, this[Data]);
        Assert.Equal(0, this[LineStatus] & 1);
        this[ModemControl] = 0x0A;
        Assert.Equal((byte)'z', this[Data]);
    }

    [Fact]
    public void ChangesOfTheModemsLinesInterruptUntilTheyAreRead()
    {
        _ = this[ModemStatus];
        this[Enable] = 8;
        this[ModemControl] = 0x18;
        this[ModemControl] = 0x08;
        Assert.True(line.Level);
        Assert.Equal(0, this[Identify]);
        Assert.NotEqual(0, this[ModemStatus] & 0x0F);
        Assert.False(line.Level);
        Assert.Equal(0, this[ModemStatus] & 0x0F);
    }

    private byte this[int register]
    {
        get => uart.Read((ushort)(Base + register));
        set => uart.Write((ushort)(Base + register), value);
    }

    private void Type(string text)
    {
        foreach (char key in text)
        {
            peer.Typed.Enqueue((byte)key);
        }
        uart.InputArrived();
    }

    private sealed class Peer : ISerialPeer
    {
        private readonly StringBuilder sent = new();

        public Queue<byte> Typed { get; } = new();

        public string Text => sent.ToString();

        /// <summary>Whether the last byte was sent without the interrupt.</summary>
        public bool IsPolled { get; private set; }

        public void Send(byte value, bool isPolled)
        {
            sent.Append((char)value);
            IsPolled = isPolled;
        }

        public bool TryReceive(out byte value) => Typed.TryDequeue(out value);
    }
}
