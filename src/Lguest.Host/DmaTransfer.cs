// One transfer from Guest to Guest. The sender's thread, or the courier's for a sender in another process, writes into the receiver's memory
// while the receiver runs on: its processor cannot be asked, so code that was decoded from the receiver's buffers is only noted here and
// forgotten by the receiver's own thread. Each side pays with its life for its own mistakes, and never for the other's.

using System.Buffers.Binary;

namespace Lguest.Host;

/// <summary>How a transfer went.</summary>
internal enum DmaVerdict : uint
{
    /// <summary>Nobody was there, or died before it began: the sender's used_len stays as it is.</summary>
    Nobody = 0,

    /// <summary>No buffer was free, and only then is it worth to try again.</summary>
    NoFreeBuffer = 1,

    /// <summary>The transfer is over; it may have had no bytes.</summary>
    Done = 2,

    /// <summary>The transfer came to the bad end of the parcel.</summary>
    BadParcel = 3,
}

/// <summary>How a transfer went.</summary>
/// <param name="Verdict">In one word.</param>
/// <param name="Transferred">Bytes that the receiver got.</param>
internal readonly record struct DmaOutcome(DmaVerdict Verdict, uint Transferred = 0);

/// <summary>Transfers between two Guests (ABI 10.6, shared keys).</summary>
internal static class DmaTransfer
{
    // L:380 The transfer. Find a free buffer, check it, copy, write the length, and raise the receiver's interrupt: in this order, for
    // the receiver may look at the length the moment it is there, and by then must see the bytes.
    //
    // Each side pays for its own mistakes. A receiver whose buffer is bad is killed, and the sender learns only that nothing arrived; a
    // sender whose list is bad is killed, and the receiver never hears of it. Read the checks in pairs.
    /// <summary>Puts a parcel into the next free buffer of a binding. The Host's lock must be held.</summary>
    /// <param name="parcel">What another Guest sends.</param>
    /// <param name="binding">A binding of the receiver.</param>
    /// <returns>What the sender must be told; its own memory is not touched here.</returns>
    public static DmaOutcome Deliver(DmaParcel parcel, DmaBinding binding)
    {
        if (parcel.End == DmaParcelEnd.Unreadable)
        {
            return new DmaOutcome(DmaVerdict.BadParcel);
        }
        Guest receiver = binding.Owner;
        if (!TryFindFree(binding, out uint element))
        {
            receiver.Io.Notify(binding.Irq);
            return new DmaOutcome(DmaVerdict.NoFreeBuffer);
        }
        Span<byte> buffer = stackalloc byte[(int)LguestAbi.DmaSize];
        if (receiver.IsDead || !receiver.Memory.TryReadBlock(element, buffer))
        {
            return new DmaOutcome(DmaVerdict.Nobody);
        }

        var target = new DmaList(buffer);
        if (target.FindFault(receiver.Memory) is { } fault)
        {
            receiver.Kill(fault);
            return new DmaOutcome(DmaVerdict.Done);
        }
        if (parcel.End == DmaParcelEnd.BadList)
        {
            return new DmaOutcome(DmaVerdict.BadParcel);
        }
        if (!IsMapped(target, receiver))
        {
            receiver.Kill(KillReason.MappingDmaPages);
            return new DmaOutcome(DmaVerdict.Done);
        }
        if (parcel.End == DmaParcelEnd.MissingMemory && target.TotalLength > parcel.Bytes.Length)
        {
            return new DmaOutcome(DmaVerdict.BadParcel);
        }
        uint transferred = Scatter(parcel.Bytes, target, receiver);
        if (transferred == 0 && !parcel.IsEmpty)
        {
            return new DmaOutcome(DmaVerdict.Done);
        }
        // The receiver may look at the length as soon as it is there; by then it must see the bytes.
        Interlocked.MemoryBarrier();
        Span<byte> usedLength = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(usedLength, transferred);
        if (receiver.Io.TryWriteFromPeer(element, usedLength))
        {
            binding.Cursor++;
            receiver.Io.Notify(binding.Irq);
        }
        else
        {
            receiver.Kill(KillReason.WritingRegisteredDma);
        }
        return new DmaOutcome(DmaVerdict.Done, transferred);
    }
    // :*

    /// <summary>Tells the sender how its transfer went. The sender's own thread.</summary>
    /// <param name="sender">The Guest.</param>
    /// <param name="address">Guest physical address of its lguest_dma.</param>
    /// <param name="parcel">What it sent.</param>
    /// <param name="outcome">How that went.</param>
    public static void Settle(Guest sender, uint address, DmaParcel parcel, DmaOutcome outcome)
    {
        if (outcome.Verdict == DmaVerdict.BadParcel)
        {
            sender.Kill(parcel.Fault!);
        }
        if (outcome.Verdict is DmaVerdict.Done or DmaVerdict.BadParcel)
        {
            // A list that could not be read cannot be written either, and its owner is dead by now.
            _ = sender.Memory.TryWrite(address, outcome.Transferred);
        }
    }

    /// <summary>Finds the first element from the cursor on that is not in use.</summary>
    /// <returns>False when all are in use; true also when the search killed the receiver.</returns>
    private static bool TryFindFree(DmaBinding binding, out uint element)
    {
        GuestMemory memory = binding.Owner.Memory;
        for (uint i = 0; i < binding.Count; i++)
        {
            element = binding.Array + ((binding.Cursor + i) % binding.Count * LguestAbi.DmaSize);
            if (!memory.InRange(element, LguestAbi.DmaSize) || !memory.TryRead(element, out uint usedLength))
            {
                binding.Owner.Kill(KillReason.BadRegisteredDma);
                return true;
            }
            if (usedLength == 0)
            {
                return true;
            }
        }
        element = 0;
        return false;
    }

    /// <summary>Whether memory is behind all sections, also behind those that the transfer will not reach.</summary>
    private static bool IsMapped(DmaList target, Guest receiver)
    {
        int count = target.Count;
        for (int i = 0; i < count; i++)
        {
            if (!receiver.Memory.IsMapped(target.Address(i) / LguestAbi.PageSize))
            {
                return false;
            }
        }
        return true;
    }

    // L:400 The copy. Whatever fits is copied, and the rest is not an error: sender and receiver see the length in the first word of
    // their lists.
    /// <summary>Copies until the bytes or the sections end, and returns how many bytes that were.</summary>
    private static uint Scatter(ReadOnlySpan<byte> bytes, DmaList target, Guest receiver)
    {
        int transferred = 0;
        int count = target.Count;
        for (int i = 0; i < count && transferred < bytes.Length; i++)
        {
            int length = Math.Min(bytes.Length - transferred, (int)target.Length(i));
            receiver.Io.TryWriteFromPeer(target.Address(i), bytes.Slice(transferred, length));
            transferred += length;
        }
        return (uint)transferred;
    }
    // :*
}
