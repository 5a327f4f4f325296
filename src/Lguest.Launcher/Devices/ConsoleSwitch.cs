// One terminal, and a Guest with several devices for it: a PC has a serial port and a virtio console. Whatever they print goes to the same
// stream, in order. What the user types goes to one of them, the one that the Guest has spoken by last, for there the user has seen
// a prompt; so it waits in one queue until its place is known.

namespace Lguest.Launcher.Devices;

/// <summary>Connects a machine's terminal with the devices that the Guest has for it.</summary>
/// <remarks>All members belong to the Guest's thread, unless they say otherwise.</remarks>
/// <param name="input">What the user types.</param>
/// <param name="output">Where the Guest's bytes go; null discards them.</param>
internal sealed class ConsoleSwitch(ConsoleInput input, Stream? output)
{
    private const int BufferSize = 4096;

    private readonly byte[] buffer = new byte[BufferSize];
    private int count;
    private ConsolePort? first;

    // Read by the reader's task as well: it looks here behind its adding to the queue, and whoever changes this looks into the queue afterwards.
    private volatile ConsolePort? chosen;

    /// <summary>Gives a device its end. The first one has the input at first.</summary>
    public ConsolePort AddPort()
    {
        var port = new ConsolePort(this);
        first ??= port;
        chosen ??= port;
        return port;
    }

    /// <summary>Begins to read what is typed.</summary>
    public void Start() => input.Start(() => chosen?.InputArrived());

    /// <summary>Ends that; afterwards no device is called any more.</summary>
    public void Stop() => input.Stop();

    /// <summary>Lets everything that was written be seen.</summary>
    public void Flush()
    {
        if (count == 0)
        {
            return;
        }
        int length = count;
        count = 0;
        output?.Write(buffer.AsSpan(0, length));
        output?.Flush();
    }

    /// <summary>Collects what is written until a line or the buffer ends; the rest waits for <see cref="Flush"/>.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int part = Math.Min(bytes.Length, BufferSize - count);
            bytes[..part].CopyTo(buffer.AsSpan(count));
            count += part;
            if (count == BufferSize || bytes[part - 1] == (byte)'\n')
            {
                Flush();
            }
            bytes = bytes[part..];
        }
    }

    /// <summary>Whether there is input for a device.</summary>
    internal bool HasInput(ConsolePort port) => chosen == port && input.Queue.Count > 0;

    /// <summary>Takes as many bytes as there are for a device and fit. May be called by any thread.</summary>
    internal int Take(ConsolePort port, Span<byte> destination) => chosen == port ? input.Queue.Take(destination) : 0;

    /// <summary>Lets a device have the input from now on.</summary>
    internal void Choose(ConsolePort port)
    {
        if (chosen == port)
        {
            return;
        }
        chosen = port;
        if (input.Queue.Count > 0)
        {
            port.InputArrived();
        }
    }

    /// <summary>Gives the input back to the first device, if this one has it.</summary>
    internal void GiveUp(ConsolePort port)
    {
        if (chosen == port)
        {
            Choose(first!);
        }
    }
}
