// What a sender offers: the bytes that its list names, gathered into one piece before anybody looks for a receiver. From then on it makes no
// difference whether the receiver lives in this process or in another one, and nothing that happens to the sender's memory meanwhile
// matters. A list that is not good travels as a parcel, too: when its sender dies of it is for the transfer to say.

namespace Lguest.Host;

/// <summary>How the bytes of a parcel end.</summary>
internal enum DmaParcelEnd : uint
{
    /// <summary>Everything that the list names is there.</summary>
    Complete = 0,

    /// <summary>No memory is behind the next section: whoever takes more than the bytes finds nothing.</summary>
    MissingMemory = 1,

    /// <summary>The list breaks the section rule (ABI 10.2); there are no bytes.</summary>
    BadList = 2,

    /// <summary>The list itself cannot be read; there are no bytes.</summary>
    Unreadable = 3,
}

/// <summary>The bytes that a sender's lguest_dma names.</summary>
/// <param name="bytes">The bytes, up to the first that cannot be had.</param>
/// <param name="end">What comes behind them.</param>
/// <param name="fault">What the sender dies of when the transfer comes to the end; null when it is complete, or the sender's own Host knows.</param>
internal readonly ref struct DmaParcel(ReadOnlySpan<byte> bytes, DmaParcelEnd end, string? fault = null)
{
    /// <summary>The largest number of bytes: sixteen sections of a page.</summary>
    public const int MaximumBytes = LguestAbi.MaximumDmaSections * (int)LguestAbi.PageSize;

    public ReadOnlySpan<byte> Bytes { get; } = bytes;

    public DmaParcelEnd End { get; } = end;

    public string? Fault { get; } = fault;

    /// <summary>The list names nothing (len[0] is 0).</summary>
    public bool IsEmpty => Bytes.IsEmpty && End == DmaParcelEnd.Complete;

    // L:375 Gathering: the sections of the sender's list, one behind the other. A sender may have made a mistake, but it must not die of
    // it before the receiver has been found, because the law says who dies first when both are wrong. So a bad list makes a parcel, too,
    // one that says what is wrong with it.
    /// <summary>Gathers what a list names. The sender's own thread.</summary>
    /// <param name="sender">The Guest.</param>
    /// <param name="address">Guest physical address of its lguest_dma.</param>
    /// <param name="room">Takes the bytes; <see cref="MaximumBytes"/> long.</param>
    public static DmaParcel Gather(Guest sender, uint address, Span<byte> room)
    {
        Span<byte> copy = stackalloc byte[(int)LguestAbi.DmaSize];
        if (!sender.Memory.TryReadBlock(address, copy))
        {
            return new DmaParcel([], DmaParcelEnd.Unreadable, KillReason.BadRead(address, LguestAbi.DmaSize));
        }
        var list = new DmaList(copy);
        if (list.FindFault(sender.Memory) is { } fault)
        {
            return new DmaParcel([], DmaParcelEnd.BadList, fault);
        }
        int length = 0;
        int count = list.Count;
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> section = sender.Memory.Section(list.Address(i), list.Length(i));
            if (section.IsEmpty)
            {
                return new DmaParcel(room[..length], DmaParcelEnd.MissingMemory, KillReason.BadSendingDma);
            }
            section.CopyTo(room[length..]);
            length += section.Length;
        }
        return new DmaParcel(room[..length], DmaParcelEnd.Complete);
    }
    // :*
}
