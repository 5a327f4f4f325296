// The far end of a PC's serial port: the streams that are every machine's console. The Guest sends single bytes; they are written together
// when a line ends, when the Guest is interrupted, and before it sleeps.

using Lguest.Launcher.Devices;
using Lguest.Pc.Board;

namespace Lguest.Launcher.Pc;

/// <summary>Connects a serial port with the machine's console streams.</summary>
/// <param name="input">What the user types.</param>
/// <param name="output">Where the Guest's bytes go; null discards them.</param>
internal sealed class SerialConsole(ConsoleInput input, Stream? output) : ISerialConsole
{
    private const int BufferSize = 4096;

    private readonly byte[] buffer = new byte[BufferSize];
    private int count;

    public void Send(byte value)
    {
        buffer[count++] = value;
        if (value == (byte)'\n' || count == BufferSize)
        {
            Flush();
        }
    }

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

    public bool TryReceive(out byte value)
    {
        value = 0;
        return input.Queue.Take(new Span<byte>(ref value)) == 1;
    }
}
