// The messages of 9P2000.L, the file protocol that Linux speaks over virtio: numbers, and the reading and writing of their fields. All
// integers are little-endian; a string is a 16-bit length and its bytes.

using System.Buffers.Binary;

namespace Lguest.Launcher.Devices.Virtio.Share;

/// <summary>Requests; the answer to each has the next number.</summary>
internal enum NineRequest : byte
{
    FileSystem = 8,
    Open = 12,
    Create = 14,
    MakeLink = 16,
    ReadLink = 22,
    GetAttributes = 24,
    SetAttributes = 26,
    WalkExtended = 30,
    ReadFolder = 40,
    Flush = 50,
    Lock = 52,
    GetLock = 54,
    AddName = 70,
    MakeFolder = 72,
    Rename = 74,
    Remove = 76,
    Version = 100,
    Attach = 104,
    FlushRequest = 108,
    Walk = 110,
    Read = 116,
    Write = 118,
    Forget = 120,
    RemoveFile = 122,
}

/// <summary>Numbers of Linux's errors, which are the protocol's.</summary>
internal static class NineError
{
    public const int NotPermitted = 1, BadFile = 9, NotAFolder = 20, IsAFolder = 21, InvalidArgument = 22, TooManyFiles = 24, ReadOnly = 30, MessageSize = 90, NotSupported = 95;
}

/// <summary>Reads the fields of a message; what is not there is zero and is remembered.</summary>
internal ref struct NineReader(ReadOnlySpan<byte> rest)
{
    private ReadOnlySpan<byte> rest = rest;

    /// <summary>Whether a field was missing.</summary>
    public bool IsBroken { get; private set; }

    public byte Byte() => Take(1) is [var value] ? value : (byte)0;

    public ushort Short() => Take(2) is { IsEmpty: false } bytes ? BinaryPrimitives.ReadUInt16LittleEndian(bytes) : (ushort)0;

    public uint Word() => Take(4) is { IsEmpty: false } bytes ? BinaryPrimitives.ReadUInt32LittleEndian(bytes) : 0;

    public ulong Long() => Take(8) is { IsEmpty: false } bytes ? BinaryPrimitives.ReadUInt64LittleEndian(bytes) : 0;

    public ReadOnlySpan<byte> Text() => Take(Short());

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > rest.Length)
        {
            IsBroken = true;
            rest = default;
            return default;
        }
        ReadOnlySpan<byte> taken = rest[..count];
        rest = rest[count..];
        return taken;
    }
}

/// <summary>Writes the fields of a message into a buffer that has room for them.</summary>
internal ref struct NineWriter(Span<byte> buffer)
{
    private readonly Span<byte> buffer = buffer;

    /// <summary>Bytes written.</summary>
    public int Length { get; private set; }

    /// <summary>What is free.</summary>
    public readonly int Room => buffer.Length - Length;

    public void Byte(byte value) => Place(1)[0] = value;

    public void Short(int value) => BinaryPrimitives.WriteUInt16LittleEndian(Place(2), (ushort)value);

    public void Word(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Place(4), value);

    public void Long(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Place(8), value);

    public void Text(scoped ReadOnlySpan<byte> text)
    {
        Short(text.Length);
        text.CopyTo(Place(text.Length));
    }

    /// <summary>Writes the identity of a file: kind, version, number.</summary>
    public void Identity(NineIdentity identity)
    {
        Byte(identity.Kind);
        Word(identity.Version);
        Long(identity.Number);
    }

    /// <summary>Counts bytes that were written into the buffer already.</summary>
    public void Skip(int count) => Place(count);

    private Span<byte> Place(int count)
    {
        Span<byte> place = buffer.Slice(Length, count);
        Length += count;
        return place;
    }
}

/// <summary>The protocol's qid.</summary>
internal readonly record struct NineIdentity(byte Kind, uint Version, ulong Number)
{
    /// <summary>Bytes of one in a message.</summary>
    public const int Size = 13;

    public const byte File = 0;

    public const byte Link = 0x02;

    public const byte Folder = 0x80;
}
