// The outside of a network of one Guest. A thread of its own waits for packets from there and keeps them in a queue until the Guest has
// buffers; while the queue is long it stops reading, so that senders wait instead of losing packets.

namespace Lguest.Launcher.Devices.Network;

/// <summary>Moves frames between a <see cref="NetworkDevice"/> and the outside.</summary>
internal abstract class NetworkBackEnd(string threadName) : IDisposable
{
    /// <summary>Frames in the queue from which on the outside has to wait. Answers that do not wait still have room.</summary>
    private const int Enough = FrameQueue.Capacity / 4;

    private readonly string threadName = threadName;
    private Thread? thread;
    private volatile bool stopping;
    private volatile bool isWaitingForRoom;

    /// <summary>Frames for the Guest.</summary>
    public FrameQueue Input { get; } = new();

    /// <summary>Why the outside has gone, or null.</summary>
    public string? Failure { get; private set; }

    /// <summary>The hardware address of the outside.</summary>
    public abstract ReadOnlySpan<byte> HardwareAddress { get; }

    /// <summary>Whether frames may come without the checksums of TCP and UDP.</summary>
    public virtual bool CompletesChecksums => false;

    /// <summary>Sends a frame of a proper length; on the Guest's thread.</summary>
    /// <returns>False when it is lost.</returns>
    public abstract bool TrySend(in GuestSections frame);

    /// <summary>Begins to receive.</summary>
    /// <param name="wake">To be called whenever frames have arrived.</param>
    public void Start(Action wake)
    {
        thread = new Thread(() => Receive(wake)) { IsBackground = true, Name = threadName };
        thread.Start();
    }

    /// <summary>Says that frames have been taken out of <see cref="Input"/>; on the Guest's thread.</summary>
    public void InputTaken()
    {
        Interlocked.MemoryBarrier();
        if (isWaitingForRoom && Input.Count < Enough)
        {
            isWaitingForRoom = false;
            Wake();
        }
    }

    /// <summary>Ends receiving.</summary>
    public void Stop()
    {
        stopping = true;
        if (thread != null)
        {
            Wake();
            thread.Join();
        }
    }

    /// <inheritdoc/>
    public abstract void Dispose();

    /// <summary>Waits for the outside or <see cref="Wake"/>, and moves what there is; on the thread.</summary>
    /// <param name="read">Whether to read from the outside.</param>
    /// <exception cref="IOException">The outside is gone.</exception>
    protected abstract void Wait(bool read);

    /// <summary>Ends the present wait, or the next one at once; from any thread.</summary>
    protected abstract void Wake();

    // L:217 Somebody has to wait for packets, as for the keyboard. This thread does, for either kind of network. When many packets wait
    // for the Guest, it stops reading: then the packets pile up in the host's buffers, and who sends them notices that he is too fast. To
    // read and throw away would be the worse answer.
    private void Receive(Action wake)
    {
        try
        {
            while (!stopping)
            {
                isWaitingForRoom = Input.Count >= Enough;
                Interlocked.MemoryBarrier();
                int before = Input.Count;
                Wait(read: before < Enough);
                if (Input.Count > 0)
                {
                    wake();
                }
            }
        }
        catch (IOException error)
        {
            Failure = error.Message;
            wake();
        }
    }
    // :*
}
