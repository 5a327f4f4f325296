namespace Lguest.Pc.Tests;

public sealed class PortBusTests
{
    private readonly PortBus bus = new();

    [Fact]
    public void APortThatNobodyHasReadsOnesOfItsSize()
    {
        Assert.Equal(0xFFu, bus.Read(0x1234, 1));
        Assert.Equal(0xFFFFu, bus.Read(0x1234, 2));
        Assert.Equal(0xFFFF_FFFFu, bus.Read(0x1234, 4));
        bus.Write(0xFFFF, 4, 1);
    }

    [Fact]
    public void ABytewiseChipMeetsWideAccessesAsBytes()
    {
        var chip = new Bytes();
        bus.Register(0x10, 4, chip);
        bus.Write(0x10, 4, 0x4433_2211);
        Assert.Equal([(0x10, 0x11), (0x11, 0x22), (0x12, 0x33), (0x13, 0x44)], chip.Written);
        Assert.Equal(0x1312u, bus.Read(0x12, 2));
    }

    [Fact]
    public void AWideAccessReachesIntoTheNextChipAndIntoNothing()
    {
        bus.Register(0x10, 1, new Bytes());
        bus.Register(0x11, 1, new Bytes());
        Assert.Equal(0xFFFF_1110u, bus.Read(0x10, 4));
    }

    [Fact]
    public void APortHasOneOwner()
    {
        bus.Register(0x10, 4, new Bytes());
        var error = Assert.Throws<InvalidOperationException>(() => bus.Register(0x0E, 4, new Bytes()));
        Assert.Contains("0x10", error.Message);
        bus.Unregister(0x10, 4);
        bus.Register(0x0E, 4, new Bytes());
    }

    private sealed class Bytes : IBytePortDevice
    {
        public List<(int Port, int Value)> Written { get; } = [];

        public byte Read(ushort port) => (byte)port;

        public void Write(ushort port, byte value) => Written.Add((port, value));
    }
}
