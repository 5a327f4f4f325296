// How instructions touch memory: by linear address, through the soft-TLB when it knows the page and through the page tables when it
// does not. This is the reference path; the interpreter's fast forms probe the same TLB inline and come here for everything else.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Lguest.X86.Memory;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    /// <summary>Reads a value at a linear address with the rights of the current privilege level.</summary>
    /// <exception cref="Execution.GuestFault">The page tables refuse.</exception>
    internal T ReadLinear<T>(uint linear)
        where T : unmanaged => Read<T>(currentTlb, linear);

    /// <summary>Writes a value at a linear address with the rights of the current privilege level; all of it or nothing.</summary>
    /// <exception cref="Execution.GuestFault">The page tables refuse.</exception>
    internal void WriteLinear<T>(uint linear, T value)
        where T : unmanaged => Write(currentTlb, linear, value);

    /// <summary>Reads as the processor itself does when it needs a descriptor or a TSS: with supervisor rights.</summary>
    /// <exception cref="Execution.GuestFault">The page tables refuse.</exception>
    internal T ReadSystem<T>(uint linear)
        where T : unmanaged => TryReadKnownSystem(linear, out T value) ? value : ReadNewSystem<T>(linear);

    /// <summary>The same, if the page is known to the soft-TLB.</summary>
    private bool TryReadKnownSystem<T>(uint linear, out T value)
        where T : unmanaged
    {
        // SAFETY: as in Read.
        unsafe
        {
            TlbEntry* entry = currentSpace.Supervisor.System + ((linear >> 12) % SoftTlb.SystemEntries);
            bool known = entry->ReadTag == ((linear + (uint)sizeof(T) - 1) & PageMask);
            value = known ? Unsafe.ReadUnaligned<T>((byte*)(entry->Addend + (nint)linear)) : default;
            return known;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private T ReadNewSystem<T>(uint linear)
        where T : unmanaged
    {
        // SAFETY: both indices are reduced modulo the arrays' lengths.
        unsafe
        {
            SoftTlb tlb = currentSpace.Supervisor;
            T value = Read<T>(tlb, linear);
            TlbEntry* entry = tlb.Data + ((linear >> 12) % SoftTlb.Entries);
            if (entry->ReadTag == (linear & PageMask))
            {
                tlb.System[(linear >> 12) % SoftTlb.SystemEntries] = *entry;
            }
            return value;
        }
    }

    /// <summary>Writes with supervisor rights.</summary>
    internal void WriteSystem<T>(uint linear, T value)
        where T : unmanaged => Write(currentSpace.Supervisor, linear, value);

    /// <summary>Faults now if a later write of this length would: instructions that read first and write last check here first.</summary>
    internal void ProbeWrite(uint linear, uint length)
    {
        uint last = linear + length - 1;
        Require(currentTlb, linear, true);
        if ((linear ^ last) >> 12 != 0)
        {
            Require(currentTlb, last & 0xFFFF_F000, true);
        }
    }

    private void Require(SoftTlb tlb, uint linear, bool write)
    {
        // SAFETY: the index is reduced modulo the TLB's length.
        unsafe
        {
            TlbEntry* entry = tlb.Data + ((linear >> 12) % SoftTlb.Entries);
            if ((write ? entry->WriteTag : entry->ReadTag) == (linear & 0xFFFF_F000))
            {
                return;
            }
        }
        if (!TryFillData(tlb, linear, write, out _))
        {
            throw guestFault;
        }
    }

    private T Read<T>(SoftTlb tlb, uint linear)
        where T : unmanaged
    {
        // SAFETY: a matching tag means that the whole access lies in a page whose host address the entry holds.
        unsafe
        {
            TlbEntry* entry = tlb.Data + ((linear >> 12) % SoftTlb.Entries);
            if (entry->ReadTag == ((linear + (uint)sizeof(T) - 1) & 0xFFFF_F000))
            {
                return Unsafe.ReadUnaligned<T>((byte*)(entry->Addend + (nint)linear));
            }
            return ReadSlow<T>(tlb, linear);
        }
    }

    private void Write<T>(SoftTlb tlb, uint linear, T value)
        where T : unmanaged
    {
        // SAFETY: as in Read; a matching write tag also means that nobody needs to hear of the write.
        unsafe
        {
            TlbEntry* entry = tlb.Data + ((linear >> 12) % SoftTlb.Entries);
            if (entry->WriteTag == ((linear + (uint)sizeof(T) - 1) & 0xFFFF_F000))
            {
                Unsafe.WriteUnaligned((byte*)(entry->Addend + (nint)linear), value);
                return;
            }
            WriteSlow(tlb, linear, value);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private T ReadSlow<T>(SoftTlb tlb, uint linear)
        where T : unmanaged
    {
        NoteDataAccess(linear, (uint)sizeof(T), false);
        if (!TryFillData(tlb, linear, false, out uint physical))
        {
            throw guestFault;
        }
        uint firstPart = MachineMemory.FrameSize - (linear & 0xFFF);
        if (firstPart >= (uint)sizeof(T))
        {
            return memory.Read<T>(physical);
        }
        if (!TryFillData(tlb, linear + firstPart, false, out uint secondPhysical))
        {
            throw guestFault;
        }
        T value;
        Unsafe.SkipInit(out value);
        Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref value));
        memory.Read(physical, bytes[..(int)firstPart]);
        memory.Read(secondPhysical, bytes[(int)firstPart..]);
        return value;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void WriteSlow<T>(SoftTlb tlb, uint linear, T value)
        where T : unmanaged
    {
        if (!TryFillData(tlb, linear, true, out uint physical))
        {
            throw guestFault;
        }
        uint firstPart = MachineMemory.FrameSize - (linear & 0xFFF);
        if (firstPart >= (uint)sizeof(T))
        {
            memory.Write(physical, value);
        }
        else
        {
            if (!TryFillData(tlb, linear + firstPart, true, out uint secondPhysical))
            {
                throw guestFault;
            }
            Span<byte> bytes = MemoryMarshal.AsBytes(new Span<T>(ref value));
            memory.Write(physical, bytes[..(int)firstPart]);
            memory.Write(secondPhysical, bytes[(int)firstPart..]);
        }
        NoteDataAccess(linear, (uint)sizeof(T), true);
    }
}
