// Pieces of a Guest's memory that belong together, as a list names them: the Guest scatters its data over its pages, and a device gathers
// them. Whoever makes such a list has checked every address in it; here the bytes are only found and moved.

using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices;

/// <summary>One piece.</summary>
/// <param name="Address">Guest physical address.</param>
/// <param name="Length">Bytes, which all belong to the Guest.</param>
internal readonly record struct GuestSection(uint Address, uint Length);

// L:208 Before the devices, what they all do with a Guest's memory. A list that a Guest sends names pieces of it: an address and a length
// each, wherever its pages happen to be. To a device they are one run of bytes, which it fills or empties, and here that run is made.
// Whoever made the list has checked every piece, so nothing is checked a second time; bytes are found, counted and moved, and pieces
// that lie behind one another in our own memory go to a file or a socket in one system call. :*
/// <summary>Pieces of Guest memory, in order, as one run of bytes.</summary>
internal readonly ref struct GuestSections
{
    private readonly MachineMemory memory;
    private readonly ReadOnlySpan<GuestSection> sections;
    private readonly uint skipped;

    /// <summary>Strings pieces together.</summary>
    /// <param name="memory">The Guest's memory.</param>
    /// <param name="sections">Pieces that have been checked.</param>
    public GuestSections(MachineMemory memory, ReadOnlySpan<GuestSection> sections)
    {
        this.memory = memory;
        this.sections = sections;
        foreach (GuestSection section in sections)
        {
            Length += section.Length;
        }
    }

    private GuestSections(MachineMemory memory, ReadOnlySpan<GuestSection> sections, uint skipped, long length)
    {
        this.memory = memory;
        this.sections = sections;
        this.skipped = skipped;
        Length = length;
    }

    /// <summary>Bytes of all pieces.</summary>
    public long Length { get; }

    /// <summary>A part of the run.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It is not inside.</exception>
    public GuestSections Slice(long start, long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - start);
        int first = 0;
        for (start += skipped; first < sections.Length && start >= sections[first].Length; first++)
        {
            start -= sections[first].Length;
        }
        return new GuestSections(memory, sections[first..], (uint)start, length);
    }

    /// <summary>The run as memory: neighbours that lie behind one another in the host's memory come as one.</summary>
    public Pieces GetEnumerator() => new(this);

    /// <summary>Says that the first bytes have been written through the enumerator.</summary>
    /// <param name="length">How many, at most <see cref="Length"/>.</param>
    public void Overwritten(long length)
    {
        uint start = skipped;
        for (int i = 0; i < sections.Length && length > 0; i++)
        {
            uint part = (uint)Math.Min(length, sections[i].Length - start);
            memory.Overwritten(sections[i].Address + start, part);
            length -= part;
            start = 0;
        }
    }

    /// <summary>Fills the run with zeroes.</summary>
    public void Clear()
    {
        foreach (Span<byte> piece in this)
        {
            piece.Clear();
        }
        Overwritten(Length);
    }

    /// <summary>Copies bytes out, from the first on, as many as there are and fit.</summary>
    /// <returns>How many.</returns>
    public int CopyTo(Span<byte> bytes)
    {
        int done = 0;
        foreach (Span<byte> piece in Slice(0, Math.Min(Length, bytes.Length)))
        {
            piece.CopyTo(bytes[done..]);
            done += piece.Length;
        }
        return done;
    }

    /// <summary>Copies bytes in, from the first on, as many as fit.</summary>
    /// <returns>How many.</returns>
    public int CopyFrom(ReadOnlySpan<byte> bytes)
    {
        int done = 0;
        foreach (Span<byte> piece in Slice(0, Math.Min(Length, bytes.Length)))
        {
            bytes.Slice(done, piece.Length).CopyTo(piece);
            done += piece.Length;
        }
        Overwritten(done);
        return done;
    }

    /// <summary>Walks through the memory of a run.</summary>
    internal ref struct Pieces
    {
        private readonly GuestSections run;
        private int next;
        private uint address;
        private uint rest;
        private long left;

        public Pieces(GuestSections run)
        {
            this.run = run;
            left = run.Length;
        }

        /// <summary>A run of bytes, never empty.</summary>
        public Span<byte> Current { get; private set; }

        /// <summary>Goes to the next run.</summary>
        public bool MoveNext()
        {
            for (; next < run.sections.Length; next++)
            {
                (uint start, uint length) = run.sections[next];
                if (next == 0)
                {
                    start += run.skipped;
                    length -= run.skipped;
                }
                if (rest != 0 && start != address + rest)
                {
                    break;
                }
                address = rest == 0 ? start : address;
                rest += length;
            }
            uint wanted = (uint)Math.Min(rest, left);
            if (wanted == 0)
            {
                return false;
            }
            Current = run.memory.Contiguous(address, wanted);
            if (Current.IsEmpty)
            {
                return false;
            }
            address += (uint)Current.Length;
            rest -= (uint)Current.Length;
            left -= Current.Length;
            return true;
        }
    }
}
