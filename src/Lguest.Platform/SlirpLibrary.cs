// libslirp as its header declares it (version 4): the functions that we call, the configuration that it reads and the table of functions
// that it calls. It is loaded at the first call, so whoever wants no user-mode network needs no library.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Lguest.Platform;

internal static unsafe partial class SlirpLibrary
{
    /// <summary>The library's name to the dynamic linker: everything of its version 4 has this one.</summary>
    public const string Name = "libslirp.so.0";

    public const int PollIn = 1, PollOut = 2, PollPriority = 4, PollError = 8, PollHangUp = 16;

    [LibraryImport(Name, EntryPoint = "slirp_new")]
    public static partial nint Create(in Configuration configuration, Callbacks* callbacks, nint user);

    [LibraryImport(Name, EntryPoint = "slirp_cleanup")]
    public static partial void Destroy(nint slirp);

    [LibraryImport(Name, EntryPoint = "slirp_pollfds_fill")]
    public static partial void FillPoll(nint slirp, ref uint milliseconds, delegate* unmanaged<int, int, nint, int> add, nint user);

    [LibraryImport(Name, EntryPoint = "slirp_pollfds_poll")]
    public static partial void HandlePoll(nint slirp, int failed, delegate* unmanaged<int, nint, int> returned, nint user);

    [LibraryImport(Name, EntryPoint = "slirp_input")]
    public static partial void Input(nint slirp, byte* frame, int length);

    [LibraryImport(Name, EntryPoint = "slirp_add_hostfwd", SetLastError = true)]
    public static partial int AddForward(nint slirp, int isUdp, uint hostAddress, int hostPort, uint guestAddress, int guestPort);

    /// <summary><c>SlirpCb</c>, as far as configuration version 1 uses it.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Callbacks
    {
        public delegate* unmanaged<byte*, nint, nint, nint> SendPacket;
        public delegate* unmanaged<byte*, nint, void> GuestError;
        public delegate* unmanaged<nint, long> ClockGetNanoseconds;
        public delegate* unmanaged<nint, nint, nint, nint> TimerNew;
        public delegate* unmanaged<nint, nint, void> TimerFree;
        public delegate* unmanaged<nint, long, nint, void> TimerModify;
        public delegate* unmanaged<int, nint, void> RegisterDescriptor;
        public delegate* unmanaged<int, nint, void> UnregisterDescriptor;
        public delegate* unmanaged<nint, void> Notify;
    }

    /// <summary><c>SlirpConfig</c> of version 1. IPv4 addresses are in network order.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Configuration
    {
        public uint Version;
        public int Restricted;
        public byte Enabled;
        public uint Network;
        public uint NetworkMask;
        public uint Host;
        public byte Enabled6;
        public Address6 Prefix6;
        public byte PrefixLength6;
        public Address6 Host6;
        public byte* HostName;
        public byte* TftpServerName;
        public byte* TftpPath;
        public byte* BootFile;
        public uint DhcpStart;
        public uint NameServer;
        public Address6 NameServer6;
        public byte** SearchDomains;
        public byte* DomainName;
        public nuint Mtu;
        public nuint Mru;
        public byte DisableHostLoopback;
        public byte EnableEmulation;
    }

    [InlineArray(4)]
    public struct Address6
    {
        private uint first;
    }
}
