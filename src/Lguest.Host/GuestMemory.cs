// P:410 A Guest may be hostile. It chooses every number that it hands over, in a register, a page table or a DMA list, and it will choose
// the one that you did not think of. So there is only one way in which the Host touches a Guest's bytes: the methods of this file, each
// of which asks first whether the bytes are the Guest's own.
//
// Behind the Guest's last frame lies the Host's arena, from which it takes the page tables that the processor really walks. This check is
// what keeps them out of a Guest's reach. :*

using Lguest.Platform;
using Lguest.X86.Memory;

namespace Lguest.Host;

/// <summary>Guest physical memory: the only way in which the Host touches a Guest's bytes.</summary>
/// <remarks>Addresses are Guest physical, in bytes; every access is range-checked (ABI 1.3).
/// A refused access kills the Guest and yields zeroes: the Host never sees an exception.</remarks>
internal sealed class GuestMemory
{
    private readonly Guest guest;
    private readonly MachineMemory machine;
    private readonly ulong bytes;

    public GuestMemory(Guest guest, MachineMemory machine, uint pageLimit)
    {
        this.guest = guest;
        this.machine = machine;
        PageLimit = pageLimit;
        bytes = (ulong)machine.GuestFrames * LguestAbi.PageSize;
    }

    /// <summary>Number of pages that the Guest may name (pfn_limit).</summary>
    public uint PageLimit { get; }

    // L:305 The check that everything rests on. Three lines, and each has had its bug in some hypervisor: the addition may wrap around,
    // so the end is compared with the beginning; the limit counts pages; and the Launcher may have promised more pages than it has
    // mapped. An object that ends exactly at the limit is refused. That is harmless, and it is the law.
    /// <summary>The range check of ABI 1.3; an object that ends exactly at the limit is refused. There may be no memory behind it.</summary>
    public bool IsWithinLimit(uint address, uint length)
    {
        uint end = address + length;
        return end >= address && end / LguestAbi.PageSize < PageLimit;
    }

    /// <summary>The range check of ABI 1.3, and there is memory behind all of it.</summary>
    public bool InRange(uint address, uint length) => IsWithinLimit(address, length) && address + length <= bytes;
    // :*

    /// <summary>Whether a page has memory behind it: the Guest's limit may promise more than its Launcher mapped.</summary>
    public bool IsMapped(uint frame) => frame < machine.GuestFrames && !machine.FrameBytes(frame).IsEmpty;

    /// <summary>Reads a value; false, and zero, when the range check refuses.</summary>
    public bool TryRead<T>(uint address, out T value)
        where T : unmanaged
    {
        if (!InRange(address, Size<T>()))
        {
            value = default;
            return false;
        }
        value = machine.Read<T>(address);
        return true;
    }

    /// <summary>Writes a value; false when the range check refuses.</summary>
    public bool TryWrite<T>(uint address, T value)
        where T : unmanaged
    {
        if (!InRange(address, Size<T>()))
        {
            return false;
        }
        machine.Write(address, value);
        return true;
    }

    /// <summary>Reads a word; a refusal kills the Guest and yields zero.</summary>
    public uint ReadWord(uint address)
    {
        if (!TryRead(address, out uint value))
        {
            guest.Kill(KillReason.BadRead(address));
        }
        return value;
    }

    /// <summary>Writes a word; a refusal kills the Guest.</summary>
    public void WriteWord(uint address, uint value)
    {
        if (!TryWrite(address, value))
        {
            guest.Kill(KillReason.BadWrite(address));
        }
    }

    /// <summary>Reads a block; false when the range check refuses, and then the block is zero.</summary>
    public bool TryReadBlock(uint address, Span<byte> block)
    {
        if (!InRange(address, (uint)block.Length))
        {
            block.Clear();
            return false;
        }
        machine.Read(address, block);
        return true;
    }

    /// <summary>Reads a block; a refusal kills the Guest and yields zeroes.</summary>
    public void ReadBlock(uint address, Span<byte> block)
    {
        if (!TryReadBlock(address, block))
        {
            guest.Kill(KillReason.BadRead(address, (uint)block.Length));
        }
    }

    /// <summary>Writes a block; a refusal kills the Guest.</summary>
    public void WriteBlock(uint address, ReadOnlySpan<byte> block)
    {
        if (!InRange(address, (uint)block.Length))
        {
            guest.Kill(KillReason.BadWrite(address, (uint)block.Length));
            return;
        }
        machine.Write(address, block);
    }

    /// <summary>The bytes of a DMA section, which does not cross a page; empty when no memory is behind it. Any thread may read them.</summary>
    public ReadOnlySpan<byte> Section(uint address, uint length)
    {
        uint frame = address / LguestAbi.PageSize;
        return IsMapped(frame) ? machine.FrameBytes(frame).Slice((int)(address % LguestAbi.PageSize), (int)length) : [];
    }

    /// <summary>Writes a block for another Guest, on that one's thread; false when the range check refuses.</summary>
    /// <param name="address">Where.</param>
    /// <param name="block">What.</param>
    /// <param name="changedFrames">Takes the frames whose code this Guest's own thread must forget (<see cref="ForgetCode"/>).</param>
    public bool TryWriteFromPeer(uint address, ReadOnlySpan<byte> block, HashSet<uint> changedFrames)
    {
        if (!InRange(address, (uint)block.Length))
        {
            return false;
        }
        while (!block.IsEmpty)
        {
            uint frame = address / LguestAbi.PageSize;
            Span<byte> target = machine.FrameBytes(frame)[(int)(address % LguestAbi.PageSize)..];
            int length = Math.Min(block.Length, target.Length);
            block[..length].CopyTo(target);
            changedFrames.Add(frame);
            block = block[length..];
            address += (uint)length;
        }
        return true;
    }

    /// <summary>Drops what was decoded from a frame that another Guest has written to.</summary>
    public void ForgetCode(uint frame) => machine.ForgetCode(frame);

    /// <summary>Tells which page of which shared file is behind a frame; false when the frame is private.</summary>
    public bool TryGetSharedPage(uint frame, out SharedPage page) => machine.TryGetSharedPage(frame, out page);

    private static uint Size<T>()
        where T : unmanaged => (uint)System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
}
