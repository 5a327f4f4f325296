namespace Lguest.Host;

// L:330 When are two keys the same? The addresses say nothing: two Guests may use the same number for two things, or two numbers for one.
// So a key is what lies behind its address: whose page it is, which page, and which byte in it. If the page is the Guest's own, nobody
// else's key can be equal, and the peer is the Launcher. If it is a page of a file, every Guest that maps the file has the same key,
// wherever it put the page.
//
// Equality and hash come with the record; the table of bindings is an ordinary dictionary.
/// <summary>Identity of a DMA key (ABI 10.4): which page it lies in, and where in that page.</summary>
/// <param name="Owner">What the page belongs to: a Guest, or the identity of a file that several Guests may map.</param>
/// <param name="Page">Page number in the owner: Guest physical, or in the file.</param>
/// <param name="Offset">Byte in the page, a multiple of 4.</param>
internal readonly record struct DmaKey(object Owner, uint Page, uint Offset)
{
    /// <summary>Only the Guest's own Launcher can be the peer.</summary>
    public bool IsPrivate => Owner is Guest;
}
