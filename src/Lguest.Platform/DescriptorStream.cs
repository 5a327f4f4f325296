// Standard input and output as the host system has them: a read returns what is there, a write moves the file position that the program
// shares with its other streams, and a reader that went away is an error. The runtime's own console stream hides the last of these, and
// its file stream the second.

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>A stream over an open file descriptor, which it does not close.</summary>
public sealed unsafe partial class DescriptorStream : Stream
{
    private const int Interrupted = 4;
    private const int TryAgain = 11;

    private readonly int descriptor;
    private readonly bool reads;

    private DescriptorStream(int descriptor, bool reads)
    {
        this.descriptor = descriptor;
        this.reads = reads;
    }

    /// <inheritdoc/>
    public override bool CanRead => reads;

    /// <inheritdoc/>
    public override bool CanWrite => !reads;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>The program's standard input.</summary>
    public static Stream OpenInput() => OperatingSystem.IsWindows() ? Console.OpenStandardInput() : new DescriptorStream(0, reads: true);

    /// <summary>The program's standard output.</summary>
    public static Stream OpenOutput() => OperatingSystem.IsWindows() ? Console.OpenStandardOutput() : new DescriptorStream(1, reads: false);

    /// <summary>The program's standard error.</summary>
    public static Stream OpenError() => OperatingSystem.IsWindows() ? Console.OpenStandardError() : new DescriptorStream(2, reads: false);

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        while (true)
        {
            nint count;
            // SAFETY: the buffer is pinned for the duration of the call, and its length is its own.
            unsafe
            {
                fixed (byte* bytes = buffer)
                {
                    count = ReadDescriptor(descriptor, bytes, (nuint)buffer.Length);
                }
            }
            if (count >= 0)
            {
                return (int)count;
            }
            WaitOrThrow(PollEvents.In);
        }
    }

    /// <inheritdoc/>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        while (buffer.Length > 0)
        {
            nint count;
            // SAFETY: as in Read.
            unsafe
            {
                fixed (byte* bytes = buffer)
                {
                    count = WriteDescriptor(descriptor, bytes, (nuint)buffer.Length);
                }
            }
            if (count >= 0)
            {
                buffer = buffer[(int)count..];
            }
            else
            {
                WaitOrThrow(PollEvents.Out);
            }
        }
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <summary>After a failed call: returns when it may be tried again.</summary>
    private void WaitOrThrow(PollEvents events)
    {
        int error = Marshal.GetLastPInvokeError();
        switch (error)
        {
            case Interrupted:
                return;
            case TryAgain:
                var poll = new PollDescriptor { Descriptor = descriptor, Events = events };
                _ = Poll(ref poll, 1, -1);
                return;
            default:
                throw new IOException(Marshal.GetPInvokeErrorMessage(error), error);
        }
    }

    [LibraryImport("libc", EntryPoint = "read", SetLastError = true)]
    private static partial nint ReadDescriptor(int descriptor, byte* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "write", SetLastError = true)]
    private static partial nint WriteDescriptor(int descriptor, byte* buffer, nuint length);

    [LibraryImport("libc", EntryPoint = "poll", SetLastError = true)]
    private static partial int Poll(ref PollDescriptor descriptors, nuint count, int milliseconds);
}
