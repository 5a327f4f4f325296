// A machine of the lguest platform: the Host owns the processor, and the Launcher is at the other end of its door. Setup, devices and the
// run loop's second half (ABI 2.1 and 10.8) are here; what all machines have in common is Machine.

using Lguest.Host;
using Lguest.Launcher.Devices;
using Lguest.X86;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>Runs a Guest that knows lguest.</summary>
internal sealed partial class LguestRunner : GuestRunner
{
    private readonly MachineOptions options;
    private readonly ILogger logger;
    private readonly EngineKind engine;
    private MachineMemory memory;
    private GuestStart start;
    private LguestDevice lguest;
    private MachineStatistics pastLives = MachineStatistics.None;
    private Waker? waker;
    private readonly Device[] devices;
    private GuestPort port;
    private bool warnedOfUnknownKey;

    /// <summary>Builds the machine and loads its kernel.</summary>
    /// <param name="options">What the user wants.</param>
    /// <param name="engine">The engine, chosen.</param>
    /// <param name="time">For the console.</param>
    /// <param name="quit">Called when the user wants to leave.</param>
    public LguestRunner(MachineOptions options, EngineKind engine, TimeProvider time, Action quit)
        : base(!options.ResetEnds)
    {
        this.options = options;
        logger = options.Logger;
        this.engine = engine;
        var console = new ConsoleDevice(options.ConsoleInput, options.ConsoleOutput, time, logger) { QuitRequested = quit };
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
        port = new GuestPort(lguest, memory, devices);
    }

    public override MachineStatistics Statistics
    {
        get
        {
            lock (Door)
            {
                return pastLives.Plus(MachineStatistics.Of(lguest));
            }
        }
    }

    public override (long Guest, long Tables) CountResidentMemory()
    {
        lock (Door)
        {
            return memory.CountResident();
        }
    }

    // Only asks for the break: the Guest's thread takes it back on its way to the gate.
    public override void Call()
    {
        lock (Door)
        {
            lguest.Break(true, new CancellationToken(canceled: true));
        }
    }

    public override void Dispose()
    {
        lguest.Dispose();
        memory.Dispose();
        CloseDevices(devices);
    }

    protected override void StartDevices()
    {
        foreach (Device device in devices)
        {
            device.Start(Wake);
        }
    }

    protected override void StopDevices()
    {
        foreach (Device device in devices)
        {
            device.Stop();
        }
    }

    // L:186 On the thread that will be the Guest's: the memory is handed to the Host by INITIALIZE, the Waker starts, and the machine runs.
    // The devices wait for input already, and longer than this Guest lives: one that restarts finds them as they are. What they had before
    // there was a Waker is asked for at once.
    protected override MachineResult? RunOnce(PauseGate pause, CancellationToken ending)
    {
        LguestError error = lguest.Initialize(new InitializeRequest
        {
            Memory = memory,
            PageLimit = memory.GuestFrames,
            PageDirectory = start.PageDirectory,
            Start = start.Entry,
            PageOffset = start.PageOffset,
            Processor = new ProcessorOptions { Engine = engine },
        });
        if (error != LguestError.None)
        {
            throw new MachineConfigurationException(error == LguestError.NoSpace
                ? "The Host runs as many Guests as it may."
                : $"The Host refuses the Guest: {error}.");
        }
        using var present = new Waker(lguest, devices);
        SetWaker(present);
        try
        {
            if (devices.Any(static device => device.WaitingInput > 0))
            {
                Wake();
            }
            return Serve(pause, ending);
        }
        finally
        {
            SetWaker(null);
        }
    }

    protected override void Restart()
    {
        lock (Door)
        {
            pastLives = pastLives.Plus(MachineStatistics.Of(lguest));
            MachineMemory old = memory;
            (memory, start) = MachineBuilder.Build(options, devices);
            lguest.Dispose();
            old.Dispose();
            lguest = options.Host.Open();
            port = new GuestPort(lguest, memory, devices);
        }
    }

    private void SetWaker(Waker? present)
    {
        lock (Door)
        {
            waker = present;
        }
    }

    private void Wake()
    {
        lock (Door)
        {
            waker?.Wake();
        }
    }

    // L:220 The run loop of the Launcher, and the mirror image of the Host's. Each turn runs the Guest and sees why it came back: it sent
    // something, or somebody broke in because there is input, or it is dead, or we are called away. The break is taken back only when all
    // input has been handed over, and until then the Waker sleeps.
    private MachineResult? Serve(PauseGate pause, CancellationToken ending)
    {
        while (port.Death == null)
        {
            pause.Pass(ending);
            ReadResult read = lguest.Read(ending);
            switch (read.Error)
            {
                case LguestError.None when read.HasDma:
                    HandleOutput(read.DmaAddress, read.DmaKey);
                    break;
                case LguestError.None:
                    port.Fail(read.DeathReason!);
                    break;
                case LguestError.NoEntry:
                    // It died just now: the next read tells the reason.
                    break;
                case LguestError.TryAgain:
                    port.DeliverInput();
                    lguest.Break(false);
                    break;
                case LguestError.Interrupted when ending.IsCancellationRequested:
                    return null;
                default:
                    throw new InvalidOperationException($"Running the Guest failed: {read.Error}.");
            }
        }
        LogDeath(port.Death);
        return MachineResult.FromReason(port.Death);
    }

    // :*

    private void HandleOutput(uint address, uint key)
    {
        LogOutput(address, key);
        // Once: a Guest can do this a million times a second, and the warning goes to the user's terminal.
        if (!port.TryHandleOutput(address, key) && !warnedOfUnknownKey)
        {
            warnedOfUnknownKey = true;
            LogUnknownKey(key);
        }
    }

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

    [LoggerMessage(LogLevel.Information, "The Guest has ended: {Reason}")]
    private partial void LogDeath(string reason);

    [LoggerMessage(LogLevel.Trace, "Output: list at 0x{Address:x}, key 0x{Key:x}")]
    private partial void LogOutput(uint address, uint key);

    [LoggerMessage(LogLevel.Warning, "The Guest sent to key 0x{Key:x}, which no device watches.")]
    private partial void LogUnknownKey(uint key);
}
