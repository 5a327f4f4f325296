// Test programs want to end with a status. QEMU's isa-debug-exit is the device that they know: a write of V ends the machine with
// status 2V+1, so that no program ends with 0 by accident.

namespace Lguest.Pc.Chips;

/// <summary>The port by which a test program ends the machine.</summary>
/// <param name="exit">Takes the status.</param>
internal sealed class DebugExit(Action<int> exit) : IPortDevice
{
    /// <summary>The ports that test programs use: most of them the first, QEMU by itself the second.</summary>
    private static readonly ushort[] Ports = [0xF4, 0x501];

    /// <summary>Puts it at its places.</summary>
    public void Connect(PortBus bus)
    {
        foreach (ushort port in Ports)
        {
            bus.Register(port, 1, this);
        }
    }

    public uint Read(ushort port, int size) => 0;

    public void Write(ushort port, int size, uint value) => exit((int)((value << 1) | 1));
}
