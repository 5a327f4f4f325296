// A machine of the PC platform. The Guest owns the whole processor and talks to chips, so there is little left to do here: load, connect the
// console, run, and say in words how it ended.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Virtio;
using Lguest.Launcher.Devices.Virtio.Console;
using Lguest.Launcher.Devices.Virtio.Entropy;
using Lguest.Pc.Board;
using Lguest.X86;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Pc;

/// <summary>Runs a Guest that knows nothing of us.</summary>
internal sealed partial class PcRunner : GuestRunner
{
    private readonly MachineOptions options;
    private readonly EngineKind engine;
    private readonly ILogger logger;
    private readonly ConsoleSwitch terminal;
    private readonly ConsolePort serial;
    private readonly VirtioConsoleDevice console;
    private MachineMemory memory;
    private volatile PcGuest guest;
    private long instructionsOfPastLives;
    private readonly VirtioDevice[] devices;

    // One for each device, set by its threads: it has input.
    private readonly bool[] waiting;

    /// <summary>Builds the machine and loads its image.</summary>
    /// <param name="options">What the user wants.</param>
    /// <param name="engine">The engine, chosen.</param>
    /// <param name="time">For the console.</param>
    /// <param name="quit">Called when the user wants to leave.</param>
    public PcRunner(MachineOptions options, EngineKind engine, TimeProvider time, Action quit)
        : base(!options.ResetEnds)
    {
        this.options = options;
        this.engine = engine;
        logger = options.Logger;
        terminal = new ConsoleSwitch(new ConsoleInput(options.ConsoleInput, time, logger) { QuitRequested = quit }, options.ConsoleOutput);
        serial = terminal.AddPort();
        serial.InputArrived = () => guest!.InputArrived();
        console = new VirtioConsoleDevice(terminal.AddPort());
        devices = OpenDevices(options, console);
        waiting = new bool[devices.Length];
        try
        {
            (memory, guest) = Load();
        }
        catch
        {
            CloseDevices(devices);
            throw;
        }
    }

    public override MachineStatistics Statistics
    {
        get
        {
            lock (Door)
            {
                return MachineStatistics.None with { Instructions = instructionsOfPastLives + guest.Processor.InstructionCount };
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

    // May kick a Guest that has just been replaced, which harms nobody: the new one asks for all reasons before it runs.
    public override void Call() => guest.Kick();

    public override void ResizeConsole(ushort columns, ushort rows) => console.Resize(columns, rows);

    protected override void StartDevices()
    {
        for (int i = 0; i < devices.Length; i++)
        {
            int number = i;
            devices[i].Start(() =>
            {
                // A full fence: the reason must be there before a Guest is chosen to be kicked.
                Interlocked.Exchange(ref waiting[number], true);
                Call();
            });
        }
        terminal.Start();
    }

    protected override void StopDevices()
    {
        foreach (VirtioDevice device in devices)
        {
            device.Stop();
        }
        terminal.Stop();
    }

    protected override MachineResult? RunOnce(PauseGate pause, CancellationToken ending)
    {
        using CancellationTokenRegistration registration = ending.UnsafeRegister(static runner => ((PcRunner)runner!).Call(), this);
        while (true)
        {
            pause.Pass(ending);
            if (ending.IsCancellationRequested)
            {
                return null;
            }
            DeliverInput();
            if (guest.Run() is PcEnd end)
            {
                return Describe(end);
            }
        }
    }

    /// <summary>As after a reset whose firmware cleared memory. Whoever called meanwhile is heard before the new Guest's first instruction.</summary>
    protected override void Restart()
    {
        lock (Door)
        {
            (MachineMemory oldMemory, PcGuest oldGuest) = (memory, guest);
            (memory, guest) = Load();
            // Now: input that a device gives back must not go to the old Guest.
            foreach (VirtioDevice device in devices)
            {
                device.Reset();
            }
            instructionsOfPastLives += oldGuest.Processor.InstructionCount;
            oldGuest.Dispose();
            oldMemory.Dispose();
        }
        guest.InputArrived();
        LogRestart();
    }

    public override void Dispose()
    {
        guest.Dispose();
        memory.Dispose();
        CloseDevices(devices);
    }

    private (MachineMemory Memory, PcGuest Guest) Load()
    {
        (MachineMemory loaded, Action<Processor> begin) = PcLoader.Load(options);
        try
        {
            var built = new PcGuest(loaded, new PcOptions
            {
                Console = new SerialConsole(terminal, serial),
                Processor = new ProcessorOptions { Engine = engine },
                Cards = [.. devices.Select(device => new VirtioPciFunction(device, loaded, logger))],
                HasDebugExit = options.ImageFormat != ImageFormat.Linux,
                TracedPorts = options.TracedPorts,
                PortTraced = options.TracedPorts.Count == 0 ? null : LogPort,
            });
            begin(built.Processor);
            return (loaded, built);
        }
        catch
        {
            loaded.Dispose();
            throw;
        }
    }

    /// <summary>What the user named, in that order, and behind it what every PC has: a source of random bytes and a console.</summary>
    private static VirtioDevice[] OpenDevices(MachineOptions options, VirtioConsoleDevice console)
    {
        if (options.Devices.Count > MachineOptions.MaximumDevices)
        {
            throw new MachineConfigurationException(
                $"{options.Devices.Count} devices are too many: a PC has room for {MachineOptions.MaximumDevices} besides its console.");
        }
        var opened = new List<VirtioDevice>();
        try
        {
            foreach (DeviceOptions device in options.Devices)
            {
                opened.Add(device.OpenVirtio(options.Logger));
            }
        }
        catch
        {
            CloseDevices(opened);
            throw;
        }
        return [.. opened, new EntropyDevice(), console];
    }

    private static void CloseDevices(IEnumerable<VirtioDevice> devices)
    {
        foreach (VirtioDevice device in devices)
        {
            device.Dispose();
        }
    }

    private void DeliverInput()
    {
        for (int i = 0; i < devices.Length; i++)
        {
            if (Interlocked.Exchange(ref waiting[i], false))
            {
                devices[i].DeliverInput();
            }
        }
    }

    private MachineResult Describe(PcEnd end)
    {
        ref CpuState state = ref guest.Processor.State;
        string place = $"CS 0x{state.Segments[(int)SegmentName.CS].Selector:x}, EIP 0x{state.Eip:x}";
        MachineResult result = end.Kind switch
        {
            PcEndKind.PowerOff => new MachineResult(MachineEnd.PowerOff, "power off"),
            PcEndKind.Reset => new MachineResult(MachineEnd.Reset, "reset"),
            PcEndKind.Halted => new MachineResult(MachineEnd.Halted, $"halted with interrupts off at {place}"),
            PcEndKind.DebugExit => new MachineResult(MachineEnd.ProgramExit, $"exit status {end.Status}") { Status = end.Status },
            // Kernels reset a machine by emptying the table of gates and raising an exception (Linux: reboot=t). An accident leaves its table.
            PcEndKind.Shutdown when state.Idtr.Limit == 0 => new MachineResult(MachineEnd.Reset, "reset"),
            _ => new MachineResult(MachineEnd.Death, $"triple fault at {place}, CR2 0x{state.Cr2:x}"),
        };
        LogEnd(result.Reason);
        return result;
    }

    [LoggerMessage(LogLevel.Information, "The Guest has ended: {Reason}")]
    private partial void LogEnd(string reason);

    [LoggerMessage(LogLevel.Information, "The Guest starts again.")]
    private partial void LogRestart();

    private void LogPort(ushort port, int size, uint value) => LogPortWrite(port, size, value);

    [LoggerMessage(LogLevel.Warning, "Port 0x{Port:x}: {Size} byte(s), 0x{Value:x}")]
    private partial void LogPortWrite(ushort port, int size, uint value);
}
