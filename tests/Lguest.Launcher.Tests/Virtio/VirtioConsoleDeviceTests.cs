// A virtio console byte by byte (Virtual I/O Device 1.2, 5.3).

using System.Text;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio.Console;
using Microsoft.Extensions.Logging.Abstractions;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public sealed class VirtioConsoleDeviceTests : IDisposable
{
    private const int Receiving = 0, Sending = 1;
    private const ulong Size = 1;
    private const byte ConfigurationChange = 2;

    private readonly MemoryStream screen = new();
    private readonly ConsoleInput input = new(null, TimeProvider.System, NullLogger.Instance);
    private readonly ConsoleSwitch terminal;
    private readonly ConsolePort serial;
    private readonly VirtioConsoleDevice device;
    private readonly VirtioDriver driver;
    private int woken;

    public VirtioConsoleDeviceTests()
    {
        terminal = new ConsoleSwitch(input, screen);
        serial = terminal.AddPort();
        device = new VirtioConsoleDevice(terminal.AddPort());
        driver = new VirtioDriver(device);
        device.Start(() => woken++);
        woken = 0;
    }

    [Fact]
    public void V_5_3_TheFunctionIsAConsoleWithOnePort()
    {
        Assert.Equal((0x1043_1AF4u, 0x0780_0001u), (driver.ReadPci(0, 4), driver.ReadPci(8, 4)));
        Assert.Equal(Size, driver.OfferedFeatures() & 0xFF_FFFF);
        Assert.Equal(2, driver.Common<ushort>(0x12));
        Assert.Equal(0u, driver.Configuration<uint>(0));
    }

    [Fact]
    public void V_5_3_6_WhatIsSentIsShownInOrder()
    {
        driver.Start();
        driver.Memory.Write(Data, "Hello, world\n"u8.ToArray());
        Assert.Equal(0u, driver.Queues[Sending].Request(new(Data, 5, false), new(Data + 5, 2, false), new(Data + 7, 6, false)));
        Assert.Equal("Hello, world\n", Shown);
        // What is no whole line is seen when the Guest has nothing to do.
        Assert.Equal(0u, driver.Queues[Sending].Request(new DriverBuffer(Data, 5, false)));
        serial.Write("!"u8);
        terminal.Flush();
        Assert.Equal("Hello, world\nHello!", Shown);
    }

    [Fact]
    public void ABufferWithoutBytesIsGivenBack()
    {
        driver.Start();
        Assert.Equal(0u, driver.Queues[Sending].Request(new DriverBuffer(Data, 0, false)));
        Assert.Equal(0u, driver.Queues[Sending].Request(new DriverBuffer(Data, 8, true)));
        terminal.Flush();
        Assert.Equal("", Shown);
    }

    [Fact]
    public void V_5_3_6_InputFillsBuffersAndWaitsForMore()
    {
        driver.Start();
        Speak();
        ushort first = driver.Queues[Receiving].Add(new(Data, 3, true), new(Data + 0x1000, 2, true));
        ushort second = driver.Queues[Receiving].Add(new DriverBuffer(Data + 0x2000, 4, true));
        driver.Memory.Write(Data, [.. Enumerable.Repeat((byte)0xEE, 0x2010)]);
        driver.Notify(Receiving);
        Assert.Equal(0, driver.Queues[Receiving].UsedIndex);

        Type("abcdefghijkl");
        driver.TakeInterrupt();
        device.DeliverInput();
        Assert.Equal(((uint)first, 5u), driver.Queues[Receiving].Element(1));
        Assert.Equal(((uint)second, 4u), driver.Queues[Receiving].Element());
        Assert.Equal("abc\u00ee", Latin(Data, 4));
        Assert.Equal("de\u00ee", Latin(Data + 0x1000, 3));
        Assert.Equal("fghi\u00ee", Latin(Data + 0x2000, 5));
        Assert.True(driver.Level);
        Assert.Equal(3, input.Queue.Count);

        // A short answer is no reason to wait for the rest of the buffer.
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 100, true));
        Assert.True(driver.Queues[Receiving].Kick());
        Assert.Equal(3u, driver.Queues[Receiving].Element().Length);
        Assert.Equal("jklde", Latin(Data, 3) + Latin(Data + 0x1000, 2));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(EventIndex)]
    public void ADeviceWithoutInputDoesNotWantToHearOfBuffers(ulong features)
    {
        driver.Start(Version1 | features);
        Speak();
        device.DeliverInput();
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 2, true));
        Assert.False(driver.Queues[Receiving].Kick());
        Type("abc");
        device.DeliverInput();
        Assert.Equal(1, driver.Queues[Receiving].UsedIndex);
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 2, true));
        Assert.True(driver.Queues[Receiving].Kick());
        Assert.Equal((2, 0), (driver.Queues[Receiving].UsedIndex, input.Queue.Count));
    }

    [Fact]
    public void InputIsForTheDeviceOnceTheGuestHasSpokenByIt()
    {
        driver.Start();
        driver.Queues[Receiving].Add(new DriverBuffer(Data, 4, true));
        Type("abcdefgh");
        device.DeliverInput();
        Assert.Equal((0, 0), (driver.Queues[Receiving].UsedIndex, woken));
        byte[] typed = new byte[2];
        Assert.Equal(2, serial.Take(typed));
        Speak();
        Assert.Equal((1, 0), (woken, serial.Take(typed)));
        device.DeliverInput();
        Assert.Equal("cdef", Latin(Data, 4));

        // A driver that leaves gives the rest back.
        int told = 0;
        serial.InputArrived = () => told++;
        driver.Status = 0;
        Assert.Equal((1, 2), (told, serial.Take(typed)));
        Assert.Equal("gh"u8.ToArray(), typed);
    }

    [Fact]
    public void MoreThanABitIsWrittenInParts()
    {
        driver.Start();
        byte[] text = new byte[0x4_0000];
        new Random(1).NextBytes(text);
        driver.Memory.Write(Data, text);
        // The second one begins inside the second part.
        driver.Queues[Sending].Add(new(Data, 0x1_8000, false), new(Data + 0x1_8000, 0x8000, false));
        driver.Queues[Sending].Add(new DriverBuffer(Data + 0x2_0000, 0x2_0000, false));
        driver.Notify(Sending);
        int parts = 1;
        for (; driver.Queues[Sending].UsedIndex < 2; parts++)
        {
            Assert.InRange(screen.Length, (parts - 1) * VirtioConsoleDevice.MostAtOnce, parts * VirtioConsoleDevice.MostAtOnce);
            Assert.Equal(parts, woken);
            device.DeliverInput();
        }
        terminal.Flush();
        Assert.Equal((4, 3), (parts, woken));
        Assert.Equal(text, screen.ToArray());
    }

    [Fact]
    public void ABufferMayShrinkWhileItIsWritten()
    {
        driver.Start();
        DriverQueue queue = driver.Queues[Sending];
        ushort head = queue.Add(new DriverBuffer(Data, 3 * VirtioConsoleDevice.MostAtOnce / 2, false));
        driver.Notify(Sending);
        Assert.Equal(0, queue.UsedIndex);
        queue.Write(queue.Descriptors, head, Data, 10, 0, 0);
        device.DeliverInput();
        Assert.Equal((1, VirtioConsoleDevice.MostAtOnce), (queue.UsedIndex, (int)screen.Length));
        driver.Memory.Write(Data, "whole\n"u8.ToArray());
        queue.Add(new DriverBuffer(Data, 6, false));
        driver.Notify(Sending);
        Assert.EndsWith("whole\n", Shown, StringComparison.Ordinal);
    }

    [Fact]
    public void AResetForgetsWhatWasHalfWritten()
    {
        driver.Start();
        driver.Queues[Sending].Add(new DriverBuffer(Data, 2 * VirtioConsoleDevice.MostAtOnce, false));
        driver.Notify(Sending);
        driver.Start();
        device.DeliverInput();
        terminal.Flush();
        Assert.Equal(VirtioConsoleDevice.MostAtOnce, (int)screen.Length);
        driver.Memory.Write(Data, "whole\n"u8.ToArray());
        driver.Queues[Sending].Request(new DriverBuffer(Data, 6, false));
        Assert.EndsWith("\0whole\n", Shown, StringComparison.Ordinal);
    }

    [Fact]
    public void V_5_3_4_TheSizeIsToldToEachDriverAndWhenItChanges()
    {
        device.Resize(80, 25);
        Assert.Equal(1, woken);
        device.DeliverInput();
        Assert.Equal((80, 25, false), (driver.Configuration<ushort>(0), driver.Configuration<ushort>(2), driver.Level));
        driver.Start(Version1 | Size);
        Assert.Equal(ConfigurationChange, driver.TakeInterrupt());
        device.DeliverInput();
        Assert.False(driver.Level);

        byte generation = driver.Common<byte>(0x15);
        device.Resize(132, 40);
        device.DeliverInput();
        Assert.Equal((132, 40), (driver.Configuration<ushort>(0), driver.Configuration<ushort>(2)));
        Assert.Equal(ConfigurationChange, driver.TakeInterrupt());
        Assert.NotEqual(generation, driver.Common<byte>(0x15));

        driver.Start(Version1 | Size);
        Assert.Equal((132, ConfigurationChange), (driver.Configuration<ushort>(0), driver.TakeInterrupt()));
    }

    [Fact]
    public void WhoeverStopsItIsNotWokenAnyMore()
    {
        device.Stop();
        device.Resize(80, 25);
        Assert.Equal(0, woken);
        device.Start(() => woken++);
        Assert.Equal(1, woken);
    }

    public void Dispose() => driver.Dispose();

    private string Shown => Encoding.Latin1.GetString(screen.ToArray());

    private string Latin(uint address, int length) => Encoding.Latin1.GetString(driver.Bytes(address, length));

    private void Type(string text) => Assert.True(input.Queue.AddAsync(Encoding.Latin1.GetBytes(text)).IsCompleted);

    private void Speak() => driver.Queues[Sending].Request(new DriverBuffer(Data + 0x3000, 1, false));
}
