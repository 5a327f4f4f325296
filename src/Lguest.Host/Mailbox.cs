// Where other processes bring what they send to one key. Its name is the key's; whoever connects to it hands over parcels one by one and gets an
// answer to each. A thread waits for callers, and one for each caller that has come: they are few, blocked nearly always, and whoever
// stops in the middle of a transfer holds up only the thread that waits for it.

using System.Net.Sockets;

namespace Lguest.Host;

/// <summary>The place where Guests of other processes reach the bindings of one key.</summary>
internal sealed class Mailbox : IDisposable
{
    /// <summary>Callers at a time. One more makes the one that has been here longest leave, so nobody can keep others out by staying.</summary>
    public const int MaximumCallers = 128;

    private const int CallerStackSize = 256 * 1024;

    /// <summary>How soon to try again when the name belongs to another process, or the host system refuses something.</summary>
    private static readonly TimeSpan RetryInterval = TimeSpan.FromMilliseconds(100);

    private readonly DmaKey key;
    private readonly DmaTable table;
    private readonly object gate = new();
    private readonly List<Socket> callers = [];
    private Socket? listener;
    private bool closed;

    /// <summary>Begins to listen.</summary>
    /// <param name="key">A shared key.</param>
    /// <param name="table">The bindings of the Host, in which parcels find their receiver.</param>
    public Mailbox(in DmaKey key, DmaTable table)
    {
        this.key = key;
        this.table = table;
        // Before this returns the name is taken, if it can be: a peer that learns of the binding finds it.
        Listen();
        try
        {
            new Thread(Run) { IsBackground = true, Name = "lguest mailbox" }.Start();
        }
        catch (OutOfMemoryException)
        {
            // The host system has no thread left. A Guest that binds must not bring its Host down: it is met in this process alone.
            Dispose();
        }
    }

    /// <summary>The name is this mailbox's own; otherwise another process may have it.</summary>
    public bool HasName => Volatile.Read(ref listener) is not null;

    /// <summary>Gives the name back and leaves all callers.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            closed = true;
            listener?.Dispose();
            callers.ForEach(static caller => caller.Dispose());
            Monitor.PulseAll(gate);
        }
    }

    private void Run()
    {
        while (true)
        {
            if (Listen() is { } socket)
            {
                AcceptAll(socket);
            }
            lock (gate)
            {
                if (!closed)
                {
                    Monitor.Wait(gate, RetryInterval);
                }
                if (closed)
                {
                    return;
                }
            }
        }
    }

    private Socket? Listen()
    {
        lock (gate)
        {
            if (listener is not null || closed)
            {
                return listener;
            }
            Socket? socket = null;
            try
            {
                socket = CourierProtocol.CreateSocket();
                socket.Bind(CourierProtocol.Address(key));
                socket.Listen(MaximumCallers);
                Volatile.Write(ref listener, socket);
            }
            catch (SocketException)
            {
                socket?.Dispose();
            }
            return listener;
        }
    }

    private void AcceptAll(Socket socket)
    {
        try
        {
            while (true)
            {
                Welcome(socket.Accept());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OutOfMemoryException)
        {
            // Closed, or the host system is short of descriptors or threads: the caller of this method knows.
        }
    }

    private void Welcome(Socket caller)
    {
        lock (gate)
        {
            if (closed || !CourierProtocol.IsTrusted(caller))
            {
                caller.Dispose();
                return;
            }
            if (callers.Count == MaximumCallers)
            {
                callers[0].Dispose();
                callers.RemoveAt(0);
            }
            callers.Add(caller);
        }
        new Thread(() => Serve(caller), CallerStackSize) { IsBackground = true, Name = "lguest courier" }.Start();
    }

    // L:410 And the receiving end: one thread a caller, which is blocked nearly always. A request that is not one ends the connection,
    // without a word. Delivering takes the Host's lock like every other transfer, so a caller from outside has no more rights than a
    // Guest next door, and no fewer.
    //
    // With that you have seen everything that the Launcher and the Host do for devices. What is left is the Host proper, the part that
    // makes one processor look like another:
    //
    //   lguest tour host
    private void Serve(Socket caller)
    {
        // One byte more than the longest request: what fills it was too long.
        byte[] request = new byte[CourierProtocol.MaximumRequest + 1];
        Span<byte> reply = stackalloc byte[CourierProtocol.ReplySize];
        try
        {
            while (true)
            {
                int length = caller.Receive(request, SocketFlags.None, out SocketError error);
                if (error != SocketError.Success || !CourierProtocol.TryReadRequest(request.AsSpan(0, length), out DmaParcel parcel))
                {
                    break;
                }
                CourierProtocol.WriteReply(reply, Deliver(parcel));
                caller.Send(reply, SocketFlags.None, out error);
                if (error != SocketError.Success)
                {
                    break;
                }
            }
        }
        catch (ObjectDisposedException)
        {
            // The mailbox is closed, or the caller had to make room.
        }
        lock (gate)
        {
            callers.Remove(caller);
            caller.Dispose();
        }
    }

    private DmaOutcome Deliver(DmaParcel parcel)
    {
        lock (table.Lock)
        {
            return table.FindPeer(key, null) is { } binding ? DmaTransfer.Deliver(parcel, binding) : new DmaOutcome(DmaVerdict.Nobody);
        }
    }
    // :*
}
