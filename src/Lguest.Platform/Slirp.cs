// A network without privilege: libslirp plays a router with one machine behind it, ends that machine's connections itself and makes them
// anew as ordinary sockets of this process. This file is all that touches the library (docs/decisions/041); above it there are only
// Ethernet frames, and here they are checked for length before C code sees them.

using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>Takes an Ethernet frame; the bytes are only lent. Must not throw.</summary>
public delegate void FrameReceiver(ReadOnlySpan<byte> frame);

/// <summary>A user-mode network, 10.0.2.0/24: the host is 10.0.2.2, a name server 10.0.2.3, and DHCP gives 10.0.2.15. Linux only.</summary>
/// <remarks>One thread at a time may use it, but for <see cref="Wake"/>, which any thread may call.</remarks>
public sealed unsafe class Slirp : IDisposable
{
    /// <summary>The shortest Ethernet frame, in bytes: its header.</summary>
    public const int MinimumFrame = 14;

    /// <summary>The longest Ethernet frame, in bytes.</summary>
    public const int MaximumFrame = 1514;

    private const int ConfigurationVersion = 1;

    /// <summary>The library keeps its clock, a cache of name servers and its own set-up per process, not per network.</summary>
    private static readonly Lock LibraryLock = new();
    private static readonly SlirpLibrary.Callbacks* Callbacks = MakeCallbacks();

    private readonly FrameReceiver receive;
    private readonly PollSet poll = new();
    private readonly HashSet<int> sockets = [];
    private GCHandle self;
    private nint slirp;
    private bool readSockets;

    /// <summary>Makes a network with nobody in it.</summary>
    /// <param name="receive">Takes what the network sends to the Guest, during <see cref="Send"/> and <see cref="Wait"/>.</param>
    /// <exception cref="DllNotFoundException">The host does not have the library.</exception>
    public Slirp(FrameReceiver receive)
    {
        this.receive = receive;
        self = GCHandle.Alloc(this);
        var configuration = new SlirpLibrary.Configuration
        {
            Version = ConfigurationVersion,
            Enabled = 1,
            Network = InNetworkOrder(Network),
            NetworkMask = InNetworkOrder(IPAddress.Parse("255.255.255.0")),
            Host = InNetworkOrder(IPAddress.Parse("10.0.2.2")),
            DhcpStart = InNetworkOrder(Guest),
            NameServer = InNetworkOrder(IPAddress.Parse("10.0.2.3")),
        };
        try
        {
            lock (LibraryLock)
            {
                // SAFETY: the library copies the configuration; the table of callbacks is never freed, and self lives until Destroy.
                unsafe
                {
                    slirp = SlirpLibrary.Create(configuration, Callbacks, GCHandle.ToIntPtr(self));
                }
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Whether the host has the library.</summary>
    public static bool IsAvailable => OperatingSystem.IsLinux() && NativeLibrary.TryLoad(SlirpLibrary.Name, out _);

    /// <summary>The network's address, of 24 bits.</summary>
    public static IPAddress Network { get; } = IPAddress.Parse("10.0.2.0");

    /// <summary>The address that DHCP gives to the Guest.</summary>
    public static IPAddress Guest { get; } = IPAddress.Parse("10.0.2.15");

    /// <summary>The hardware address of the host in this network.</summary>
    public static ReadOnlySpan<byte> HostHardwareAddress => [0x52, 0x55, 10, 0, 2, 2];

    /// <summary>Sockets of this process that the network has open.</summary>
    public int SocketCount => sockets.Count;

    /// <summary>Hands connections or datagrams that arrive at a port of the host to the Guest.</summary>
    /// <exception cref="IOException">The host's port cannot be had.</exception>
    public void Forward(ProtocolType protocol, IPEndPoint host, IPEndPoint guest)
    {
        bool isUdp = protocol == ProtocolType.Udp;
        if (isUdp)
        {
            // The library shares a port with whoever shares it too; for datagrams the system then lets only one of them have any.
            using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            Try(() => probe.Bind(host));
        }
        lock (LibraryLock)
        {
            if (SlirpLibrary.AddForward(slirp, isUdp ? 1 : 0, InNetworkOrder(host.Address), host.Port, InNetworkOrder(guest.Address), guest.Port) < 0)
            {
                throw new IOException(Marshal.GetLastPInvokeErrorMessage());
            }
        }
    }

    /// <summary>Takes a frame from the Guest. One that is shorter or longer than Ethernet allows is dropped.</summary>
    public void Send(ReadOnlySpan<byte> frame)
    {
        if (frame.Length is < MinimumFrame or > MaximumFrame)
        {
            return;
        }
        lock (LibraryLock)
        {
            // SAFETY: the frame is pinned for the call, the library copies it, and its length is its own.
            unsafe
            {
                fixed (byte* bytes = frame)
                {
                    SlirpLibrary.Input(slirp, bytes, frame.Length);
                }
            }
        }
    }

    /// <summary>Waits until a socket is ready, a timer is due or somebody calls <see cref="Wake"/>, and does what there is to do.</summary>
    /// <param name="read">Whether to read from sockets: what is not read, the host system makes its senders wait with.</param>
    public void Wait(bool read)
    {
        uint milliseconds = uint.MaxValue;
        readSockets = read;
        poll.Clear();
        lock (LibraryLock)
        {
            // SAFETY: the functions are static, and the handle is alive.
            unsafe
            {
                SlirpLibrary.FillPoll(slirp, ref milliseconds, &AddDescriptor, GCHandle.ToIntPtr(self));
            }
        }
        poll.Wait((int)Math.Min(milliseconds, int.MaxValue));
        lock (LibraryLock)
        {
            // SAFETY: as above.
            unsafe
            {
                SlirpLibrary.HandlePoll(slirp, 0, &GetReturned, GCHandle.ToIntPtr(self));
            }
        }
    }

    /// <summary>Ends the present <see cref="Wait"/>, or the next one at once.</summary>
    public void Wake() => poll.Wake();

    /// <summary>Closes all connections.</summary>
    public void Dispose()
    {
        if (!self.IsAllocated)
        {
            return;
        }
        if (slirp != 0)
        {
            lock (LibraryLock)
            {
                SlirpLibrary.Destroy(slirp);
            }
        }
        slirp = 0;
        self.Free();
        poll.Dispose();
    }

    private static void Try(Action action)
    {
        try
        {
            action();
        }
        catch (SocketException error)
        {
            throw new IOException(error.Message, error);
        }
    }

    /// <summary>The address as C keeps it: in memory the first byte is the first number.</summary>
    private static uint InNetworkOrder(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[4];
        _ = address.TryWriteBytes(bytes, out _);
        return BitConverter.IsLittleEndian ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : BinaryPrimitives.ReadUInt32BigEndian(bytes);
    }

    private static SlirpLibrary.Callbacks* MakeCallbacks()
    {
        // SAFETY: the block is large enough and never freed, since the library keeps its address.
        unsafe
        {
            var callbacks = (SlirpLibrary.Callbacks*)NativeMemory.Alloc((nuint)sizeof(SlirpLibrary.Callbacks));
            *callbacks = new SlirpLibrary.Callbacks
            {
                SendPacket = &SendPacket,
                GuestError = &IgnoreGuestError,
                ClockGetNanoseconds = &GetNanoseconds,
                TimerNew = &MakeNoTimer,
                TimerFree = &FreeNoTimer,
                TimerModify = &SetNoTimer,
                RegisterDescriptor = &RegisterDescriptor,
                UnregisterDescriptor = &UnregisterDescriptor,
                Notify = &IgnoreNotification,
            };
            return callbacks;
        }
    }

    private static Slirp Of(nint user) => (Slirp)GCHandle.FromIntPtr(user).Target!;

    [UnmanagedCallersOnly]
    private static nint SendPacket(byte* frame, nint length, nint user)
    {
        if (length is >= MinimumFrame and <= MaximumFrame)
        {
            // SAFETY: the library says how many bytes it lends.
            unsafe
            {
                Of(user).receive(new ReadOnlySpan<byte>(frame, (int)length));
            }
        }
        return length;
    }

    [UnmanagedCallersOnly]
    private static int AddDescriptor(int descriptor, int events, nint user)
    {
        Slirp network = Of(user);
        PollEvents wanted = (events & SlirpLibrary.PollOut) != 0 ? PollEvents.Out : PollEvents.None;
        if (network.readSockets)
        {
            wanted |= (events & SlirpLibrary.PollIn) != 0 ? PollEvents.In : PollEvents.None;
            wanted |= (events & SlirpLibrary.PollPriority) != 0 ? PollEvents.Priority : PollEvents.None;
        }
        // A socket that nobody wants to hear of would still report that its other end is gone, again and again.
        return network.poll.Add(wanted == PollEvents.None ? -1 : descriptor, wanted);
    }

    [UnmanagedCallersOnly]
    private static int GetReturned(int number, nint user)
    {
        PollEvents returned = Of(user).poll.Returned(number);
        return (returned.HasFlag(PollEvents.In) ? SlirpLibrary.PollIn : 0)
            | (returned.HasFlag(PollEvents.Out) ? SlirpLibrary.PollOut : 0)
            | (returned.HasFlag(PollEvents.Priority) ? SlirpLibrary.PollPriority : 0)
            | (returned.HasFlag(PollEvents.Error) ? SlirpLibrary.PollError : 0)
            | (returned.HasFlag(PollEvents.HangUp) ? SlirpLibrary.PollHangUp : 0);
    }

    [UnmanagedCallersOnly]
    private static void RegisterDescriptor(int descriptor, nint user) => Of(user).sockets.Add(descriptor);

    [UnmanagedCallersOnly]
    private static void UnregisterDescriptor(int descriptor, nint user) => Of(user).sockets.Remove(descriptor);

    [UnmanagedCallersOnly]
    private static long GetNanoseconds(nint user) => MonotonicClock.Now;

    [UnmanagedCallersOnly]
    private static void IgnoreGuestError(byte* message, nint user)
    {
        // What the Guest does wrong is no news for the host, and it could do it a million times.
    }

    /// <summary>The library's only timer is for IPv6, which is off.</summary>
    [UnmanagedCallersOnly]
    private static nint MakeNoTimer(nint callback, nint argument, nint user) => 0;

    [UnmanagedCallersOnly]
    private static void FreeNoTimer(nint timer, nint user)
    {
    }

    [UnmanagedCallersOnly]
    private static void SetNoTimer(nint timer, long milliseconds, nint user)
    {
    }

    [UnmanagedCallersOnly]
    private static void IgnoreNotification(nint user)
    {
        // Every round asks for everything again.
    }
}
