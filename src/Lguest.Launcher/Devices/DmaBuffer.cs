// The one way in which bytes pass between a Guest and its devices: a list of at most 16 pieces of Guest memory with a word that says how
// many bytes went through (ABI 10.2). The Guest fills the list in, so every address in it is suspect until it has been checked here.

using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using Lguest.X86.Memory;

namespace Lguest.Launcher.Devices;

/// <summary>A checked <c>lguest_dma</c>: every piece lies below the first address that the Guest may not touch.</summary>
internal readonly struct DmaBuffer
{
    private const uint Size = 100;
    private const uint AddressesOffset = 4;
    private const uint LengthsOffset = 68;
    private const int MaximumSections = 16;

    private readonly MachineMemory memory;
    private readonly uint address;
    private readonly Sections sections;
    private readonly int count;

    private DmaBuffer(MachineMemory memory, uint address)
    {
        this.memory = memory;
        this.address = address;
        for (; count < MaximumSections; count++)
        {
            var section = new GuestSection(memory.Read<uint>(address + AddressesOffset + (4 * (uint)count)),
                memory.Read<ushort>(address + LengthsOffset + (2 * (uint)count)));
            if (section.Length == 0)
            {
                break;
            }
            sections[count] = section;
            Length += (int)section.Length;
        }
    }

    /// <summary>Bytes that the pieces hold together.</summary>
    public int Length { get; }

    /// <summary>The first word: 0 while the buffer is free, else a count of bytes or, fresh from GETDMA, an interrupt number.</summary>
    public uint UsedLength
    {
        get => memory.Read<uint>(address);
        set => memory.Write(address, value);
    }

    // L:209 The Launcher, too, follows addresses that the Guest has written, and this is the only gate for that: a list of at most
    // sixteen places, each of which is checked when the list is read, and then used as often as one likes. It is the same rule as in the
    // Host, and the same reason: the Guest wrote it.
    /// <summary>Reads a list and checks it as the Launcher checks everything that a Guest names (ABI 10.8).</summary>
    /// <param name="memory">The Guest's memory.</param>
    /// <param name="address">Guest physical address of the list.</param>
    /// <param name="buffer">The list, when it is good.</param>
    /// <param name="badAddress">The offending address, when it is not.</param>
    public static bool TryRead(MachineMemory memory, uint address, out DmaBuffer buffer, out uint badAddress)
    {
        buffer = default;
        badAddress = address;
        if (!IsAllowed(memory, address, Size))
        {
            return false;
        }
        buffer = new DmaBuffer(memory, address);
        for (int i = 0; i < buffer.count; i++)
        {
            badAddress = buffer.sections[i].Address;
            if (!IsAllowed(memory, badAddress, buffer.sections[i].Length))
            {
                return false;
            }
        }
        return true;
    }
    // :*

    /// <summary>The pieces as memory.</summary>
    [UnscopedRef]
    public GuestSections Pieces => new(memory, ((ReadOnlySpan<GuestSection>)sections)[..count]);

    /// <summary>Copies the pieces out, one behind the other; <paramref name="bytes"/> has <see cref="Length"/> bytes.</summary>
    public void CopyTo(Span<byte> bytes) => Pieces.CopyTo(bytes);

    /// <summary>Fills the pieces from the front on with at most <see cref="Length"/> bytes.</summary>
    public void CopyFrom(ReadOnlySpan<byte> bytes) => Pieces.CopyFrom(bytes);

    private static bool IsAllowed(MachineMemory memory, uint address, uint size) =>
        address + (ulong)size < memory.GuestFrames * (ulong)MachineMemory.FrameSize;

    [InlineArray(MaximumSections)]
    private struct Sections
    {
        private GuestSection element;
    }
}
