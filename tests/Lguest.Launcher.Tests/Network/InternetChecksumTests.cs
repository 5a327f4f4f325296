// Checksums that the Guest left out, against packets whose checksums another hand has computed.

using System.Net;
using Lguest.Launcher.Devices.Network;

namespace Lguest.Launcher.Tests.Network;

public class InternetChecksumTests
{
    private static readonly IPAddress Other = IPAddress.Parse("203.0.113.250");

    [Fact]
    public void TheChecksumOfEverySegmentIsRight()
    {
        var random = new Random(1071);
        for (int length = 0; length <= 1460; length++)
        {
            byte[] data = new byte[length];
            random.NextBytes(data);
            byte[] right = Packet.Tcp(1024 + length, Other, 80, (uint)random.Next(), (uint)random.Next(), Packet.Ack, data);
            byte[] frame = [.. right];
            frame[50] ^= (byte)random.Next(256);
            frame[51] ^= (byte)random.Next(256);
            InternetChecksum.Complete(frame);
            Assert.Equal(right, frame);
        }
    }

    [Fact]
    public void ADatagramHasAChecksumThatIsNotZero()
    {
        // Data that makes the sum zero: first the checksum without it, then with it as data.
        byte[] frame = Packet.Udp(Packet.GuestAddress, 1, Other, 2, [0, 0]);
        InternetChecksum.Complete(frame);
        byte[] data = [frame[40], frame[41]];
        Assert.NotEqual([0, 0], data);
        frame = Packet.Udp(Packet.GuestAddress, 1, Other, 2, data);
        InternetChecksum.Complete(frame);
        Assert.Equal([0xFF, 0xFF], frame[40..42]);
    }

    [Fact]
    public void WhatIsNoSoundPacketOfTcpOrUdpStaysAsItIs()
    {
        byte[] segment = Packet.Tcp(1, Other, 2, 3, 4, Packet.Ack, new byte[100], window: 1);
        Unchanged(Packet.ArpRequest(Other));
        Unchanged(segment, at: 12, value: 0x86);
        Unchanged(segment, at: 14, value: 0x44);
        Unchanged(segment, at: 16, value: 1);
        Unchanged(segment, at: 20, value: 0x20);
        Unchanged(segment, at: 21, value: 1);
        Unchanged(segment, at: 23, value: 1);
        for (int length = 0; length < segment.Length; length++)
        {
            Unchanged(segment[..length]);
        }

        static void Unchanged(byte[] frame, int? at = null, byte value = 0)
        {
            frame = [.. frame];
            if (at is int index)
            {
                frame[index] = value;
            }
            if (frame.Length > 50)
            {
                frame[50] ^= 0x55;
            }
            byte[] before = [.. frame];
            InternetChecksum.Complete(frame);
            Assert.Equal(before, frame);
        }
    }
}
