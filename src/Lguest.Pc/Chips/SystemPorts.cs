// The small change of a PC board: ports that hold a bit or two each. The keyboard controller's reset line and port 92h end the machine's
// run, port 80h takes the numbers by which firmware says how far it is, F0h says that a numeric error is being seen to, and E9h takes
// characters from test programs.

namespace Lguest.Pc.Chips;

/// <summary>Ports 64h, 80h, 92h, E9h and F0h.</summary>
/// <param name="reset">Called when the Guest pulls the processor's reset line.</param>
/// <param name="character">Takes what is written to E9h.</param>
/// <param name="seeToNumericError">Called when the Guest says by F0h that it sees to a numeric error.</param>
internal sealed class SystemPorts(Action reset, Action<byte> character, Action seeToNumericError) : IBytePortDevice
{
    private const ushort KeyboardData = 0x60, KeyboardCommand = 0x64, Post = 0x80, ControlA = 0x92, Debug = 0xE9, NumericError = 0xF0;
    private const byte PulseReset = 0xFE;

    /// <summary>What port 64h reads: a buffer that never gets empty, by which kernels see that no controller is there, and an input that is never full.</summary>
    private const byte NoController = 0xFD;

    private byte post;
    private byte controlA = 2;

    /// <summary>Puts them at their places.</summary>
    public void Connect(PortBus bus)
    {
        bus.Register(KeyboardData, 1, this);
        bus.Register(KeyboardCommand, 1, this);
        bus.Register(Post, 1, this);
        bus.Register(ControlA, 1, this);
        bus.Register(Debug, 1, this);
        bus.Register(NumericError, 1, this);
    }

    public byte Read(ushort port) => port switch
    {
        KeyboardCommand => NoController,
        Post => post,
        ControlA => controlA,
        // By this a program knows that somebody listens.
        Debug => (byte)Debug,
        _ => 0xFF,
    };

    public void Write(ushort port, byte value)
    {
        switch (port)
        {
            case KeyboardCommand when value == PulseReset:
                reset();
                break;
            case Post:
                post = value;
                break;
            case ControlA:
                // Bit 1 is the gate of address line 20, which is always open here.
                controlA = (byte)((value & ~1) | 2);
                if ((value & 1) != 0)
                {
                    reset();
                }
                break;
            case Debug:
                character(value);
                break;
            case NumericError:
                seeToNumericError();
                break;
        }
    }
}
