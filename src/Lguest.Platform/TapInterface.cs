// A network interface of the host whose cable ends in this process. Making one needs the capability CAP_NET_ADMIN; it is gone with its
// descriptor, however the process ends. The requests are those of Linux's if_tun, sockios and if_bridge headers.

using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>A TAP interface: it carries Ethernet frames. Linux only.</summary>
public sealed partial class TapInterface : IDisposable
{
    /// <summary>The longest name of an interface, in bytes.</summary>
    public const int LongestName = 15;

    private const int AddressSize = 6;
    private const int Interrupted = 4;
    private const int TryAgain = 11;

    private readonly SafeFileHandle file;
    private readonly byte[] hardwareAddress = new byte[AddressSize];

    /// <summary>Makes an interface, named tap0 or the like, that is down.</summary>
    /// <exception cref="UnauthorizedAccessException">The process lacks CAP_NET_ADMIN.</exception>
    /// <exception cref="IOException">The host has no such interfaces.</exception>
    public TapInterface()
    {
        const int ReadWrite = 2, NonBlocking = 0x800, CloseOnExec = 0x8_0000;
        const uint SetInterface = 0x4004_54CA, SetNoChecksum = 0x4004_54C8, GetHardwareAddress = 0x8927;
        const short Tap = 2, NoPacketInformation = 0x1000;
        file = Open("/dev/net/tun", ReadWrite | NonBlocking | CloseOnExec);
        if (file.IsInvalid)
        {
            Throw("/dev/net/tun cannot be opened");
        }
        try
        {
            var request = new InterfaceRequest("tap%d") { Flags = Tap | NoPacketInformation };
            Check(Control(file, SetInterface, ref request), "a TAP interface cannot be made");
            Name = request.GetName();
            Check(Control(file, SetNoChecksum, 1), $"{Name} cannot do without checksums");
            Check(Control(file, GetHardwareAddress, ref request), $"the hardware address of {Name} cannot be read");
            request.HardwareAddress.CopyTo(hardwareAddress);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>The interface's name.</summary>
    public string Name { get; }

    /// <summary>The interface's descriptor, to wait for with a <see cref="PollSet"/>.</summary>
    public int Descriptor => (int)file.DangerousGetHandle();

    /// <summary>The hardware address of the host's end.</summary>
    public ReadOnlySpan<byte> HardwareAddress => hardwareAddress;

    /// <summary>Gives the host's end an IPv4 address, with the network mask of the address's class.</summary>
    /// <exception cref="IOException">The host refuses it.</exception>
    public void SetAddress(IPAddress address)
    {
        const uint SetInterfaceAddress = 0x8916;
        using SafeFileHandle socket = OpenSocket();
        var request = new InterfaceRequest(Name);
        request.SetInternetAddress(address);
        Check(Control(socket, SetInterfaceAddress, ref request), $"{Name} cannot have the address {address}");
    }

    /// <summary>Puts the interface into a bridge.</summary>
    /// <exception cref="IOException">There is no such bridge, or it refuses.</exception>
    public void JoinBridge(string bridge)
    {
        const uint GetIndex = 0x8933, AddToBridge = 0x89A2;
        using SafeFileHandle socket = OpenSocket();
        var request = new InterfaceRequest(Name);
        Check(Control(socket, GetIndex, ref request), $"the number of {Name} cannot be read");
        request = new InterfaceRequest(bridge) { Index = request.Index };
        Check(Control(socket, AddToBridge, ref request), $"{Name} cannot join the bridge {bridge}");
    }

    /// <summary>Lets packets through.</summary>
    /// <exception cref="IOException">The host refuses.</exception>
    public void BringUp()
    {
        const uint GetFlags = 0x8913, SetFlags = 0x8914;
        const short Up = 1;
        using SafeFileHandle socket = OpenSocket();
        var request = new InterfaceRequest(Name);
        Check(Control(socket, GetFlags, ref request), $"the state of {Name} cannot be read");
        request.Flags |= Up;
        Check(Control(socket, SetFlags, ref request), $"{Name} cannot be brought up");
    }

    /// <summary>Sends a frame to the host.</summary>
    /// <returns>False when the host did not take it.</returns>
    public bool TryWrite(ReadOnlySpan<byte> frame)
    {
        nint count;
        do
        {
            count = Write(file, in MemoryMarshal.GetReference(frame), (nuint)frame.Length);
        }
        while (count < 0 && Marshal.GetLastPInvokeError() == Interrupted);
        return count == frame.Length;
    }

    /// <summary>Receives a frame from the host.</summary>
    /// <returns>Its length in bytes, at most what fits; 0 when none is there.</returns>
    /// <exception cref="IOException">The interface is gone.</exception>
    public int Read(Span<byte> frame)
    {
        while (true)
        {
            nint count = Read(file, ref MemoryMarshal.GetReference(frame), (nuint)frame.Length);
            if (count >= 0)
            {
                return (int)count;
            }
            switch (Marshal.GetLastPInvokeError())
            {
                case TryAgain:
                    return 0;
                case Interrupted:
                    continue;
                default:
                    throw new IOException($"{Name} cannot be read: {Marshal.GetLastPInvokeErrorMessage()}");
            }
        }
    }

    /// <summary>Removes the interface from the host.</summary>
    public void Dispose() => file.Dispose();

    private static SafeFileHandle OpenSocket()
    {
        const int Internet = 2, Datagram = 2, CloseOnExec = 0x8_0000;
        SafeFileHandle socket = Socket(Internet, Datagram | CloseOnExec, 0);
        if (socket.IsInvalid)
        {
            Throw("a socket cannot be opened");
        }
        return socket;
    }

    private static void Check(int result, string failure)
    {
        if (result < 0)
        {
            Throw(failure);
        }
    }

    private static void Throw(string failure)
    {
        const int NotPermitted = 1, AccessDenied = 13;
        string message = $"{failure}: {Marshal.GetLastPInvokeErrorMessage()}";
        throw Marshal.GetLastPInvokeError() is NotPermitted or AccessDenied ? new UnauthorizedAccessException(message) : new IOException(message);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial SafeFileHandle Socket(int domain, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(SafeFileHandle file, nuint command, ref InterfaceRequest request);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(SafeFileHandle file, nuint command, nint value);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint Write(SafeFileHandle file, in byte bytes, nuint length);

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint Read(SafeFileHandle file, ref byte bytes, nuint length);

    /// <summary><c>struct ifreq</c>: a name, and a union of which each request uses one member.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    private struct InterfaceRequest
    {
        private const int NameSize = LongestName + 1;
        private const short InternetFamily = 2;

        [FieldOffset(0)]
        private Bytes16 name;

        [FieldOffset(16)]
        public short Flags;

        [FieldOffset(16)]
        public int Index;

        /// <summary><c>struct sockaddr</c>: a family, then its own bytes.</summary>
        [FieldOffset(16)]
        private short family;

        [FieldOffset(18)]
        private Bytes14 address;

        public InterfaceRequest(string name) => Encoding.UTF8.GetBytes(name).AsSpan(0, Math.Min(LongestName, Encoding.UTF8.GetByteCount(name))).CopyTo(this.name);

        [UnscopedRef]
        public readonly ReadOnlySpan<byte> HardwareAddress => ((ReadOnlySpan<byte>)address)[..AddressSize];

        public readonly string GetName()
        {
            ReadOnlySpan<byte> bytes = name;
            return Encoding.UTF8.GetString(bytes[..bytes.IndexOf((byte)0)]);
        }

        /// <summary><c>struct sockaddr_in</c>: a port, then the address.</summary>
        public void SetInternetAddress(IPAddress value)
        {
            family = InternetFamily;
            _ = value.TryWriteBytes(((Span<byte>)address)[sizeof(ushort)..], out _);
        }

        [InlineArray(NameSize)]
        private struct Bytes16
        {
            private byte first;
        }

        [InlineArray(14)]
        private struct Bytes14
        {
            private byte first;
        }
    }
}
