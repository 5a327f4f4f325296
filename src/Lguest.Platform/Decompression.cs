// Distributions compress their kernels by xz or zstd. The libraries for both are on nearly every Linux system, because its package manager
// needs them, and they are ten times as fast as a kernel that unpacks itself in a Guest. Where they are missing, the Guest does it.

using System.Runtime.InteropServices;

namespace Lguest.Platform;

/// <summary>Unpacks what the host's own libraries can.</summary>
public static partial class Decompression
{
    private const ulong MemoryLimit = 256 << 20;

    /// <summary>Unpacks an .xz stream.</summary>
    /// <param name="source">The whole stream.</param>
    /// <param name="target">Exactly as large as the contents.</param>
    /// <returns>False when the library is missing or the stream is not good.</returns>
    public static bool TryUnpackXz(ReadOnlySpan<byte> source, Span<byte> target)
    {
        nuint read = 0, written = 0;
        ulong limit = MemoryLimit;
        try
        {
            return DecodeXz(ref limit, 0, 0, source, ref read, (nuint)source.Length, target, ref written, (nuint)target.Length) == 0
                && written == (nuint)target.Length;
        }
        catch (Exception error) when (error is DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    /// <summary>Unpacks a zstd frame.</summary>
    /// <param name="source">The whole frame.</param>
    /// <param name="target">Exactly as large as the contents.</param>
    /// <returns>False when the library is missing or the frame is not good.</returns>
    public static bool TryUnpackZstandard(ReadOnlySpan<byte> source, Span<byte> target)
    {
        try
        {
            // Errors are numbers beyond any size.
            return DecodeZstandard(target, (nuint)target.Length, source, (nuint)source.Length) == (nuint)target.Length;
        }
        catch (Exception error) when (error is DllNotFoundException or EntryPointNotFoundException)
        {
            return false;
        }
    }

    [LibraryImport("liblzma.so.5", EntryPoint = "lzma_stream_buffer_decode")]
    private static partial int DecodeXz(
        ref ulong memoryLimit, uint flags, nint allocator, ReadOnlySpan<byte> source, ref nuint read, nuint sourceSize,
        Span<byte> target, ref nuint written, nuint targetSize);

    [LibraryImport("libzstd.so.1", EntryPoint = "ZSTD_decompress")]
    private static partial nuint DecodeZstandard(Span<byte> target, nuint capacity, ReadOnlySpan<byte> source, nuint size);
}
