// P:300 I/O: how bytes leave a Guest and how they come in. Real devices are talked to through registers, and each has its own. A Guest of
// lguest has just one way: it *sends* a list of buffers to a key, or it *binds* lists of buffers to a key and waits until they are
// filled. Whoever else knows the key is the peer. This is called DMA here, since the bytes move without the processor of the Guest having
// a part in it.
//
// A key is an address, and what it means is decided by the page behind it: a page of the Guest's own makes the Launcher the peer, a page
// of a file that other Guests map too makes one of them the peer. With that one trick the same two calls serve a console and a network.
// Bindings are therefore kept in one table for all Guests, under the Host's lock. :*

using System.Buffers.Binary;
using Lguest.Platform;

namespace Lguest.Host;

/// <summary>The DMA bindings of one Guest, what it has sent to its Launcher, and what other Guests have written to it.</summary>
internal sealed class Io : IDisposable
{
    // L:300 The Host's side of DMA, one object a Guest. It remembers what the Guest has bound, and at most one list that it has sent to
    // its Launcher: then the run loop stops, and nothing more can be sent before the Launcher has been told.
    private readonly Guest guest;
    private readonly DmaTable table;
    private readonly CourierSender courier;
    private readonly List<DmaBinding> bindings = new(LguestAbi.MaximumDmaBindings);
    private readonly HashSet<uint> changedFrames = [];
    private readonly RefillWait refill;
    private volatile bool hasChangedFrames;
    // :*

    /// <summary>Makes the I/O of a Guest, without bindings.</summary>
    /// <param name="guest">The Guest.</param>
    /// <param name="table">The bindings of all Guests.</param>
    public Io(Guest guest, DmaTable table)
    {
        this.guest = guest;
        this.table = table;
        courier = new CourierSender(table.Courier);
        refill = new RefillWait(guest.Pause);
    }

    /// <summary>The Guest has sent something that the Launcher has not been told of.</summary>
    public bool HasPendingDma { get; private set; }

    /// <summary>Address of the lguest_dma that was sent.</summary>
    public uint PendingDma { get; private set; }

    /// <summary>Key that it was sent to, as the Guest gave it.</summary>
    public uint PendingKey { get; private set; }

    /// <summary>Forgets what the Launcher has been told of.</summary>
    public void ClearPendingDma() => HasPendingDma = false;

    // L:340 Binding: the Guest hands over an array of buffer lists for a key, and the number of an interrupt for "one of them has been
    // filled". Number, count and irq come packed into three words, because a hypercall has no more. An irq of 0 means to unbind, since
    // nobody would want interrupt 0: that one is the timer.
    //
    // The array stays in the Guest's memory, and the Host reads it anew each time. It could not do otherwise: the Guest refills its
    // buffers simply by writing into the array.
    /// <summary>LHCALL_BIND_DMA: binds an array of lguest_dma to a key, or unbinds it (ABI 10.5).</summary>
    /// <param name="key">Guest physical address that serves as key.</param>
    /// <param name="array">Guest physical address of the array.</param>
    /// <param name="countAndIrq">Elements, and below bit 8 the virtual interrupt; 0 unbinds.</param>
    public bool Bind(uint key, uint array, uint countAndIrq)
    {
        uint irq = countAndIrq & 0xFF;
        if (irq >= LguestAbi.Irqs)
        {
            return false;
        }
        if (!TryResolve(key, out DmaKey identity))
        {
            guest.Kill(KillReason.BadDmaKey(key));
            return false;
        }
        if (irq == 0)
        {
            return Unbind(identity, array);
        }
        lock (table.Lock)
        {
            if (bindings.Count == LguestAbi.MaximumDmaBindings)
            {
                return false;
            }
            var made = new DmaBinding(guest, identity, array, (ushort)(countAndIrq >> 8), (byte)irq);
            bindings.Add(made);
            table.Add(made);
        }
        table.Courier.Open(identity);
        return true;
    }

    // L:370 Sending. Whose page is the key in? If it is private, the Launcher shall have it: note the address, and the run loop will
    // return at the next opportunity. Not a byte was copied.
    //
    // If it is shared, the Launcher has no part in it. The bytes are gathered first (that is a parcel), then put into the memory of
    // whoever has bound the key. When the receiver has no free buffer, it is told so, by its interrupt, and given a few milliseconds
    // to make one free; after that the parcel is lost, as parcels are in any network.
    /// <summary>LHCALL_SEND_DMA: tells the Launcher of a list, or transfers what it names to another Guest (ABI 10.6).</summary>
    public void Send(uint key, uint list)
    {
        if (!TryResolve(key, out DmaKey identity))
        {
            guest.Kill(KillReason.BadSendingKey);
        }
        else if (identity.IsPrivate)
        {
            PendingDma = list;
            PendingKey = key;
            HasPendingDma = true;
        }
        else
        {
            DmaParcel parcel = DmaParcel.Gather(guest, list, courier.Room);
            DmaOutcome outcome = SendToPeer(identity, parcel);
            if (outcome.Verdict == DmaVerdict.NoFreeBuffer)
            {
                outcome = SendWhenRefilled(identity, parcel);
            }
            DmaTransfer.Settle(guest, list, parcel, outcome);
        }
    }

    // L:310 The other direction: the Launcher has input, and asks for a buffer that the Guest has bound to a key. A buffer is free if its
    // first word, used_len, is 0. Taking it means to write something else there; the law says that it is the irq number, which is just
    // what the Launcher needs to know next. The Launcher fills the buffer, replaces that word by the length, and raises the interrupt.
    /// <summary>LHREQ_GETDMA: finds a free buffer that the Guest bound to a key (ABI 3.3).</summary>
    /// <param name="key">The key.</param>
    /// <param name="list">Address of the lguest_dma; its used_len holds the virtual interrupt to send.</param>
    public bool TryGetBuffer(uint key, out uint list)
    {
        list = 0;
        if (!TryResolve(key, out DmaKey identity))
        {
            guest.Kill(KillReason.BadRegisteredBuffer);
            return false;
        }
        // The lock is held until the buffer is marked: another Guest may be looking for one, too.
        lock (table.Lock)
        {
            DmaBinding? bound = bindings.FindLast(binding => binding.Key == identity);
            Span<byte> usedLength = stackalloc byte[sizeof(uint)];
            for (uint i = 0; i < (bound?.Count ?? 0) && !guest.IsDead; i++)
            {
                uint element = bound!.Array + (i * LguestAbi.DmaSize);
                guest.Memory.ReadBlock(element, usedLength);
                if (!guest.IsDead && BinaryPrimitives.ReadUInt32LittleEndian(usedLength) == 0)
                {
                    BinaryPrimitives.WriteUInt32LittleEndian(usedLength, bound.Irq);
                    guest.Memory.WriteBlock(element, usedLength);
                    list = element;
                    return true;
                }
            }
            return false;
        }
    }
    // :*

    /// <summary>Tells the Guest that one of its bindings was written to, or should be refilled. Any thread may call.</summary>
    public void Notify(byte irq)
    {
        guest.Interrupts.SetPending(irq);
        guest.Kick();
    }

    // L:385 One Guest's thread writes into another Guest's memory, while that one runs. For the bytes this is nothing special: a device
    // that writes to memory does the same, and the Guest has offered the buffer. But the receiver's processor may have decoded code from
    // the page that is overwritten, and its tables are its own thread's business. So the frame is noted, and the receiver drops the code
    // by itself, at the latest before the handler of the interrupt that announces the data.
    /// <summary>Writes to the Guest's memory from another Guest's thread, which holds the Host's lock; false when the range check refuses.</summary>
    public bool TryWriteFromPeer(uint address, ReadOnlySpan<byte> block)
    {
        bool written = guest.Memory.TryWriteFromPeer(address, block, changedFrames);
        hasChangedFrames = true;
        return written;
    }

    /// <summary>Drops decoded code that other Guests have overwritten. The Guest's own thread.</summary>
    public void ForgetCodeThatPeersChanged()
    {
        if (!hasChangedFrames)
        {
            return;
        }
        lock (table.Lock)
        {
            hasChangedFrames = false;
            foreach (uint frame in changedFrames)
            {
                guest.Memory.ForgetCode(frame);
            }
            changedFrames.Clear();
        }
    }

    // L:360 When a Guest goes, its bindings go first, under the lock: from that moment on nobody finds it. Only then its memory may be
    // given back. All that keeps a sender from writing into the memory of a Guest that is no more is this order.
    /// <summary>close(): removes all bindings. When it returns, no other Guest touches this one any more.</summary>
    public void Dispose()
    {
        lock (table.Lock)
        {
            bindings.ForEach(table.Remove);
        }
        bindings.ForEach(binding => table.Courier.Close(binding.Key));
        bindings.Clear();
        courier.Dispose();
    }

    // L:350 Unbinding looks for the newest binding with the same key and array. A slot that was never used, or not any more, matches
    // nothing; in 2007 it could match.
    /// <summary>Removes a binding; false when there is none.</summary>
    private bool Unbind(in DmaKey key, uint array)
    {
        DmaKey wanted = key;
        lock (table.Lock)
        {
            DmaBinding? bound = bindings.FindLast(binding => binding.Key == wanted && binding.Array == array);
            if (bound is null)
            {
                return false;
            }
            bindings.Remove(bound);
            table.Remove(bound);
        }
        table.Courier.Close(key);
        return true;
    }
    // :*

    /// <summary>One search for a peer, in this Host and then in other processes, and the transfer to it.</summary>
    private DmaOutcome SendToPeer(in DmaKey key, DmaParcel parcel)
    {
        lock (table.Lock)
        {
            if (table.FindPeer(key, guest) is { } peer)
            {
                return DmaTransfer.Deliver(parcel, peer);
            }
        }
        return courier.Send(key, parcel);
    }

    /// <summary>The retry of ABI 10.6, when the receiver may have refilled a buffer.</summary>
    private DmaOutcome SendWhenRefilled(in DmaKey key, DmaParcel parcel)
    {
        for (int waits = 0; refill.TryWait(key, waits); waits++)
        {
            DmaOutcome outcome = SendToPeer(key, parcel);
            if (outcome.Verdict != DmaVerdict.NoFreeBuffer)
            {
                refill.Forgive(key);
                return outcome;
            }
        }
        return new DmaOutcome(DmaVerdict.NoFreeBuffer);
    }

    /// <summary>Finds what a key means; false when it is not aligned or no page is behind it (ABI 10.4).</summary>
    private bool TryResolve(uint key, out DmaKey identity)
    {
        uint page = key / LguestAbi.PageSize;
        uint offset = key % LguestAbi.PageSize;
        identity = guest.Memory.TryGetSharedPage(page, out SharedPage shared)
            ? new DmaKey(shared.File, shared.Page, offset)
            : new DmaKey(guest, page, offset);
        return key % sizeof(uint) == 0 && guest.Memory.IsMapped(page);
    }
}
