// Random bytes (Virtual I/O Device 1.2, 5.4).

using Lguest.Launcher.Devices.Virtio.Entropy;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

public sealed class EntropyDeviceTests : IDisposable
{
    private readonly VirtioDriver driver = new(new EntropyDevice());

    [Fact]
    public void TheFunctionIsAnEntropyDevice() => Assert.Equal((0x1044_1AF4u, 0xFF00_0001u), (driver.ReadPci(0, 4), driver.ReadPci(8, 4)));

    [Fact]
    public void ARequestIsFilledWithBytesThatDiffer()
    {
        driver.Start();
        Assert.Equal(80u, driver.Queues[0].Request(new DriverBuffer(Data, 64, true), new DriverBuffer(Data + 0x1000, 16, true)));
        Assert.True(driver.Bytes(Data, 64).Distinct().Count() > 20);
        Assert.True(driver.Bytes(Data + 0x1000, 16).Distinct().Count() > 6);
        Assert.Equal(0, driver.Memory.Read<int>(Data + 64));
        Assert.Equal(0, driver.Memory.Read<int>(Data + 0x1010));
    }

    [Fact]
    public void ALargeRequestGetsAPart()
    {
        driver.Start();
        Assert.Equal((uint)EntropyDevice.Most, driver.Queues[0].Request(new DriverBuffer(Data, 100, true), new DriverBuffer(Data + 0x1000, 0x1_8000, true)));
        Assert.Equal(0, driver.Memory.Read<int>(Data + 0x1000 + EntropyDevice.Most - 100));
    }

    [Fact]
    public void BytesToReadGetNothing()
    {
        driver.Start();
        Assert.Equal(0u, driver.Queues[0].Request(new DriverBuffer(Data, 64, false)));
        Assert.Equal(0, driver.Memory.Read<int>(Data));
    }

    public void Dispose() => driver.Dispose();
}
