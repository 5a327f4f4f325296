namespace Lguest.Host;

/// <summary>Identity of a DMA key (ABI 10.4): which page it lies in, and where in that page.</summary>
/// <param name="Owner">What the page belongs to: a Guest, or the identity of a file that several Guests may map.</param>
/// <param name="Page">Page number in the owner: Guest physical, or in the file.</param>
/// <param name="Offset">Byte in the page, a multiple of 4.</param>
internal readonly record struct DmaKey(object Owner, uint Page, uint Offset)
{
    /// <summary>Only the Guest's own Launcher can be the peer.</summary>
    public bool IsPrivate => Owner is Guest;
}
