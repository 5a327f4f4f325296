// A Guest's console as somebody who watches it: it remembers what was shown, and tells when a word appears. Bench and boot tests share it.

using System.Text;

namespace Lguest.Bench;

/// <summary>A console that waits for words.</summary>
internal sealed class Screen : Stream
{
    private readonly Lock door = new();
    private readonly StringBuilder text = new();
    private (string Word, int From, TaskCompletionSource Found)? wait;

    /// <summary>Everything that was shown.</summary>
    public string Text
    {
        get
        {
            lock (door)
            {
                return text.ToString();
            }
        }
    }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Waits for a word; whoever waited for another one waits no more.</summary>
    /// <param name="word">What to look for.</param>
    /// <param name="from">Where in the text; null is behind all that was shown.</param>
    /// <returns>Ends when the word is there.</returns>
    public Task WaitFor(string word, int? from = null)
    {
        lock (door)
        {
            var found = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            wait = (word, from ?? text.Length, found);
            Look();
            return found.Task;
        }
    }

    /// <summary>Forgets what was shown. Nobody may be waiting.</summary>
    public void Clear()
    {
        lock (door)
        {
            text.Clear();
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        lock (door)
        {
            text.Append(Encoding.Latin1.GetString(buffer));
            Look();
        }
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    private void Look()
    {
        if (wait is var (word, from, found) && text.ToString(from, text.Length - from).Contains(word, StringComparison.Ordinal))
        {
            wait = null;
            found.SetResult();
        }
    }
}
