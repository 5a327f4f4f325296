// How everything that is made of Guest code is kept within bounds: decoded blocks, their translations and the records of these lie in
// rings. A ring is filled from its beginning to its end and then again, and what stands in the way of the next piece is given up: the
// oldest first, one at a time, so that nobody ever waits for more to be given up than is about to be written.

namespace Lguest.X86.Execution;

/// <summary>The arithmetic of a piece of memory that is used in turns. Places are offsets from its beginning, in units of the caller's choice.</summary>
/// <param name="Size">Units in all.</param>
/// <param name="Largest">The most that is written at once; no more than <paramref name="Size"/>.</param>
internal readonly record struct Ring(uint Size, uint Largest)
{
    /// <summary>Where the next piece begins: behind the last, or at the beginning when the rest might be too short.</summary>
    /// <param name="begin">Where the last piece began.</param>
    /// <param name="length">Its length, not 0.</param>
    public uint Behind(uint begin, uint length)
    {
        uint end = begin + length;
        return Size - end < Largest ? 0 : end;
    }

    /// <summary>Whether the largest piece can be written.</summary>
    /// <param name="next">Where; a result of <see cref="Behind"/>, or 0.</param>
    /// <param name="oldest">Where the oldest piece begins that must stay.</param>
    public bool HasRoom(uint next, uint oldest) => oldest < next || oldest - next >= Largest;
}
