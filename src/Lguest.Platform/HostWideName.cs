// Some things must be unique on the whole host, whatever process has them, and must be free again when that process is gone, however it went.
// Linux has a place for such names: abstract addresses of local sockets. Nobody ever connects to these; to hold the name is all.

using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Platform;

/// <summary>A name that only one holder on this host has at a time.</summary>
public sealed partial class HostWideName : IDisposable
{
    private const int LocalFamily = 1;
    private const int DatagramCloseOnExec = 2 | 0x8_0000;
    private const int AddressInUse = 98;

    private readonly SafeFileHandle socket;

    private HostWideName(SafeFileHandle socket) => this.socket = socket;

    /// <summary>Takes a name.</summary>
    /// <param name="name">At most 100 characters of ASCII.</param>
    /// <param name="holder">Holds the name until it is disposed; null where the host system has no such names.</param>
    /// <returns>False when somebody else holds it.</returns>
    public static bool TryTake(string name, out HostWideName? holder)
    {
        holder = null;
        if (!OperatingSystem.IsLinux())
        {
            return true;
        }
        int descriptor = CreateSocket(LocalFamily, DatagramCloseOnExec, 0);
        if (descriptor < 0)
        {
            return true;
        }
        var socket = new SafeFileHandle(descriptor, ownsHandle: true);
        byte[] address = [LocalFamily, 0, 0, .. Encoding.ASCII.GetBytes(name)];
        if (Bind(socket, address, address.Length) == 0)
        {
            holder = new HostWideName(socket);
            return true;
        }
        bool taken = Marshal.GetLastPInvokeError() == AddressInUse;
        socket.Dispose();
        return !taken;
    }

    /// <summary>Gives the name back.</summary>
    public void Dispose() => socket.Dispose();

    [LibraryImport("libc", EntryPoint = "socket", SetLastError = true)]
    private static partial int CreateSocket(int family, int type, int protocol);

    [LibraryImport("libc", EntryPoint = "bind", SetLastError = true)]
    private static partial int Bind(SafeFileHandle socket, byte[] address, int length);
}
