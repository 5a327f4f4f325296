// The network of two, whatever is behind it (ABI 10.11): its page, what a hostile Guest may send, and where input goes.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Network;

namespace Lguest.Launcher.Tests.Network;

public sealed class NetworkDeviceTests : IDisposable
{
    private readonly LoopBackEnd loop = new();
    private readonly TestInterface guest;

    public NetworkDeviceTests() => guest = new TestInterface(new NetworkDevice(loop));

    public void Dispose() => guest.Dispose();

    [Fact]
    public void Abi_10_11_TheGuestIsInSlotOneAndTheLauncherWantsEverythingInSlotZero()
    {
        Assert.Equal((DeviceType.Network, (ushort)0x8001, 1u, (uint?)TestInterface.Page),
            (guest.Device.Type, guest.Device.Features, guest.Device.PageCount, guest.Device.OutputKey));
        byte[] entry = new byte[6];
        guest.Memory.Read(TestInterface.Page, entry);
        Assert.Equal([0x53, 1, 2, 3, 4, 5], entry);
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, false)]
    [InlineData(13, false)]
    [InlineData(14, true)]
    [InlineData(60, true)]
    [InlineData(1514, true)]
    [InlineData(1515, false)]
    [InlineData(65536, false)]
    [InlineData(1_000_000, false)]
    public void Abi_10_11_FramesOfEthernetLengthAreSent_OthersAreDropped(int length, bool good)
    {
        byte[] frame = new byte[length];
        new Random(length).NextBytes(frame);
        Assert.Equal(good ? (uint)length : 0, guest.Send(frame));
        if (good)
        {
            Assert.Equal(frame, Assert.Single(loop.Sent));
        }
        else
        {
            Assert.Empty(loop.Sent);
        }
    }

    [Fact]
    public void AFrameThatTheOutsideDoesNotTake_HasLengthZero()
    {
        loop.IsFull = true;
        Assert.Equal(0u, guest.Send(new byte[100]));
    }

    [Fact]
    public void Abi_10_11_InputComesWholeAndInOrder()
    {
        for (int length = 14; length <= 1514; length += 100)
        {
            loop.Input.TryAdd([.. Enumerable.Repeat((byte)length, length)]);
        }
        guest.Device.DeliverInput(guest);
        Assert.Equal(Enumerable.Range(0, 16).Select(static i => 14 + (100 * i)), guest.Received.Select(static frame => frame.Length));
        Assert.All(guest.Received, static frame => Assert.All(frame, value => Assert.Equal((byte)frame.Length, value)));
        Assert.Equal(0, guest.Device.WaitingInput);
    }

    [Fact]
    public void InputWaitsForBuffers()
    {
        guest.FreeBuffers = 2;
        for (int i = 0; i < 5; i++)
        {
            loop.Input.TryAdd(new byte[20 + i]);
        }
        guest.Device.DeliverInput(guest);
        Assert.Equal((2, 3), (guest.Received.Count, guest.Device.WaitingInput));
        guest.FreeBuffers = 8;
        guest.Device.DeliverInput(guest);
        Assert.Equal([20, 21, 22, 23, 24], guest.Received.Select(static frame => frame.Length));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(99)]
    public void ABufferThatIsTooShortGetsWhatFits(ushort size)
    {
        guest.BufferSize = size;
        loop.Input.TryAdd(new byte[100]);
        loop.Input.TryAdd(new byte[100]);
        guest.Device.DeliverInput(guest);
        Assert.Equal([size, size], guest.Received.Select(static frame => frame.Length));
        Assert.Equal(0, guest.Device.WaitingInput);
    }

    [Fact]
    public void Abi_10_11_AClosedInterfaceGetsNothingAndNothingWaitsForIt()
    {
        guest.Memory.Write(TestInterface.Page + 6, new byte[6]);
        loop.Input.TryAdd(new byte[100]);
        guest.Device.DeliverInput(guest);
        Assert.Empty(guest.Received);
        Assert.Equal(0, guest.Device.WaitingInput);
    }

    [Fact]
    public void Abi_11_ANetworkThatFailsEndsTheGuest()
    {
        loop.FailsWith = "the cable is gone";
        guest.Start();
        guest.WaitForWake();
        guest.Device.DeliverInput(guest);
        Assert.Equal("the cable is gone", guest.Failure);
    }

    [Fact]
    public void AQueueKeepsTheOrderOfAMillionFramesBetweenTwoThreads()
    {
        var queue = new FrameQueue();
        const int Frames = 1_000_000;
        var sender = new Thread(() =>
        {
            Span<byte> frame = stackalloc byte[18];
            for (int i = 0; i < Frames;)
            {
                BitConverter.TryWriteBytes(frame[14..], i);
                if (queue.TryAdd(frame))
                {
                    i++;
                }
                else
                {
                    Thread.Yield();
                }
            }
        });
        sender.Start();
        SpinWait.SpinUntil(() => queue.Count == FrameQueue.Capacity);
        for (int i = 0; i < Frames;)
        {
            Assert.InRange(queue.Count, 0, FrameQueue.Capacity);
            if (queue.TryPeek(out Span<byte> frame))
            {
                Assert.Equal(i, BitConverter.ToInt32(frame[14..]));
                queue.Remove();
                i++;
            }
            else
            {
                Thread.Yield();
            }
        }
        sender.Join();
        Assert.Equal(0, queue.Count);
    }
}
