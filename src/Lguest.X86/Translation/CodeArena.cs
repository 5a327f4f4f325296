// Where translated code lives. Two streams go round in one block of executable memory: what runs often, and, apart from it, what runs
// once in a while (misses and exits), so that the former stays dense in the host's caches. Each is a ring (Ring.cs): a new translation is
// written where the oldest ones were. In front of them lies what all translations share, and stays.

using Lguest.Platform;
using Lguest.X86.Execution;

namespace Lguest.X86.Translation;

/// <summary>Executable memory with a hot and a cold stream. Addresses here are those of the write view, unless they say otherwise.</summary>
internal sealed unsafe class CodeArena : IDisposable
{
    /// <summary>The most that one block may take in either stream.</summary>
    public const int LargestBlock = 32 * 1024;

    private const int Alignment = 16;
    private const uint PageBytes = 4096;

    /// <summary>Bytes that a stream has committed at once.</summary>
    private const int Step = 256 * 1024;

    private readonly ExecutableMemory memory;
    private Stream hot;
    private Stream cold;

    /// <summary>One of the two.</summary>
    private struct Stream
    {
        public Emitter Emitter;
        public byte* Start;
        public byte* Committed;
        public Ring Ring;
        public uint Next;
    }

    /// <summary>Takes executable memory.</summary>
    /// <param name="size">Bytes, a multiple of 4096; the hot stream, which needs twice as much, gets two thirds.</param>
    /// <exception cref="PlatformNotSupportedException">This host's way to executable memory is not known.</exception>
    /// <exception cref="OutOfMemoryException">The host refuses.</exception>
    public CodeArena(nuint size)
    {
        memory = new ExecutableMemory(size);
        // SAFETY: both streams lie in the write view.
        unsafe
        {
            WriteToRun = (nint)(memory.Address - memory.WriteView);
            uint hotBytes = (uint)(size / PageBytes * 2 / 3 * PageBytes);
            hot = NewStream(memory.WriteView, hotBytes);
            cold = NewStream(memory.WriteView + hotBytes, (uint)size - hotBytes);
        }
        Begin();
    }

    /// <summary>Writes code that runs often.</summary>
    public Emitter Hot => hot.Emitter;

    /// <summary>Writes code that runs rarely.</summary>
    public Emitter Cold => cold.Emitter;

    /// <summary>What to add to an address in the write view to run the code there.</summary>
    public nint WriteToRun { get; }

    /// <summary>Whether a block can be written without touching the oldest translation that must stay.</summary>
    public bool HasRoom(Block* oldest)
    {
        // SAFETY: the caller's block is translated.
        unsafe
        {
            return hot.Ring.HasRoom(hot.Next, oldest->Translation.Hot) && cold.Ring.HasRoom(cold.Next, oldest->Translation.Cold);
        }
    }

    /// <summary>Begins a translation; there is room for it.</summary>
    public void Begin()
    {
        Begin(ref hot);
        Begin(ref cold);
    }

    /// <summary>Bytes that the present translation has taken so far, of the stream in which it has taken more.</summary>
    public long Written
    {
        get
        {
            // SAFETY: the addresses are only subtracted.
            unsafe
            {
                return Math.Max(hot.Emitter.Cursor - hot.Start - hot.Next, cold.Emitter.Cursor - cold.Start - cold.Next);
            }
        }
    }

    /// <summary>Ends a translation, and says where it is.</summary>
    public void End(ref BlockTranslation translation)
    {
        translation.Hot = End(ref hot);
        translation.Cold = End(ref cold);
    }

    /// <summary>What has been written so far is shared by all translations: the streams begin behind it.</summary>
    public void KeepWhatIsThere()
    {
        Align();
        // SAFETY: both stay inside the write view.
        unsafe
        {
            uint kept = (uint)(hot.Emitter.Cursor - hot.Start);
            hot.Start += kept;
            hot.Ring = hot.Ring with { Size = hot.Ring.Size - kept };
        }
    }

    /// <summary>Goes on at an address that the host fetches well from.</summary>
    public void Align()
    {
        // SAFETY: there is room for the largest block.
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

    private static Stream NewStream(byte* start, uint size)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            return new Stream { Emitter = new Emitter(), Start = start, Committed = start, Ring = new Ring(size, LargestBlock) };
        }
    }

    private void Begin(ref Stream stream)
    {
        // SAFETY: the memory cuts the range to its size.
        unsafe
        {
            stream.Emitter.Cursor = stream.Start + stream.Next;
            if (stream.Committed - stream.Emitter.Cursor < LargestBlock)
            {
                memory.Commit((nuint)(stream.Committed - memory.WriteView), Step);
                stream.Committed += Step;
            }
        }
    }

    private static uint End(ref Stream stream)
    {
        // SAFETY: the cursor is behind the place where the translation began.
        unsafe
        {
            uint begin = stream.Next;
            uint length = (uint)(stream.Emitter.Cursor - stream.Start) - begin;
            System.Diagnostics.Debug.Assert(length <= LargestBlock, "A translation fits its room.");
            // A block without exits would begin where the next one does, and the ring would seem full.
            stream.Next = stream.Ring.Behind(begin, Math.Max(length, 1));
            return begin;
        }
    }
}
