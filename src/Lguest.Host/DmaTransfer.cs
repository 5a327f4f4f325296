// One transfer from Guest to Guest. The sender's thread does all of it, in both memories, while the receiver runs on: its processor cannot be
// asked, so code that was decoded from the receiver's buffers is only noted here and forgotten by the receiver's own thread. Each side
// pays with its life for its own mistakes, and never for the other's.

namespace Lguest.Host;

/// <summary>Transfers between two Guests (ABI 10.6, shared keys).</summary>
internal static class DmaTransfer
{
    /// <summary>Transfers what the sender's list names into the next free buffer of a binding. The Host's lock must be held.</summary>
    /// <param name="sender">The Guest whose thread this is.</param>
    /// <param name="list">Guest physical address of the sender's lguest_dma.</param>
    /// <param name="binding">A binding of another Guest.</param>
    /// <returns>False when no buffer was free, and only then is it worth to try again.</returns>
    public static bool TryDeliver(Guest sender, uint list, DmaBinding binding)
    {
        Span<byte> sent = stackalloc byte[(int)LguestAbi.DmaSize];
        if (!sender.Memory.TryReadBlock(list, sent))
        {
            sender.Kill(KillReason.BadRead(list, LguestAbi.DmaSize));
            return true;
        }
        Guest receiver = binding.Owner;
        if (!TryFindFree(binding, out uint element))
        {
            receiver.Io.Notify(binding.Irq);
            return false;
        }
        Span<byte> buffer = stackalloc byte[(int)LguestAbi.DmaSize];
        if (receiver.IsDead || !receiver.Memory.TryReadBlock(element, buffer))
        {
            return true;
        }

        var source = new DmaList(sent);
        uint transferred = Copy(sender, source, receiver, new DmaList(buffer));
        sender.Memory.WriteWord(list, transferred);
        if (transferred == 0 && source.Count != 0)
        {
            return true;
        }
        // The receiver may look at the length as soon as it is there; by then it must see the bytes.
        Interlocked.MemoryBarrier();
        Span<byte> usedLength = stackalloc byte[sizeof(uint)];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(usedLength, transferred);
        if (!receiver.Io.TryWriteFromPeer(element, usedLength))
        {
            receiver.Kill(KillReason.WritingRegisteredDma);
            return true;
        }
        binding.Cursor++;
        receiver.Io.Notify(binding.Irq);
        return true;
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

    /// <summary>Copies until either list ends; 0 when a list was bad, and then its owner is dead.</summary>
    private static uint Copy(Guest sender, DmaList source, Guest receiver, DmaList target)
    {
        if (!target.Check(receiver) || !source.Check(sender))
        {
            return 0;
        }
        int sourceCount = source.Count;
        int targetCount = target.Count;
        for (int i = 0; i < targetCount; i++)
        {
            if (!receiver.Memory.IsMapped(target.Address(i) / LguestAbi.PageSize))
            {
                receiver.Kill(KillReason.MappingDmaPages);
                return 0;
            }
        }

        uint transferred = 0;
        int from = 0;
        uint targetOffset = 0;
        ReadOnlySpan<byte> rest = [];
        for (int to = 0; to < targetCount;)
        {
            if (rest.IsEmpty)
            {
                if (from == sourceCount)
                {
                    break;
                }
                rest = sender.Memory.Section(source.Address(from), source.Length(from));
                if (rest.IsEmpty)
                {
                    sender.Kill(KillReason.BadSendingDma);
                    return 0;
                }
                from++;
            }
            uint length = Math.Min((uint)rest.Length, target.Length(to) - targetOffset);
            receiver.Io.TryWriteFromPeer(target.Address(to) + targetOffset, rest[..(int)length]);
            rest = rest[(int)length..];
            transferred += length;
            targetOffset += length;
            if (targetOffset == target.Length(to))
            {
                targetOffset = 0;
                to++;
            }
        }
        return transferred;
    }
}
