// A Guest at the user's terminal: the terminal is lent to it, a few keys and signals are kept back, and however it ends, the terminal is as
// it was and the caller gets an honest exit status.

using System.Runtime.InteropServices;
using Lguest.Launcher;
using Lguest.Platform;

namespace Lguest.Cli;

/// <summary>Runs one Guest on standard input and output.</summary>
/// <param name="options">The machine without its streams and logger.</param>
/// <param name="verbose">Whether to print setup and traffic details.</param>
internal sealed class GuestSession(MachineOptions options, bool verbose)
{
    /// <summary>The command line of 2007: every end of a Guest is exit status 1 and prints its reason (ABI 11 and 12.2).</summary>
    public bool IsOriginalForm { get; init; }

    /// <summary>Makes a Guest if it is not there, and runs it.</summary>
    public async Task<int> RunAsync(GuestRecipe recipe)
    {
        DefaultGuest guest;
        using (var signals = new EndSignals())
        {
            try
            {
                guest = await DefaultGuest.PrepareAsync(recipe, signals.Token);
            }
            catch (OperationCanceledException) when (signals.ExitStatus is int status)
            {
                return status;
            }
        }
        return await new GuestSession(options with { Kernel = guest.Kernel, Initrd = options.Initrd ?? guest.Initrd }, verbose).RunAsync();
    }

    /// <summary>Runs the Guest to its end.</summary>
    /// <returns>The exit status.</returns>
    public async Task<int> RunAsync()
    {
        using var signals = new EndSignals();
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(signals.Token);
        Stream input = DescriptorStream.OpenInput();
        Stream output = DescriptorStream.OpenOutput();
        Machine? running = null;
        bool hasTerminal = RawTerminal.IsPresent;
        if (hasTerminal)
        {
            var monitor = new Monitor(output, () => running!, stopping.Cancel);
            input = new EscapeKeys(input, output, stopping.Cancel, monitor);
        }

        await using var machine = running = new Machine(options with { ConsoleInput = input, ConsoleOutput = output, Logger = new ConsoleLogger(verbose) });
        if (hasTerminal || verbose)
        {
            Standard.WriteError($"{options.MemoryBytes >> 20} MiB, engine {machine.Engine.ToString().ToLowerInvariant()}; Ctrl-A x leaves, Ctrl-A h helps");
        }

        using PosixSignalRegistration? resizing = hasTerminal && !OperatingSystem.IsWindows()
            ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => TellSize(machine))
            : null;
        TellSize(machine);
        MachineResult result;
        using (RawTerminal.TryEnter())
        {
            try
            {
                result = await machine.RunAsync(stopping.Token);
            }
            catch (IOException) when (hasTerminal)
            {
                // A window that was closed fails the Guest's output at once; the signal that says so may take a moment longer.
                if (await signals.WaitAsync(TimeSpan.FromSeconds(1)) is int status)
                {
                    return status;
                }
                throw;
            }
        }
        return signals.ExitStatus ?? Report(result);
    }

    private static void TellSize(Machine machine)
    {
        (ushort columns, ushort rows) = RawTerminal.GetSize();
        machine.ResizeConsole(columns, rows);
    }

    private int Report(MachineResult result)
    {
        if (result.End == MachineEnd.Death || (IsOriginalForm && result.End is MachineEnd.PowerOff or MachineEnd.Reset))
        {
            Standard.WriteError(result.Reason.TrimEnd());
        }
        return result.End switch
        {
            MachineEnd.Quit => ExitStatus.Quit,
            MachineEnd.ProgramExit => result.Status,
            MachineEnd.PowerOff or MachineEnd.Reset or MachineEnd.Halted or MachineEnd.Stopped when !IsOriginalForm => ExitStatus.Success,
            _ => ExitStatus.Failure,
        };
    }
}
