// ACPI describes what cannot be probed in a byte code, AML (ACPI specification 2.0, chapter 17). A machine without surprises needs six of
// its operators; these lines write them.

using System.Buffers.Binary;
using System.Text;

namespace Lguest.Pc.Boot;

/// <summary>Writes AML objects one behind the other.</summary>
internal sealed class AmlWriter
{
    private const byte NameOperator = 0x08, BytePrefix = 0x0A, WordPrefix = 0x0B, DoubleWordPrefix = 0x0C;
    private const byte ScopeOperator = 0x10, BufferOperator = 0x11, PackageOperator = 0x12;
    private const byte ExtendedPrefix = 0x5B, DeviceOperator = 0x82;

    private readonly MemoryStream code = new();

    /// <summary>What has been written.</summary>
    public byte[] ToArray() => code.ToArray();

    /// <summary>Name (name, value); the value is what comes next.</summary>
    public void Name(string name)
    {
        code.WriteByte(NameOperator);
        code.Write(Encoding.ASCII.GetBytes(name));
    }

    /// <summary>Scope (name) { contents }.</summary>
    public void Scope(string name, Action<AmlWriter> contents) => Block([ScopeOperator], Encoding.ASCII.GetBytes(name), contents);

    /// <summary>Device (name) { contents }.</summary>
    public void Device(string name, Action<AmlWriter> contents) =>
        Block([ExtendedPrefix, DeviceOperator], Encoding.ASCII.GetBytes(name), contents);

    /// <summary>Package (count) { contents }.</summary>
    public void Package(byte count, Action<AmlWriter> contents) => Block([PackageOperator], [count], contents);

    /// <summary>Buffer () { bytes }.</summary>
    public void Buffer(byte[] bytes) => Block([BufferOperator], [], inner =>
    {
        inner.Integer((uint)bytes.Length);
        inner.code.Write(bytes);
    });

    /// <summary>An integer in its shortest form.</summary>
    public void Integer(uint value)
    {
        Span<byte> bytes = stackalloc byte[5];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[1..], value);
        (bytes[0], int length) = value switch
        {
            // Zero and One are operators of their own.
            0 or 1 => ((byte)value, 1),
            <= 0xFF => (BytePrefix, 2),
            <= 0xFFFF => (WordPrefix, 3),
            _ => (DoubleWordPrefix, 5),
        };
        code.Write(bytes[..length]);
    }

    private void Block(ReadOnlySpan<byte> operation, ReadOnlySpan<byte> head, Action<AmlWriter> contents)
    {
        var inner = new AmlWriter();
        contents(inner);
        byte[] body = inner.ToArray();
        code.Write(operation);
        WriteLength(head.Length + body.Length);
        code.Write(head);
        code.Write(body);
    }

    /// <summary>PkgLength: the bytes that follow, and its own. The first byte's upper two bits say how many bytes follow it.</summary>
    private void WriteLength(int following)
    {
        if (following + 1 < 0x40)
        {
            code.WriteByte((byte)(following + 1));
            return;
        }
        int extra = following + 2 < 0x1000 ? 1 : 2;
        int length = following + 1 + extra;
        code.WriteByte((byte)((extra << 6) | (length & 0x0F)));
        for (int i = 0; i < extra; i++)
        {
            code.WriteByte((byte)(length >> (4 + (8 * i))));
        }
    }
}
