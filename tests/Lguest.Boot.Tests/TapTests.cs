// A Guest and its host on one wire (ABI 10.11), in a network namespace that the test makes for itself; skipped without the capability. The
// thread is in that namespace, so the sockets are made on it.

using System.Net;
using System.Net.Sockets;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Text;
using Lguest.Launcher;

namespace Lguest.Boot.Tests;

public partial class TapTests
{
    [Fact]
    public void TheHostFetchesFromTheGuestAndTheGuestPingsTheHost()
    {
        const int NewNetwork = 0x4000_0000;
        bool permitted = true;
        ExceptionDispatchInfo? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                permitted = Unshare(NewNetwork) == 0 && File.Exists("/dev/net/tun");
                if (permitted)
                {
                    FetchAndPing();
                }
            }
            catch (Exception error)
            {
                failure = ExceptionDispatchInfo.Capture(error);
            }
        });
        thread.Start();
        thread.Join();
        failure?.Throw();
        Assert.SkipUnless(permitted, "needs CAP_NET_ADMIN, CAP_SYS_ADMIN and /dev/net/tun");
    }

    private static void FetchAndPing()
    {
        BootedGuest guest = BootedGuest.StartAsync(64, "", TapNetworkOptions.WithAddress(IPAddress.Parse("192.168.19.1"))).GetAwaiter().GetResult();
        try
        {
            string shown = guest.ExecuteAsync("ifconfig eth0 192.168.19.2 up; httpd -p 80 -h /bin; ping -c 3 192.168.19.1").GetAwaiter().GetResult();
            Assert.Contains("3 packets received", shown);

            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Connect(IPAddress.Parse("192.168.19.2"), 80);
            socket.Send("GET /busybox HTTP/1.0\r\n\r\n"u8);
            var answer = new MemoryStream();
            byte[] buffer = new byte[1 << 16];
            for (int count; (count = socket.Receive(buffer)) > 0;)
            {
                answer.Write(buffer, 0, count);
            }
            byte[] bytes = answer.ToArray();
            int end = Encoding.Latin1.GetString(bytes).IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4;
            Assert.Equal(DefaultGuest.ReadInitrdFile("bin/busybox"), bytes[end..]);
        }
        finally
        {
            guest.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }
    }

    [LibraryImport("libc", EntryPoint = "unshare")]
    private static partial int Unshare(int flags);
}
