// The Launcher: it builds a machine in an address space that is the Guest's memory, and then stands at the Guest's side for its whole life,
// serving its devices whenever the Host comes back from running it (ABI 2.1 and 10.8). What the original does in a process of its own, this
// class does on a thread of its own; death, which ends the process there, is a result here.

using Lguest.Launcher.Devices;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher;

/// <summary>A machine with one Guest in it.</summary>
/// <remarks>The constructor loads kernel and initrd; <see cref="RunAsync"/> runs the Guest to its end, once.</remarks>
public sealed partial class Machine : IAsyncDisposable, IInputPort
{
    private readonly ILogger logger;
    private readonly MachineMemory memory;
    private readonly GuestStart start;
    private readonly Func<MachineMemory, GuestStart, IGuestHost> openHost;
    private readonly ConsoleDevice console;
    private readonly Device[] devices;
    private readonly TaskCompletionSource<MachineResult> completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Thread? thread;
    private IGuestHost? host;
    private Waker? waker;
    private volatile MachineResult? requestedEnd;
    private string? death;
    private bool disposed;

    /// <summary>Builds a machine and loads its kernel.</summary>
    /// <exception cref="MachineConfigurationException">The kernel, the initrd, the memory size or the command line is unusable.</exception>
    public Machine(MachineOptions options)
        : this(options, static (_, _) => throw new NotSupportedException("The Host is not connected yet."), TimeProvider.System)
    {
    }

    internal Machine(MachineOptions options, Func<MachineMemory, GuestStart, IGuestHost> openHost, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(options);
        logger = options.Logger;
        this.openHost = openHost;
        Engine = options.Engine switch
        {
            Engine.Auto or Engine.Interpreter => Engine.Interpreter,
            _ => throw new MachineConfigurationException($"There is no engine {options.Engine}."),
        };
        console = new ConsoleDevice(options.ConsoleInput, options.ConsoleOutput, time, logger)
        {
            QuitRequested = () => RequestEnd(MachineEnd.Quit),
        };
        devices = [console];
        (memory, start) = MachineBuilder.Build(options, devices);
    }

    /// <summary>The engine that runs the Guest; never <see cref="Engine.Auto"/>.</summary>
    public Engine Engine { get; }

    /// <summary>Runs the Guest to its end.</summary>
    /// <param name="cancellationToken">Stops the Guest: the result is then <see cref="MachineEnd.Stopped"/>, not an exception.</param>
    /// <returns>How the Guest ended.</returns>
    /// <exception cref="InvalidOperationException">The machine has already been run.</exception>
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
        memory.Dispose();
    }

    bool IInputPort.TryGetBuffer(uint key, out DmaBuffer buffer, out uint irq)
    {
        irq = 0;
        buffer = default;
        if (!host!.TryGetDma(key, out uint address) || !TryReadList(address, out buffer))
        {
            return false;
        }
        irq = buffer.UsedLength;
        return true;
    }

    void IInputPort.Complete(in DmaBuffer buffer, uint length, uint irq)
    {
        buffer.UsedLength = length;
        if (!host!.TryRaiseInterrupt(irq))
        {
            death ??= $"interrupt {irq} refused";
        }
    }

    private void RequestEnd(MachineEnd end)
    {
        Interlocked.CompareExchange(ref requestedEnd, new MachineResult(end, ""), null);
        Volatile.Read(ref waker)?.Wake();
    }

    private void RunGuest()
    {
        try
        {
            completion.SetResult(OpenAndServe());
        }
        catch (Exception error)
        {
            completion.SetException(error);
        }
    }

    private MachineResult OpenAndServe()
    {
        // This thread opens the Host: it becomes the Guest's owner, the only one who may run it.
        using IGuestHost opened = host = openHost(memory, start);
        var watching = new Waker(() => opened.Break(true), devices);
        Volatile.Write(ref waker, watching);
        try
        {
            foreach (Device device in devices)
            {
                device.Start(watching.Wake);
            }
            if (requestedEnd != null)
            {
                watching.Wake();
            }
            return Serve(opened);
        }
        finally
        {
            foreach (Device device in devices)
            {
                device.DisposeAsync().AsTask().GetAwaiter().GetResult();
            }
            // A break that was asked for after the last run must not hold the Waker back.
            Volatile.Write(ref waker, null);
            watching.End(() => opened.Break(false));
        }
    }

    private MachineResult Serve(IGuestHost guest)
    {
        while (death == null)
        {
            RunOutcome outcome = guest.Run();
            switch (outcome.Event)
            {
                case RunEvent.Dma:
                    HandleOutput(outcome.Address, outcome.Key);
                    break;
                case RunEvent.Break:
                    if (requestedEnd is MachineResult end)
                    {
                        return end;
                    }
                    foreach (Device device in devices)
                    {
                        device.DeliverInput(this);
                    }
                    guest.Break(false);
                    break;
                case RunEvent.Death:
                    LogDeath(outcome.Reason);
                    return MachineResult.FromReason(outcome.Reason);
            }
        }
        LogDeath(death);
        return MachineResult.FromReason(death);
    }

    private void HandleOutput(uint address, uint key)
    {
        LogOutput(address, key);
        foreach (Device device in devices)
        {
            if (device.OutputKey == key)
            {
                if (TryReadList(address, out DmaBuffer buffer))
                {
                    buffer.UsedLength = device.HandleOutput(buffer);
                }
                return;
            }
        }
        LogUnknownKey(key);
    }

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

    [LoggerMessage(LogLevel.Warning, "The Guest sent to key 0x{Key:x}, which no device watches.")]
    private partial void LogUnknownKey(uint key);
}
