// Which engine a host can have. The interpreter runs wherever .NET does; the translator writes x86-64 code and needs a system that lets
// a process run what it has written.

using System.Runtime.InteropServices;
using Lguest.Platform;

namespace Lguest.X86;

/// <summary>How instructions are executed.</summary>
public enum EngineKind
{
    /// <summary>The translator where the host allows it, else the interpreter.</summary>
    Auto,

    /// <summary>Decoded blocks, run by one loop; on every host.</summary>
    Interpreter,

    /// <summary>The interpreter for cold code, host machine code for the rest; on x86-64 hosts that give executable memory.</summary>
    Translator,
}

/// <summary>Chooses between the engines.</summary>
public static class Engines
{
    /// <summary>Whether this host can have the translator.</summary>
    /// <param name="whyNot">One sentence that says why not; null if it can.</param>
    public static bool CanTranslate(out string? whyNot)
    {
        whyNot = null;
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            whyNot = "The translator writes x86-64 code, which this host does not run.";
            return false;
        }
        try
        {
            new ExecutableMemory(4096).Dispose();
            return true;
        }
        catch (Exception exception) when (exception is PlatformNotSupportedException or OutOfMemoryException)
        {
            whyNot = exception.Message;
            return false;
        }
    }
}
