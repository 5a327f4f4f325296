// A web server on the host that has one file, for Guests that download.

using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Lguest.Boot.Tests;

internal sealed class HostFile : IDisposable
{
    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly byte[] bytes;

    /// <param name="seed">Of its random contents.</param>
    /// <param name="length">In bytes.</param>
    public HostFile(int seed, int length)
    {
        bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        listener.Start();
    }

    /// <summary>The file as Guests of a user network name it.</summary>
    public string Address => $"http://10.0.2.2:{((IPEndPoint)listener.LocalEndpoint).Port}/file";

    /// <summary>SHA-256 in hexadecimal.</summary>
    public string Sum => Convert.ToHexStringLower(SHA256.HashData(bytes));

    /// <summary>Answers one request, whatever it asks for.</summary>
    public async Task ServeAsync()
    {
        CancellationToken stop = TestContext.Current.CancellationToken;
        using TcpClient client = await listener.AcceptTcpClientAsync(stop);
        NetworkStream stream = client.GetStream();
        await stream.ReadAtLeastAsync(new byte[1024], 1, cancellationToken: stop);
        await stream.WriteAsync(Encoding.ASCII.GetBytes($"HTTP/1.0 200 OK\r\nContent-Length: {bytes.Length}\r\n\r\n"), stop);
        await stream.WriteAsync(bytes, stop);
    }

    public void Dispose() => listener.Dispose();
}
