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
// from running it (ABI 2.1 and 10.8). :*

using Lguest.Host;
using Lguest.Launcher.Devices;
using Lguest.X86;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>A machine with one Guest in it.</summary>
/// <remarks>The constructor loads kernel and initrd; <see cref="RunAsync"/> runs the Guest to its end, once.</remarks>
public sealed partial class Machine : IAsyncDisposable, IDevicePort
{
    private readonly ILogger logger;
    private readonly MachineMemory memory;
    private readonly GuestStart start;
    private readonly LguestDevice lguest;
    private readonly Device[] devices;
    private readonly CancellationTokenSource ending = new();
    private readonly PauseGate pause = new();
    private readonly TaskCompletionSource<MachineResult> completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Thread? thread;
    private MachineResult? requestedEnd;
    private MachineStatistics? statistics;
    private string? death;
    private bool warnedOfUnknownKey;
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
        var console = new ConsoleDevice(options.ConsoleInput, options.ConsoleOutput, time, logger)
        {
            QuitRequested = () => RequestEnd(MachineEnd.Quit),
        };
        devices = OpenDevices(options, console);
        try
        {
            (memory, start) = MachineBuilder.Build(options, devices);
        }
        catch
        {
            CloseDevices(devices);
            throw;
        }
        lguest = options.Host.Open();
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
    public MachineStatistics Statistics => statistics ?? MachineStatistics.Of(lguest);

    /// <summary>Counts the bytes of host memory that the Guest's RAM and the tables which the Host keeps for it take by now. Not after disposal.</summary>
    public (long Guest, long Tables) CountResidentMemory()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        return memory.CountResident();
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
        // Only asks for the break: the Guest's thread takes it back on its way to the gate.
        lguest.Break(true, new CancellationToken(canceled: true));
        return standing;
    }

    /// <summary>Lets a paused machine run on.</summary>
    public void Resume() => pause.Open();

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
        lguest.Dispose();
        memory.Dispose();
        CloseDevices(devices);
    }

    bool IDevicePort.TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq)
    {
        irq = 0;
        buffer = default;
        if (lguest.GetDma(key, out uint address) != LguestError.None || !TryReadList(address, out buffer))
        {
            return false;
        }
        irq = buffer.UsedLength;
        return true;
    }

    void IDevicePort.Complete(in DmaBuffer buffer, uint length, uint irq)
    {
        buffer.UsedLength = length;
        // A Guest that has died meanwhile, perhaps of its peer's transfer, has a reason of its own: the next read tells it.
        if (lguest.Irq(irq) == LguestError.InvalidArgument)
        {
            death ??= $"interrupt {irq} refused";
        }
    }

    void IDevicePort.Fail(string reason) => death ??= reason;

    private static Device[] OpenDevices(MachineOptions options, Device console)
    {
        if (options.Devices.Count > MachineOptions.MaximumDevices)
        {
            throw new MachineConfigurationException(
                $"{options.Devices.Count} devices are too many: a Guest has room for {MachineOptions.MaximumDevices} besides its console.");
        }
        var opened = new List<Device>();
        try
        {
            foreach (DeviceOptions device in options.Devices)
            {
                opened.Add(device.Open(options.Logger));
            }
        }
        catch
        {
            CloseDevices(opened);
            throw;
        }
        return [.. opened, console];
    }

    private static void CloseDevices(IEnumerable<Device> devices)
    {
        foreach (Device device in devices)
        {
            device.Dispose();
        }
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
            completion.SetResult(InitializeAndServe());
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

    // L:186 On the thread that will be the Guest's: the memory is handed to the Host by INITIALIZE, the Waker starts, the devices begin
    // to wait for input, and the machine runs. The finally clause is the other half of the story. However the Guest ends, the devices
    // stop first and the Waker afterwards, since devices call the Waker.
    private MachineResult InitializeAndServe()
    {
        LguestError error = lguest.Initialize(new InitializeRequest
        {
            Memory = memory,
            PageLimit = memory.GuestFrames,
            PageDirectory = start.PageDirectory,
            Start = start.Entry,
            PageOffset = start.PageOffset,
            Processor = new ProcessorOptions { Engine = Engine == Engine.Translator ? EngineKind.Translator : EngineKind.Interpreter },
        });
        if (error != LguestError.None)
        {
            throw new MachineConfigurationException(error == LguestError.NoSpace
                ? "The Host runs as many Guests as it may."
                : $"The Host refuses the Guest: {error}.");
        }

        using var waker = new Waker(lguest, devices);
        try
        {
            foreach (Device device in devices)
            {
                device.Start(waker.Wake);
            }
            return Serve();
        }
        finally
        {
            foreach (Device device in devices)
            {
                device.Stop();
            }
        }
    }

    // L:220 The run loop of the Launcher, and the mirror image of the Host's. Each turn runs the Guest and sees why it came back: it sent
    // something, or somebody broke in because there is input, or it is dead, or we are called away. The break is taken back only when all
    // input has been handed over, and until then the Waker sleeps.
    private MachineResult Serve()
    {
        while (death == null)
        {
            pause.Pass(ending.Token);
            ReadResult read = lguest.Read(ending.Token);
            switch (read.Error)
            {
                case LguestError.None when read.HasDma:
                    HandleOutput(read.DmaAddress, read.DmaKey);
                    break;
                case LguestError.None:
                    death = read.DeathReason;
                    break;
                case LguestError.NoEntry:
                    // It died just now: the next read tells the reason.
                    break;
                case LguestError.TryAgain:
                    foreach (Device device in devices)
                    {
                        device.DeliverInput(this);
                    }
                    lguest.Break(false);
                    break;
                case LguestError.Interrupted when requestedEnd is MachineResult end:
                    return end;
                default:
                    throw new InvalidOperationException($"Running the Guest failed: {read.Error}.");
            }
        }
        LogDeath(death);
        return MachineResult.FromReason(death);
    }

    // L:210 The Guest has sent a list to a key. Each device watches one key, which is the address of its first page, or 0 for the
    // console. A key that no device watches is not an error: the Guest talks to somebody who is not there.
    //
    // When the device has taken what it wants, the number of bytes goes into the first word of the list, where the Guest's driver expects
    // it.
    private void HandleOutput(uint address, uint key)
    {
        LogOutput(address, key);
        foreach (Device device in devices)
        {
            if (device.OutputKey == key)
            {
                if (TryReadList(address, out DmaBuffer buffer))
                {
                    buffer.UsedLength = device.HandleOutput(buffer, this);
                }
                // The Guest is stopped anyhow, and who has just sent is often ready to receive.
                if (device.WaitingInput > 0)
                {
                    device.DeliverInput(this);
                }
                return;
            }
        }
        // Once: a Guest can do this a million times a second, and the warning goes to the user's terminal.
        if (!warnedOfUnknownKey)
        {
            warnedOfUnknownKey = true;
            LogUnknownKey(key);
        }
    }
    // :*

    private bool TryReadList(uint address, out DmaBuffer buffer)
    {
        if (DmaBuffer.TryRead(memory, address, out buffer, out uint badAddress))
        {
            return true;
        }
        death ??= $"invalid address {badAddress}";
        return false;
    }

    [LoggerMessage(LogLevel.Information, "The Guest has ended: {Reason}")]
    private partial void LogDeath(string reason);

    [LoggerMessage(LogLevel.Trace, "Output: list at 0x{Address:x}, key 0x{Key:x}")]
    private partial void LogOutput(uint address, uint key);

    [LoggerMessage(LogLevel.Warning, "The interpreter runs this Guest. {Reason}")]
    private partial void LogInterpreter(string reason);

    [LoggerMessage(LogLevel.Warning, "The Guest sent to key 0x{Key:x}, which no device watches.")]
    private partial void LogUnknownKey(uint key);
}
