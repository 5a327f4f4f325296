// The far end of a PC's serial port: the machine's terminal. The Guest sends single bytes; they are written together when a line ends, when
// the Guest is interrupted, and before it sleeps.

using Lguest.Launcher.Devices;
using Lguest.Pc.Board;

namespace Lguest.Launcher.Pc;

/// <summary>Connects a serial port with the machine's terminal.</summary>
/// <param name="terminal">The terminal.</param>
/// <param name="port">The serial port's end of it.</param>
internal sealed class SerialConsole(ConsoleSwitch terminal, ConsolePort port) : ISerialConsole
{
    // Bytes that the processor polls out are a kernel's messages, which appear on every console that it has: no reason to expect a reader here.
    public void Send(byte value, bool isPolled)
    {
        if (!isPolled)
        {
            port.Choose();
        }
        port.Write([value]);
    }

    public void Print(byte value) => port.Write([value]);

    public void Flush() => terminal.Flush();

    public bool TryReceive(out byte value)
    {
        value = 0;
        return port.Take(new Span<byte>(ref value)) == 1;
    }
}
