// Everything that can be wrong with a machine before it runs ends in this one exception: its message is the line that the user reads.

namespace Lguest.Launcher;

/// <summary>A machine cannot be built from its options: a bad kernel image, initrd or memory size.</summary>
/// <remarks>The message is one complete line of text for the person who chose the options. Nothing stays open or allocated.</remarks>
public sealed class MachineConfigurationException : Exception
{
    /// <summary>Says in one line what is wrong and, where it helps, what would be right.</summary>
    public MachineConfigurationException(string message)
        : base(message)
    {
    }

    /// <summary>As above, with the error of the host system behind it.</summary>
    public MachineConfigurationException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }
}
