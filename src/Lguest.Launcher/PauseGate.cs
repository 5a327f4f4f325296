// A machine that pauses: its Guest's thread stands at this gate, between two runs of the Guest, until somebody opens it again. Nothing else
// has to know. Devices keep what comes in meanwhile, the Guest's timer expires and waits, and a Guest that is resumed finds that time has
// passed, as after the night that a suspended laptop has slept. (In 2007 the Host's freezer did this to the Launcher's process.)

namespace Lguest.Launcher;

// L:222 One thing between two turns: the gate at which a machine stands while it is paused. Since everything about a Guest happens on one
// thread, stopping that thread stops the Guest, its hypercalls and its devices at once, and there is no state to save.
/// <summary>Holds one thread back on demand.</summary>
internal sealed class PauseGate
{
    private readonly Lock door = new();
    private TaskCompletionSource? reached;
    private TaskCompletionSource? opened;

    /// <summary>Whether whoever comes is held back.</summary>
    public bool IsClosed
    {
        get
        {
            lock (door)
            {
                return opened != null;
            }
        }
    }

    /// <summary>Closes the gate.</summary>
    /// <returns>Completes when the thread stands at the gate, or has ended, or the gate was opened again.</returns>
    public Task Close()
    {
        lock (door)
        {
            reached ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            opened ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return reached.Task;
        }
    }

    /// <summary>Opens the gate.</summary>
    public void Open()
    {
        lock (door)
        {
            reached?.TrySetResult();
            opened?.TrySetResult();
            reached = null;
            opened = null;
        }
    }

    /// <summary>Passes the gate, once it is open or <paramref name="cancellation"/> has come.</summary>
    public void Pass(CancellationToken cancellation)
    {
        Task? wait;
        lock (door)
        {
            reached?.TrySetResult();
            wait = opened?.Task;
        }
        try
        {
            wait?.Wait(cancellation);
        }
        catch (OperationCanceledException)
        {
            // Who is called away need not wait for the gate.
        }
    }
}
