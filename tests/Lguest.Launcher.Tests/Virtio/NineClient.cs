// A client of 9P2000.L on the bench: it builds messages, sends them through the driver, and takes the answers apart.

using System.Buffers.Binary;
using System.Text;
using static Lguest.Launcher.Tests.Virtio.VirtioDriver;

namespace Lguest.Launcher.Tests.Virtio;

internal sealed class NineClient(VirtioDriver driver)
{
    private const uint Message = Data;
    private const uint Answer = Data + 0x2_0000;
    private const uint AnswerSize = 0x1_0000;

    /// <summary>The last answer from behind its header on.</summary>
    public byte[] Body { get; private set; } = [];

    /// <summary>Sends a message.</summary>
    /// <returns>0, or the number of the error.</returns>
    public int Send(byte type, params object[] fields)
    {
        var bytes = new List<byte>([0, 0, 0, 0, type, 0x34, 0x12]);
        foreach (object field in fields)
        {
            bytes.AddRange(field switch
            {
                byte value => [value],
                ushort value => BitConverter.GetBytes(value),
                uint value => BitConverter.GetBytes(value),
                ulong value => BitConverter.GetBytes(value),
                string value => [.. BitConverter.GetBytes((ushort)Encoding.UTF8.GetByteCount(value)), .. Encoding.UTF8.GetBytes(value)],
                byte[] value => value,
                _ => throw new ArgumentException($"no field: {field}"),
            });
        }
        byte[] message = [.. bytes];
        BinaryPrimitives.WriteInt32LittleEndian(message, message.Length);
        driver.Memory.Write(Message, message);
        uint written = driver.Queues[0].Request(new(Message, 7, false), new(Message + 7, (uint)message.Length - 7, false), new(Answer, 11, true), new(Answer + 11, AnswerSize - 11, true));
        byte[] answer = driver.Bytes(Answer, (int)written);
        Assert.Equal((int)written, BinaryPrimitives.ReadInt32LittleEndian(answer));
        Assert.Equal(0x1234, BinaryPrimitives.ReadUInt16LittleEndian(answer.AsSpan(5)));
        Body = answer[7..];
        if (answer[4] == 7)
        {
            return BinaryPrimitives.ReadInt32LittleEndian(Body);
        }
        Assert.Equal(type + 1, answer[4]);
        return 0;
    }

    public void Mount()
    {
        Assert.Equal(0, Send(100, 0x1_0000u, "9P2000.L"));
        Assert.Equal(0, Send(104, 0u, uint.MaxValue, "user", "", 0u));
    }

    public int Walk(uint from, uint to, params string[] names) => Send(110, [from, to, (ushort)names.Length, .. names]);

    public int Open(uint file, uint flags = 0) => Send(12, file, flags);

    public int Create(uint folder, string name, uint flags = 2, uint mode = 0x1B6) => Send(14, folder, name, flags, mode, 0u);

    public int Forget(uint file) => Send(120, file);

    public int Write(uint file, ulong offset, string text) => Send(118, file, offset, (uint)text.Length, Encoding.UTF8.GetBytes(text));

    /// <summary>Reads as text.</summary>
    public string Read(uint file, ulong offset = 0, uint count = 1000)
    {
        Assert.Equal(0, Send(116, file, offset, count));
        Assert.Equal(Body.Length - 4, BinaryPrimitives.ReadInt32LittleEndian(Body));
        return Encoding.UTF8.GetString(Body.AsSpan(4));
    }

    /// <summary>Reads the names of an open folder, by answers of at most <paramref name="count"/> bytes.</summary>
    public List<string> List(uint folder, uint count = 1000)
    {
        var names = new List<string>();
        ulong offset = 0;
        while (true)
        {
            Assert.Equal(0, Send(40, folder, offset, count));
            ReadOnlySpan<byte> list = Body.AsSpan(4);
            Assert.True(list.Length <= count);
            if (list.IsEmpty)
            {
                return names;
            }
            while (!list.IsEmpty)
            {
                offset = BinaryPrimitives.ReadUInt64LittleEndian(list[13..]);
                int length = BinaryPrimitives.ReadUInt16LittleEndian(list[22..]);
                names.Add(Encoding.UTF8.GetString(list.Slice(24, length)));
                list = list[(24 + length)..];
            }
        }
    }

    public ulong Long(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(Body.AsSpan(offset));

    public uint Word(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(Body.AsSpan(offset));
}
