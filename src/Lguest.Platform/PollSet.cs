// A thread that moves packets waits for several descriptors at once, and for other threads that have something for it to do. This is
// poll with one descriptor of its own, an eventfd, by which anybody can end the wait; who sets it while nobody waits pays no system call.

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>What a descriptor is ready for, with the values of <c>poll</c>.</summary>
[Flags]
public enum PollEvents : short
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>There is something to read.</summary>
    In = 1,

    /// <summary>There is something urgent to read.</summary>
    Priority = 2,

    /// <summary>Writing would not block.</summary>
    Out = 4,

    /// <summary>The descriptor has failed; reported without being asked for.</summary>
    Error = 8,

    /// <summary>The other end is gone; reported without being asked for.</summary>
    HangUp = 16,
}

/// <summary>Descriptors that one thread waits for. Linux only.</summary>
/// <remarks>All members belong to the waiting thread, but for <see cref="Wake"/>, which any thread may call until <see cref="Dispose"/>.</remarks>
public sealed partial class PollSet : IDisposable
{
    private const int Idle = 0;
    private const int Signalled = 1;
    private const int Waiting = 2;
    private const int OwnDescriptor = 0;

    private readonly EventFile eventFile = new();
    private PollDescriptor[] descriptors = new PollDescriptor[16];
    private int count;
    private int state;

    /// <summary>Makes an empty set.</summary>
    /// <exception cref="IOException">The host system has no event descriptor left.</exception>
    public PollSet()
    {
        descriptors[OwnDescriptor] = eventFile.Poll;
        Clear();
    }

    /// <summary>Takes all descriptors out.</summary>
    public void Clear() => count = OwnDescriptor + 1;

    /// <summary>Puts a descriptor in.</summary>
    /// <returns>The number by which <see cref="Returned"/> knows it until the next <see cref="Clear"/>.</returns>
    public int Add(int descriptor, PollEvents events)
    {
        if (count == descriptors.Length)
        {
            Array.Resize(ref descriptors, 2 * count);
        }
        descriptors[count] = new PollDescriptor { Descriptor = descriptor, Events = events };
        return count++;
    }

    /// <summary>Waits until a descriptor is ready, somebody calls <see cref="Wake"/>, or the time is over.</summary>
    /// <param name="milliseconds">The longest time; -1 for no end.</param>
    public void Wait(int milliseconds)
    {
        if (Interlocked.CompareExchange(ref state, Waiting, Idle) == Signalled)
        {
            milliseconds = 0;
        }
        if (Poll(descriptors, (nuint)count, milliseconds) < 0)
        {
            // Interrupted, or out of kernel memory: as if nothing were ready.
            foreach (ref PollDescriptor descriptor in descriptors.AsSpan(0, count))
            {
                descriptor.Returned = PollEvents.None;
            }
        }
        Volatile.Write(ref state, Idle);
        if (descriptors[OwnDescriptor].Returned != PollEvents.None)
        {
            eventFile.Clear();
        }
    }

    /// <summary>What a descriptor was ready for at the end of the last wait.</summary>
    public PollEvents Returned(int number) => descriptors[number].Returned;

    /// <summary>Ends the present wait, or the next one at once.</summary>
    public void Wake()
    {
        if (Interlocked.Exchange(ref state, Signalled) == Waiting)
        {
            eventFile.Signal();
        }
    }

    /// <summary>Releases the event descriptor.</summary>
    public void Dispose() => eventFile.Dispose();

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll([In, Out] PollDescriptor[] descriptors, nuint count, int milliseconds);
}
