// How Guests of other processes reach the Guests of this one: for each shared key that a Guest of this Host has bound there is a mailbox. No
// process maps another's memory; bytes go through the kernel, and the Host that has the receiver does the transfer. Where there is no
// such thing as a mailbox, Guests of one process still meet.

namespace Lguest.Host;

// L:404 Two processes, each with Guests that map the same file: their keys are equal, and yet neither Host knows of the other. So whoever
// binds a shared key also opens a mailbox under the key's name, and whoever sends to a key that nobody here has bound looks whether there
// is one. The last binding of a key takes its mailbox along.
/// <summary>The mailboxes of one Host.</summary>
/// <remarks>Thread-safe. Nobody who calls may hold the lock between Guests: making and closing a mailbox takes a moment.</remarks>
/// <param name="table">The Host's bindings.</param>
internal sealed class Courier(DmaTable table)
{
    private readonly Lock gate = new();
    private readonly Dictionary<DmaKey, (Mailbox Mailbox, int Bindings)> mailboxes = [];

    /// <summary>Whether Guests of other processes are reached, and reach this Host's. Set before there are Guests.</summary>
    public bool CrossesProcesses { get; set; } = CourierProtocol.IsSupported;

    /// <summary>How long a sender waits for another process to take a message or to answer it, in milliseconds.</summary>
    /// <remarks>An answer takes some tens of microseconds. This is for a receiver that has to wait for its turn on a busy host.</remarks>
    public int Patience { get; set; } = 20;

    /// <summary>How long a sender leaves another process alone that did not do so in time; twice as long each time in a row, up to a second.</summary>
    public TimeSpan Silence { get; set; } = TimeSpan.FromMilliseconds(20);

    /// <summary>One more binding of a key exists: from now on other processes reach it.</summary>
    public void Open(in DmaKey key)
    {
        if (key.IsPrivate || !CrossesProcesses)
        {
            return;
        }
        lock (gate)
        {
            mailboxes[key] = mailboxes.TryGetValue(key, out (Mailbox Mailbox, int Bindings) open)
                ? (open.Mailbox, open.Bindings + 1)
                : (new Mailbox(key, table), 1);
        }
    }

    /// <summary>A binding is gone; the last one of its key takes the mailbox with it.</summary>
    public void Close(in DmaKey key)
    {
        lock (gate)
        {
            if (!mailboxes.TryGetValue(key, out (Mailbox Mailbox, int Bindings) open))
            {
                return;
            }
            if (open.Bindings > 1)
            {
                mailboxes[key] = (open.Mailbox, open.Bindings - 1);
                return;
            }
            mailboxes.Remove(key);
            open.Mailbox.Dispose();
        }
    }

    /// <summary>Whether other processes would come to this one with what they send to a key.</summary>
    public bool Serves(in DmaKey key)
    {
        lock (gate)
        {
            return mailboxes.TryGetValue(key, out (Mailbox Mailbox, int Bindings) open) && open.Mailbox.HasName;
        }
    }
}
