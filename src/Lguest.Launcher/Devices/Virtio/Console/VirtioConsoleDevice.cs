// The Guest's terminal as a virtio device (specification 5.3) with one port: a queue of buffers for what is typed, a queue of what the Guest
// says, and the size of the terminal, which a serial line cannot tell.

using System.Buffers.Binary;

namespace Lguest.Launcher.Devices.Virtio.Console;

/// <summary>A virtio console.</summary>
/// <param name="port">Its end of the machine's terminal.</param>
internal sealed class VirtioConsoleDevice(ConsolePort port) : VirtioDevice
{
    /// <summary>Bytes that are written in one go; then whoever wants the Guest's thread gets it.</summary>
    public const int MostAtOnce = 1 << 16;

    private const int ReceiveQueue = 0;
    private const int SendQueue = 1;

    private readonly byte[] configuration = new byte[VirtioConsoleConfiguration.Size];

    // Held by whoever tells a size, so that nobody is woken behind the end.
    private readonly Lock door = new();
    private Action? wake;

    // Columns, and rows in the upper half: as the configuration space will have them.
    private uint size;

    // The size that the present driver knows.
    private uint told;

    // Bytes of the next buffer to send that have been written already.
    private long sent;

    public override VirtioDeviceType Type => VirtioDeviceType.Console;

    public override uint ClassCode => 0x07_8000;

    public override ulong Features => VirtioConsoleFeatures.Size;

    public override int QueueCount => 2;

    public override ReadOnlySpan<byte> Configuration => configuration;

    /// <summary>Says how large the terminal is. May be called by any thread.</summary>
    /// <param name="columns">Characters of a line; 0 with <paramref name="rows"/> 0 if nobody knows.</param>
    /// <param name="rows">Lines.</param>
    public void Resize(ushort columns, ushort rows)
    {
        lock (door)
        {
            size = columns | ((uint)rows << 16);
            wake?.Invoke();
        }
    }

    public override void Serve(int queue)
    {
        if (queue == ReceiveQueue)
        {
            Receive();
        }
        else
        {
            Send();
        }
    }

    public override void DeliverInput()
    {
        ShowSize();
        Send();
        Receive();
    }

    public override void Reset()
    {
        (sent, told) = (0, 0);
        port.GiveUp();
    }

    public override void Start(Action wake)
    {
        port.InputArrived = wake;
        lock (door)
        {
            this.wake = wake;
            // The size may have been told before.
            wake();
        }
    }

    public override void Stop()
    {
        lock (door)
        {
            wake = null;
        }
    }

    /// <summary>Puts the size into the configuration space. A driver looks there when it is told of a change, and only then, so a new one is told, too.</summary>
    private void ShowSize()
    {
        uint shown = BinaryPrimitives.ReadUInt32LittleEndian(configuration);
        uint now;
        lock (door)
        {
            now = size;
        }
        BinaryPrimitives.WriteUInt32LittleEndian(configuration, now);
        bool isNews = Transport.Queues[ReceiveQueue].IsLive && now != told;
        if (now != shown || isNews)
        {
            Transport.ConfigurationChanged();
        }
        told = isNews ? now : told;
    }

    private void Receive()
    {
        Virtqueue queue = Transport.Queues[ReceiveQueue];
        for (int buffers = queue.CountAvailable(); buffers > 0 && port.HasInput && queue.TryTake(out DescriptorChain chain); buffers--)
        {
            queue.Complete(chain.Head, Fill(chain.Writable.Slice(0, Math.Min(chain.Writable.Length, ConsoleInputQueue.Capacity))));
        }
        // Who has nothing to give need not hear of room for it.
        queue.AskForNotification(port.HasInput);
        queue.Announce();
    }

    private uint Fill(in GuestSections buffer)
    {
        int done = 0;
        foreach (Span<byte> piece in buffer)
        {
            int taken = port.Take(piece);
            done += taken;
            if (taken < piece.Length)
            {
                break;
            }
        }
        buffer.Overwritten(done);
        return (uint)done;
    }

    /// <summary>Writes what the driver has to send. A driver can name terabytes: a part of that each time.</summary>
    private void Send()
    {
        Virtqueue queue = Transport.Queues[SendQueue];
        long left = MostAtOnce;
        for (int waiting = queue.CountAvailable(); waiting > 0 && queue.TryTake(out DescriptorChain chain); waiting--)
        {
            // What is continued may have been made shorter meanwhile.
            GuestSections text = chain.Readable;
            sent = Math.Min(sent, text.Length);
            long part = Math.Min(text.Length - sent, left);
            foreach (Span<byte> piece in text.Slice(sent, part))
            {
                // In this order: whoever has seen the answer may type at once.
                port.Choose();
                port.Write(piece);
            }
            sent += part;
            left -= part;
            if (sent < text.Length)
            {
                queue.PutBack();
                wake?.Invoke();
                break;
            }
            queue.Complete(chain.Head, 0);
            sent = 0;
        }
        queue.Announce();
    }
}
