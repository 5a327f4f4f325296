// Where translated code lives. Two streams grow through one block of executable memory: what runs often, and, apart from it, what runs
// once in a while (misses, exits, patched entries), so that the former stays dense in the host's caches. When either is full, everything
// is dropped at once and the blocks that are still hot are translated again; emitting is so much faster than the first execution of most
// code that a cleverer eviction has nothing to win.

using Lguest.Platform;

namespace Lguest.X86.Translation;

/// <summary>Executable memory with a hot and a cold stream. Addresses here are those of the view that runs, unless they say otherwise.</summary>
internal sealed unsafe class CodeArena : IDisposable
{
    /// <summary>The most that one block may take in either stream.</summary>
    public const int LargestBlock = 64 * 1024;

    private const int Alignment = 16;

    /// <summary>Bytes that a stream has committed at once.</summary>
    private const int Step = 256 * 1024;

    private readonly ExecutableMemory memory;
    private readonly byte* coldStart;
    private readonly byte* end;
    private byte* hotReset;
    private byte* coldReset;
    private byte* hotCommitted;
    private byte* coldCommitted;

    /// <summary>Takes executable memory.</summary>
    /// <param name="size">Bytes, a multiple of 8192.</param>
    /// <exception cref="PlatformNotSupportedException">This host's way to executable memory is not known.</exception>
    /// <exception cref="OutOfMemoryException">The host refuses.</exception>
    public CodeArena(nuint size)
    {
        memory = new ExecutableMemory(size);
        // SAFETY: all three addresses lie in the write view or just behind it.
        unsafe
        {
            byte* hotStart = memory.WriteView;
            coldStart = hotStart + (size / 2);
            end = hotStart + size;
            WriteToRun = (nint)(memory.Address - memory.WriteView);
            Hot = new Emitter { Cursor = hotStart };
            Cold = new Emitter { Cursor = coldStart };
            hotReset = hotCommitted = hotStart;
            coldReset = coldCommitted = coldStart;
            Prepare();
        }
    }

    /// <summary>Writes code that runs often.</summary>
    public Emitter Hot { get; }

    /// <summary>Writes code that runs rarely.</summary>
    public Emitter Cold { get; }

    /// <summary>What to add to an address in the write view to run the code there.</summary>
    public nint WriteToRun { get; }

    /// <summary>Whether a block can be written without a flush.</summary>
    public bool HasRoom => coldStart - Hot.Cursor >= LargestBlock && end - Cold.Cursor >= LargestBlock;

    /// <summary>Sees to it that the next block finds its pages there.</summary>
    public void Prepare()
    {
        // SAFETY: the addresses are only compared and subtracted.
        unsafe
        {
            Prepare(Hot, ref hotCommitted);
            Prepare(Cold, ref coldCommitted);
        }
    }

    private void Prepare(Emitter stream, ref byte* committed)
    {
        // SAFETY: as above; the memory cuts the range to its size.
        unsafe
        {
            if (committed - stream.Cursor < LargestBlock)
            {
                memory.Commit((nuint)(committed - memory.WriteView), Step);
                committed += Step;
            }
        }
    }

    /// <summary>What has been written so far survives a flush.</summary>
    public void KeepWhatIsThere()
    {
        // SAFETY: both stay inside the write view.
        unsafe
        {
            hotReset = Hot.Cursor;
            coldReset = Cold.Cursor;
        }
    }

    /// <summary>Drops all blocks.</summary>
    public void Flush()
    {
        Hot.Cursor = hotReset;
        Cold.Cursor = coldReset;
    }

    /// <summary>Begins the next block at an address that the host fetches well from.</summary>
    public void Align()
    {
        // SAFETY: HasRoom left room.
        unsafe
        {
            while ((nint)Hot.Cursor % Alignment != 0)
            {
                Hot.Byte(0xCC);
            }
        }
    }

    /// <summary>Gives the memory back; no code of it may be running.</summary>
    public void Dispose() => memory.Dispose();
}
