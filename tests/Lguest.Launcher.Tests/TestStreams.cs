// Ends of a console for tests.

using System.Threading.Channels;

namespace Lguest.Launcher.Tests;

/// <summary>A stream that can do nothing; others add what they can.</summary>
internal abstract class TestStream : Stream
{
    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>Says when something was written.</summary>
internal sealed class SignalStream : TestStream
{
    private readonly TaskCompletionSource written = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Task Written => written.Task;

    public override void Write(ReadOnlySpan<byte> buffer) => written.TrySetResult();
}

/// <summary>Fails when it is written.</summary>
internal sealed class FailingStream : TestStream
{
    public override void Write(ReadOnlySpan<byte> buffer) => throw new IOException("gone");
}

/// <summary>A keyboard at which nobody sits: a read ends neither by input nor by cancellation.</summary>
internal sealed class SilentStream : TestStream
{
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => new(new TaskCompletionSource<int>().Task);
}

/// <summary>Delivers what is typed, one read for each call of <see cref="TypeAsync"/>, which returns when the next read has begun.</summary>
internal sealed class TypedStream : TestStream
{
    private readonly Channel<byte[]> keys = Channel.CreateUnbounded<byte[]>();
    private TaskCompletionSource reading = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public async Task TypeAsync(params byte[] typed)
    {
        await reading.Task;
        reading = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        keys.Writer.TryWrite(typed);
        await Task.WhenAny(reading.Task, Task.Delay(TimeSpan.FromSeconds(1)));
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        reading.TrySetResult();
        byte[] typed = await keys.Reader.ReadAsync(cancellationToken);
        typed.CopyTo(buffer);
        return typed.Length;
    }
}

/// <summary>A clock that stands where it is put.</summary>
internal sealed class SettableTime : TimeProvider
{
    public int Second { get; set; }

    public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddSeconds(Second).AddMilliseconds(900);
}

/// <summary>Counts what is written to it, and says when it has been enough.</summary>
internal sealed class CountingStream(int enough, Action reached) : TestStream
{
    private int writes;

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (++writes == enough)
        {
            reached();
        }
    }
}
