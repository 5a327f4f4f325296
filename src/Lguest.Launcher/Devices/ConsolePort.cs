// A device's end of the machine's terminal: it can always write, and reads when it is its turn (ConsoleSwitch).

namespace Lguest.Launcher.Devices;

/// <summary>Connects one device with a terminal that it shares with others.</summary>
/// <remarks>All members belong to the Guest's thread, unless they say otherwise.</remarks>
internal sealed class ConsolePort(ConsoleSwitch terminal)
{
    /// <summary>Called, from any thread, whenever there is input for this device.</summary>
    public Action InputArrived { get; set; } = static () => { };

    /// <summary>Whether bytes can be taken.</summary>
    public bool HasInput => terminal.HasInput(this);

    /// <summary>Writes to the terminal.</summary>
    public void Write(ReadOnlySpan<byte> bytes) => terminal.Write(bytes);

    /// <summary>Asks for the input from now on: the Guest speaks to the user by this device.</summary>
    public void Choose() => terminal.Choose(this);

    /// <summary>Gives the input back to the terminal's first device.</summary>
    public void GiveUp() => terminal.GiveUp(this);

    /// <summary>Takes as many bytes as there are for this device and fit. May be called by any thread.</summary>
    /// <returns>Bytes taken.</returns>
    public int Take(Span<byte> destination) => terminal.Take(this, destination);
}
