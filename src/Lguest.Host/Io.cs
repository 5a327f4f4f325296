// I/O: how bytes leave a Guest and how they come in. A Guest *binds* lists of buffers to a key and *sends* a list to a key; who else knows
// the key is the peer. A key is an address, and what it means is decided by the page behind it: a page of the Guest's own makes the
// Launcher the peer, a page of a file that other Guests map too would make one of them the peer. Bindings are therefore guarded by
// the Host's lock, although today only their own Guest's Launcher looks for them.

using System.Buffers.Binary;

namespace Lguest.Host;

/// <summary>The DMA bindings of one Guest, and what it has sent to its Launcher.</summary>
internal sealed class Io
{
    private const int BytesOfUsedLength = 4;

    private readonly Guest guest;
    private readonly Lock hostLock;
    private readonly Binding[] bindings = new Binding[LguestAbi.MaximumDmaBindings];
    private ulong bindingsMade;

    /// <summary>Makes the bindings of a Guest, all free.</summary>
    /// <param name="guest">The Guest.</param>
    /// <param name="hostLock">The lock that guards the bindings of all Guests.</param>
    public Io(Guest guest, Lock hostLock)
    {
        this.guest = guest;
        this.hostLock = hostLock;
    }

    /// <summary>The Guest has sent something that the Launcher has not been told of.</summary>
    public bool HasPendingDma { get; private set; }

    /// <summary>Address of the lguest_dma that was sent.</summary>
    public uint PendingDma { get; private set; }

    /// <summary>Key that it was sent to, as the Guest gave it.</summary>
    public uint PendingKey { get; private set; }

    /// <summary>Forgets what the Launcher has been told of.</summary>
    public void ClearPendingDma() => HasPendingDma = false;

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
        lock (hostLock)
        {
            if (irq == 0)
            {
                int bound = FindNewest(identity, array);
                if (bound < 0)
                {
                    return false;
                }
                bindings[bound] = default;
                return true;
            }
            int free = Array.FindIndex(bindings, static binding => binding.IsFree);
            if (free < 0)
            {
                return false;
            }
            bindings[free] = new Binding(identity, array, (ushort)(countAndIrq >> 8), (byte)irq, ++bindingsMade);
            return true;
        }
    }

    /// <summary>LHCALL_SEND_DMA: tells the Launcher of a list (ABI 10.6, private keys).</summary>
    public void Send(uint key, uint list)
    {
        if (!TryResolve(key, out _))
        {
            guest.Kill(KillReason.BadSendingKey);
            return;
        }
        PendingDma = list;
        PendingKey = key;
        HasPendingDma = true;
    }

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
        Binding binding;
        lock (hostLock)
        {
            int bound = FindNewest(identity, array: null);
            if (bound < 0)
            {
                return false;
            }
            binding = bindings[bound];
        }

        Span<byte> usedLength = stackalloc byte[BytesOfUsedLength];
        for (uint i = 0; i < binding.Count && !guest.IsDead; i++)
        {
            uint element = binding.Array + (i * LguestAbi.DmaSize);
            guest.Memory.ReadBlock(element, usedLength);
            if (!guest.IsDead && BinaryPrimitives.ReadUInt32LittleEndian(usedLength) == 0)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(usedLength, binding.Irq);
                guest.Memory.WriteBlock(element, usedLength);
                list = element;
                return true;
            }
        }
        return false;
    }

    /// <summary>Finds what a key means; false when it is not aligned or no page is behind it (ABI 10.4).</summary>
    private bool TryResolve(uint key, out DmaKey identity)
    {
        identity = new DmaKey(guest, key / LguestAbi.PageSize, key % LguestAbi.PageSize);
        return key % 4 == 0 && guest.Memory.IsMapped(identity.Page);
    }

    private int FindNewest(in DmaKey key, uint? array)
    {
        int newest = -1;
        for (int i = 0; i < bindings.Length; i++)
        {
            ref Binding binding = ref bindings[i];
            bool matches = !binding.IsFree && binding.Key == key && (array is null || binding.Array == array);
            if (matches && (newest < 0 || binding.Order > bindings[newest].Order))
            {
                newest = i;
            }
        }
        return newest;
    }

    /// <summary>One binding.</summary>
    private readonly record struct Binding(DmaKey Key, uint Array, ushort Count, byte Irq, ulong Order)
    {
        /// <summary>A bound slot always has an interrupt: 0 means unbind.</summary>
        public bool IsFree => Irq == 0;
    }
}
