// The Launcher of a hostile Guest: it reads every list that it is sent, gives console, disk and network what is meant for them, and asks for
// buffers when it pleases. It is built of the real Launcher's parts, which have to stand as much as the Host.

using Lguest.Host;
using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Block;
using Lguest.Launcher.Devices.Network;
using Lguest.Platform;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Hostile;

/// <summary>Serves a hostile Guest.</summary>
internal sealed class HostileLauncher : IDisposable
{
    /// <summary>Sectors of the disk.</summary>
    public const int DiskSectors = 64;

    private readonly LguestDevice device;
    private readonly Device[] devices;
    private readonly GuestPort port;

    /// <summary>Attaches a console, a disk and a network.</summary>
    /// <param name="memory">The Guest's memory.</param>
    /// <param name="device">The Guest's device.</param>
    public HostileLauncher(MachineMemory memory, LguestDevice device)
    {
        this.device = device;
        devices =
        [
            new BlockDevice(new GuestDisk(new FragileDisk(), "disk", NullLogger.Instance), NullLogger.Instance),
            new NetworkDevice(new EchoingBackEnd()),
            new ConsoleDevice(null, Stream.Null, TimeProvider.System, NullLogger.Instance),
        ];
        devices[0].Attach(memory, new DevicePlace(HostileLayout.DiskPage + 2048, HostileLayout.DiskPage));
        devices[1].Attach(memory, new DevicePlace(HostileLayout.NetworkPage + 4000, HostileLayout.NetworkPage));
        port = new GuestPort(device, memory, devices);
    }

    /// <summary>What the Launcher found wrong with the Guest; null while nothing is.</summary>
    public string? Death => port.Death;

    /// <summary>Runs the Guest until somebody is wanted.</summary>
    public void Run(CancellationToken patience)
    {
        ReadResult read = device.Read(patience);
        if (read.Error is not (LguestError.None or LguestError.NoEntry or LguestError.Interrupted))
        {
            throw new HostileFailure($"Running the Guest failed: {read.Error}.");
        }
        if (read.HasDma)
        {
            port.TryHandleOutput(read.DmaAddress, read.DmaKey);
        }
    }

    /// <summary>Serves what the Guest has sent without being run.</summary>
    public void Serve()
    {
        Io io = device.Guest!.Io;
        if (io.HasPendingDma)
        {
            io.ClearPendingDma();
            port.TryHandleOutput(io.PendingDma, io.PendingKey);
        }
    }

    /// <summary>What a Launcher may do at any time: send an interrupt, ask for a buffer and fill it, break.</summary>
    public void Act(HostileValues values)
    {
        switch (values.Random.Next(3))
        {
            case 0:
                device.Irq(values.Number(32));
                break;
            case 1:
                device.Break(on: true, new CancellationToken(canceled: true));
                device.Break(on: false);
                break;
            default:
                // A Launcher asks for keys of its own devices only; those are aligned and have a page.
                uint key = values.Key() & ~3u;
                if (port.TryGetBuffer(key % HostileLayout.Top, out DmaBuffer buffer, out uint irq))
                {
                    buffer.CopyFrom(new byte[Math.Min(buffer.Length, 2000)]);
                    foreach (Span<byte> piece in buffer.Pieces)
                    {
                        piece[^1] = 0x5A;
                    }
                    buffer.Pieces.Overwritten(buffer.Length);
                    port.Complete(buffer, (uint)buffer.Length, irq);
                }
                break;
        }
    }

    public void Dispose() => Array.ForEach(devices, static device => device.Dispose());

    /// <summary>A network on which everything comes back.</summary>
    private sealed class EchoingBackEnd() : NetworkBackEnd("hostile network")
    {
        private static readonly byte[] Address = [2, 0, 0, 0, 0, 1];

        public override ReadOnlySpan<byte> HardwareAddress => Address;

        public override bool TrySend(in GuestSections frame)
        {
            if (!Input.TryReserve(out Span<byte> place))
            {
                return false;
            }
            Input.Publish(frame.CopyTo(place));
            return true;
        }

        public override void Dispose()
        {
        }

        protected override void Wait(bool read)
        {
        }

        protected override void Wake()
        {
        }
    }

    /// <summary>A disk that breaks when it is asked for what it has not.</summary>
    private sealed class FragileDisk : IDisk
    {
        private readonly byte[] bytes = new byte[DiskSectors * GuestDisk.SectorSize];

        public long Length => bytes.Length;

        public bool IsReadOnly => false;

        public int Read(Span<byte> target, long offset)
        {
            int count = (int)Math.Min(target.Length, Length - offset);
            bytes.AsSpan((int)offset, count).CopyTo(target);
            return count;
        }

        public void Write(ReadOnlySpan<byte> source, long offset) => source.CopyTo(bytes.AsSpan((int)offset, source.Length));

        public void Flush()
        {
        }

        public void Dispose()
        {
        }
    }
}
