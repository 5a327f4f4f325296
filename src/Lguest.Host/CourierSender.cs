// How a Guest of this process reaches Guests of others. The Guest's own thread connects to the mailbox of a key, hands over a parcel and waits
// for the answer; the connection stays for the next parcel. No lock is held meanwhile, and the wait is short: who does not answer in
// time loses the connection, so that a late answer is never taken for another's, and is left alone for a while.

using System.Net.Sockets;
using Lguest.Platform;

namespace Lguest.Host;

/// <summary>The connections of one Guest to receivers in other processes. Only the Guest's own thread uses it.</summary>
/// <param name="courier">The Host's own mailboxes.</param>
internal sealed class CourierSender(Courier courier) : IDisposable
{
    /// <summary>Connections that a Guest may have; with one more, all begin anew.</summary>
    private const int MaximumConnections = 128;

    /// <summary>The longest time that a peer is left alone, in nanoseconds.</summary>
    private const long LongestSilence = 1_000_000_000;

    private readonly Dictionary<DmaKey, Socket> connections = [];
    private readonly Dictionary<DmaKey, (long Until, long Length)> silences = [];
    private readonly byte[] request = new byte[CourierProtocol.MaximumRequest];

    /// <summary>Where a parcel's bytes are gathered: behind the place of the header that they need to go elsewhere.</summary>
    public Span<byte> Room => request.AsSpan(CourierProtocol.HeaderSize);

    // L:405 A Guest in another process. Nobody can copy into a process that he knows nothing of, so the parcel is sent to it, through a
    // socket whose name is made from the key. At the other end sits the receiver's Host, which delivers it as if it came from a Guest of
    // its own.
    //
    // The trouble with other processes is that they stop: killed, stopped by their user, or malicious. So the wait for an answer is
    // short, and whoever let us wait is left alone for a moment, and for longer if he stays silent. A Guest may lose parcels by that; it
    // never loses time worth speaking of.
    /// <summary>Sends the parcel that lies in <see cref="Room"/> to whoever has bound a key in another process.</summary>
    /// <param name="key">A shared key.</param>
    /// <param name="parcel">The parcel.</param>
    /// <returns>What became of it. A receiver that was lost after it took the parcel makes it a transfer of no bytes.</returns>
    public DmaOutcome Send(in DmaKey key, DmaParcel parcel)
    {
        CourierProtocol.WriteHeader(request, parcel.End);
        ReadOnlySpan<byte> message = request.AsSpan(0, CourierProtocol.HeaderSize + parcel.Bytes.Length);
        if (!connections.TryGetValue(key, out Socket? connection) || !TryHandOver(key, connection, message))
        {
            // The process that was there may be gone, and another one in its place.
            connection = TryConnect(key);
            if (connection is null || !TryHandOver(key, connection, message))
            {
                return new DmaOutcome(DmaVerdict.Nobody);
            }
        }
        Span<byte> reply = stackalloc byte[CourierProtocol.ReplySize + 1];
        int length = connection.Receive(reply, SocketFlags.None, out SocketError error);
        if (error == SocketError.Success && CourierProtocol.TryReadReply(reply[..length], parcel, out DmaOutcome outcome))
        {
            silences.Remove(key);
            return outcome;
        }
        bool gone = error == SocketError.ConnectionReset || (error == SocketError.Success && length == 0);
        Drop(key, leaveAlone: !gone);
        return new DmaOutcome(DmaVerdict.Done);
    }
    // :*

    /// <summary>Ends all connections.</summary>
    public void Dispose()
    {
        foreach (Socket connection in connections.Values)
        {
            connection.Dispose();
        }
        connections.Clear();
    }

    /// <summary>Gives a message to the kernel; when that fails, the connection is gone.</summary>
    private bool TryHandOver(in DmaKey key, Socket connection, ReadOnlySpan<byte> message)
    {
        connection.Send(message, SocketFlags.None, out SocketError error);
        if (error == SocketError.Success)
        {
            return true;
        }
        Drop(key, leaveAlone: error is SocketError.TimedOut or SocketError.WouldBlock);
        return false;
    }

    /// <summary>Connects to the mailbox of a key; null when there is none that may be trusted.</summary>
    private Socket? TryConnect(in DmaKey key)
    {
        // What this Host serves itself has been looked for already, and the Guest must not send to itself.
        if (!courier.CrossesProcesses || IsSilent(key) || courier.Serves(key))
        {
            return null;
        }
        Socket? connection = null;
        try
        {
            connection = CourierProtocol.CreateSocket();
            connection.SendTimeout = courier.Patience;
            connection.ReceiveTimeout = courier.Patience;
            connection.Connect(CourierProtocol.Address(key));
        }
        catch (SocketException e)
        {
            connection?.Dispose();
            if (e.SocketErrorCode is SocketError.TimedOut or SocketError.WouldBlock)
            {
                Drop(key, leaveAlone: true);
            }
            return null;
        }
        if (!CourierProtocol.IsTrusted(connection))
        {
            connection.Dispose();
            return null;
        }
        if (connections.Count == MaximumConnections)
        {
            Dispose();
        }
        connections[key] = connection;
        return connection;
    }

    private bool IsSilent(in DmaKey key) => silences.TryGetValue(key, out (long Until, long Length) silence) && MonotonicClock.Now < silence.Until;

    private void Drop(in DmaKey key, bool leaveAlone)
    {
        if (connections.Remove(key, out Socket? connection))
        {
            connection.Dispose();
        }
        if (leaveAlone)
        {
            // A receiver that had to wait for its turn on a busy host is soon found again; one that stands still costs less and less.
            long length = silences.TryGetValue(key, out (long Until, long Length) last)
                ? Math.Min(2 * last.Length, LongestSilence)
                : (long)courier.Silence.TotalNanoseconds;
            silences[key] = (MonotonicClock.Now + length, length);
        }
    }
}
