// P:100 The Launcher. Somebody has to do for the Guest what a firmware, a boot loader and a box of chips do for a real system: find
// memory, put a kernel into it, and answer when the kernel talks to its console or its disk. That is the Launcher. It needs no privilege,
// and it needs to know very little, because everything difficult is the Host's.
//
// In 2007 the Launcher was a program of its own, one process a Guest, and the Guest's physical memory was simply that process's memory
// from address 0 on: where the Guest says "physical 0x1000", the Launcher could say "my byte at 0x1000". Therefore it was linked to run
// at a high address, out of its Guest's way. Here a machine's memory is an object (MachineMemory) and the Launcher is this class, on a
// thread of its own; several fit into one process. A Guest's death, which was the process's end, is a result here.
//
// It builds a machine first, and then stands at the Guest's side for its whole life, serving its devices whenever the Host comes back
// from running it. That part differs between the platforms and is a GuestRunner; what all machines have in common is here. :*

using Lguest.Launcher.Pc;
using Lguest.X86;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>A machine with one Guest in it.</summary>
/// <remarks>The constructor loads kernel and initrd; <see cref="RunAsync"/> runs the Guest to its end, once.</remarks>
public sealed partial class Machine : IAsyncDisposable
{
    private readonly ILogger logger;
    private readonly GuestRunner runner;
    private readonly CancellationTokenSource ending = new();
    private readonly PauseGate pause = new();
    private readonly TaskCompletionSource<MachineResult> completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Thread? thread;
    private MachineResult? requestedEnd;
    private MachineStatistics? statistics;
    private bool disposed;

    /// <summary>Builds a machine and loads its kernel.</summary>
    /// <exception cref="MachineConfigurationException">The kernel, the initrd, the memory size or the command line is unusable.</exception>
    public Machine(MachineOptions options)
        : this(options, TimeProvider.System)
    {
    }

    internal Machine(MachineOptions options, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        logger = options.Logger;
        Engine = ChooseEngine(options.Engine);
        EngineKind kind = Engine == Engine.Translator ? EngineKind.Translator : EngineKind.Interpreter;
        runner = options.Platform == MachinePlatform.Pc
            ? new PcRunner(options, kind, time, () => RequestEnd(MachineEnd.Quit))
            : new LguestRunner(options, kind, time, () => RequestEnd(MachineEnd.Quit));
        Meters.Add(this);
    }

    private Engine ChooseEngine(Engine wanted)
    {
        if (wanted == Engine.Interpreter)
        {
            return wanted;
        }
        if (wanted is not (Engine.Auto or Engine.Translator))
        {
            throw new MachineConfigurationException($"There is no engine {wanted}.");
        }
        if (Engines.CanTranslate(out string? whyNot))
        {
            return Engine.Translator;
        }
        if (wanted == Engine.Translator)
        {
            throw new MachineConfigurationException($"The translator cannot be had here: {whyNot}");
        }
        LogInterpreter(whyNot!);
        return Engine.Interpreter;
    }

    /// <summary>The engine that runs the Guest; never <see cref="Engine.Auto"/>.</summary>
    public Engine Engine { get; }

    /// <summary>What the Guest has cost so far. May be asked at any time.</summary>
    public MachineStatistics Statistics => statistics ?? runner.Statistics;

    /// <summary>Counts the bytes of host memory that the Guest's RAM and the tables which the Host keeps for it take by now. Not after disposal.</summary>
    public (long Guest, long Tables) CountResidentMemory()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        return runner.CountResidentMemory();
    }

    /// <summary>Runs the Guest to its end.</summary>
    /// <param name="cancellationToken">Stops the Guest: the result is then <see cref="MachineEnd.Stopped"/>, not an exception.</param>
    /// <returns>How the Guest ended.</returns>
    /// <exception cref="InvalidOperationException">The machine has already been run.</exception>
    /// <exception cref="MachineConfigurationException">The Host runs as many Guests as it may.</exception>
    /// <exception cref="IOException">Writing to <see cref="MachineOptions.ConsoleOutput"/> failed (or another exception of that stream).</exception>
    public async Task<MachineResult> RunAsync(CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (thread != null)
        {
            throw new InvalidOperationException("A machine runs only once.");
        }
        thread = new Thread(RunGuest) { IsBackground = true, Name = "lguest guest" };
        thread.Start();
        using CancellationTokenRegistration registration = cancellationToken.Register(() => RequestEnd(MachineEnd.Stopped));
        return await completion.Task.ConfigureAwait(false);
    }

    /// <summary>Whether the machine is paused, or about to be.</summary>
    public bool IsPaused => pause.IsClosed;

    /// <summary>Pauses the machine: the Guest executes nothing until <see cref="Resume"/>. Input for it waits, and so does its end by itself.</summary>
    /// <remarks>The Guest's clock goes on. A machine that has not been started will start paused. Other Guests may still send to this one.</remarks>
    /// <returns>Completes when the Guest stands still.</returns>
    public Task PauseAsync()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        Task standing = pause.Close();
        if (thread == null || completion.Task.IsCompleted)
        {
            return Task.CompletedTask;
        }
        runner.Call();
        return standing;
    }

    /// <summary>Lets a paused machine run on.</summary>
    public void Resume() => pause.Open();

    /// <summary>Says how large the console's terminal is, at the start and whenever that changes. May be called by any thread.</summary>
    /// <remarks>The virtio console of a PC tells its Guest; other consoles have no size.</remarks>
    /// <param name="columns">Characters of a line; 0 for both means that nobody knows, as before the first call.</param>
    /// <param name="rows">Lines.</param>
    public void ResizeConsole(ushort columns, ushort rows) => runner.ResizeConsole(columns, rows);

    /// <summary>Stops the Guest if it runs, and gives all memory back.</summary>
    public async ValueTask DisposeAsync()
    {
        if (disposed)
        {
            return;
        }
        disposed = true;
        if (thread != null)
        {
            RequestEnd(MachineEnd.Stopped);
            await ((Task)completion.Task).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            thread.Join();
        }
        Meters.Remove(this);
        statistics = Statistics;
        runner.Dispose();
    }

    private void RequestEnd(MachineEnd end)
    {
        Interlocked.CompareExchange(ref requestedEnd, new MachineResult(end, ""), null);
        ending.Cancel();
    }

    private void RunGuest()
    {
        try
        {
            MachineResult? result = runner.Run(pause, ending.Token) ?? requestedEnd;
            completion.SetResult(result ?? throw new InvalidOperationException("The Guest came back, and nobody had called it."));
        }
        catch (Exception error)
        {
            completion.SetException(error);
        }
        finally
        {
            pause.Open();
        }
    }

    [LoggerMessage(LogLevel.Warning, "The interpreter runs this Guest. {Reason}")]
    private partial void LogInterpreter(string reason);
}
