// The Guest has the whole keyboard except one key: Ctrl-A, as in QEMU, introduces what is meant for us. This stream stands between the
// terminal and the Guest's console and takes those keys out.

using System.Text;

namespace Lguest.Cli;

/// <summary>The terminal's input without the keys that are meant for lguest.</summary>
/// <param name="terminal">Input as typed.</param>
/// <param name="screen">Where answers go.</param>
/// <param name="leave">Called for Ctrl-A x.</param>
/// <param name="monitor">Gets the keys while Ctrl-A c has switched to it.</param>
internal sealed class EscapeKeys(Stream terminal, Stream screen, Action leave, Monitor monitor) : Stream
{
    private const byte Escape = 1;
    private const string Help = "\nCtrl-A x  leave\nCtrl-A c  switch between Guest and monitor\nCtrl-A h  this help\nCtrl-A a  send Ctrl-A\n";

    private bool escaped;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override int Read(Span<byte> buffer)
    {
        while (true)
        {
            int count = terminal.Read(buffer);
            if (count == 0)
            {
                return 0;
            }
            int kept = 0;
            foreach (byte key in buffer[..count])
            {
                if (ForGuest(key) is byte typed)
                {
                    buffer[kept++] = typed;
                }
            }
            if (kept > 0)
            {
                return kept;
            }
        }
    }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <summary>What the Guest gets of a key, or null.</summary>
    private byte? ForGuest(byte key)
    {
        if (!escaped && key == Escape)
        {
            escaped = true;
            return null;
        }
        if (!escaped)
        {
            return ToReader(key);
        }
        escaped = false;
        switch ((char)key)
        {
            case 'x':
                leave();
                return null;
            case 'h' or '?':
                screen.Write(Encoding.ASCII.GetBytes(Help));
                return null;
            case 'c':
                monitor.Toggle();
                return null;
            case 'a' or (char)Escape:
                return ToReader(Escape);
            default:
                return null;
        }
    }

    private byte? ToReader(byte key)
    {
        if (!monitor.IsActive)
        {
            return key;
        }
        monitor.Type(key);
        return null;
    }
}
