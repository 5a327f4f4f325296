// What can be asked of files and folders without changing them, and the writing of bytes.

using System.Buffers.Binary;
using Lguest.Platform;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Launcher.Devices.Virtio.Share;

internal sealed partial class ShareServer
{
    private int Open(ref NineReader reader, ref NineWriter writer)
    {
        const uint AccessMode = 3, Truncate = 0x200;
        uint number = reader.Word(), flags = reader.Word();
        if (reader.IsBroken || !files.TryGetValue(number, out ShareFile? file))
        {
            return NineError.BadFile;
        }
        if (isReadOnly && (flags & (AccessMode | Truncate)) != 0)
        {
            return NineError.ReadOnly;
        }
        int error = file.Node.Open((int)flags, out SafeFileHandle? opened);
        if (error != 0)
        {
            return error;
        }
        file.Open(opened!);
        error = Identify(file.Node, out NineIdentity identity);
        writer.Identity(identity);
        writer.Word(0);
        return error;
    }

    private int Read(ref NineReader reader, ref NineWriter writer, in GuestSections room, out uint data)
    {
        const int DataOffset = HeaderSize + sizeof(uint);
        data = 0;
        uint number = reader.Word();
        ulong offset = reader.Long();
        uint count = reader.Word();
        if (reader.IsBroken || !files.TryGetValue(number, out ShareFile? file) || file.Opened is not SafeFileHandle opened)
        {
            return NineError.BadFile;
        }
        GuestSections place = room.Slice(DataOffset, Math.Min(room.Length - DataOffset, Math.Min(count, messageSize - DataOffset)));
        int error = 0;
        foreach (Span<byte> piece in place)
        {
            int done = OpenedNode.Read(opened, piece, (long)offset + data);
            error = done < 0 && data == 0 ? -done : 0;
            data += (uint)Math.Max(done, 0);
            if (done < piece.Length)
            {
                break;
            }
        }
        // A piece that was refused may have been filled in part.
        place.Overwritten(place.Length);
        writer.Word(data);
        return error;
    }

    private int Write(ref NineReader reader, ref NineWriter writer, in GuestSections message)
    {
        const int DataOffset = HeaderSize + sizeof(uint) + sizeof(ulong) + sizeof(uint);
        uint number = reader.Word();
        ulong offset = reader.Long();
        uint count = reader.Word();
        if (isReadOnly)
        {
            return NineError.ReadOnly;
        }
        if (reader.IsBroken || count > message.Length - DataOffset)
        {
            return NineError.InvalidArgument;
        }
        if (!files.TryGetValue(number, out ShareFile? file) || file.Opened is not SafeFileHandle opened)
        {
            return NineError.BadFile;
        }
        uint written = 0;
        int error = 0;
        foreach (Span<byte> piece in message.Slice(DataOffset, count))
        {
            int done = OpenedNode.Write(opened, piece, (long)offset + written);
            error = done < 0 && written == 0 ? -done : 0;
            written += (uint)Math.Max(done, 0);
            if (done < piece.Length)
            {
                break;
            }
        }
        writer.Word(written);
        return error;
    }

    private int GetAttributes(ref NineReader reader, ref NineWriter writer)
    {
        const ulong Basic = 0x7FF;
        if (!files.TryGetValue(reader.Word(), out ShareFile? file))
        {
            return NineError.BadFile;
        }
        if (file.Node.GetStatus(out FileStatus status) is var error and not 0)
        {
            return error;
        }
        writer.Long(Basic);
        writer.Identity(Identify(status));
        writer.Word(status.Mode);
        writer.Word(status.User);
        writer.Word(status.Group);
        writer.Long(status.LinkCount);
        writer.Long(0);
        writer.Long(status.Size);
        writer.Long(status.BlockSize);
        writer.Long(status.Blocks);
        foreach (FileTime time in (ReadOnlySpan<FileTime>)[status.AccessTime, status.ModificationTime, status.ChangeTime, default])
        {
            writer.Long((ulong)time.Seconds);
            writer.Long(time.Nanoseconds);
        }
        // Generation and version of the data.
        writer.Long(0);
        writer.Long(0);
        return 0;
    }

    private int ReadFolder(ref NineReader reader, ref NineWriter writer)
    {
        uint number = reader.Word();
        ulong offset = reader.Long();
        uint count = reader.Word();
        if (reader.IsBroken || !files.TryGetValue(number, out ShareFile? file) || file.Opened is not SafeFileHandle folder)
        {
            return NineError.BadFile;
        }
        int room = (int)Math.Min(count, Math.Min((uint)writer.Room, messageSize - HeaderSize) - sizeof(uint));
        int filled = OpenedNode.Seek(folder, (long)offset);
        filled = filled < 0 ? filled : OpenedNode.ReadFolder(folder, entries.AsSpan(0, Math.Clamp(room, 0, entries.Length)));
        if (filled < 0)
        {
            return -filled;
        }
        Span<byte> list = answer.AsSpan(HeaderSize + sizeof(uint), room);
        int listed = ListEntries(entries.AsSpan(0, filled), list);
        if (listed == 0 && filled > 0)
        {
            return NineError.InvalidArgument;
        }
        writer.Word((uint)listed);
        writer.Skip(listed);
        return 0;
    }

    /// <summary>Turns the host's entries into the protocol's, as many as there is room for.</summary>
    /// <returns>Bytes written.</returns>
    private static int ListEntries(ReadOnlySpan<byte> host, Span<byte> list)
    {
        const int HeadSize = NineIdentity.Size + sizeof(ulong) + sizeof(byte) + sizeof(ushort);
        const byte FolderEntry = 4, LinkEntry = 10;
        var writer = new NineWriter(list);
        while (host.Length > OpenedNode.EntryHeader)
        {
            int length = BinaryPrimitives.ReadUInt16LittleEndian(host[16..]);
            byte kind = host[18];
            ReadOnlySpan<byte> name = host[OpenedNode.EntryHeader..length];
            name = name[..name.IndexOf((byte)0)];
            if (writer.Room < HeadSize + name.Length)
            {
                break;
            }
            byte identity = kind == FolderEntry ? NineIdentity.Folder : kind == LinkEntry ? NineIdentity.Link : NineIdentity.File;
            writer.Identity(new NineIdentity(identity, 0, BinaryPrimitives.ReadUInt64LittleEndian(host)));
            writer.Long(BinaryPrimitives.ReadUInt64LittleEndian(host[8..]));
            writer.Byte(kind);
            writer.Text(name);
            host = host[length..];
        }
        return writer.Length;
    }

    private int ReadLink(ref NineReader reader, ref NineWriter writer)
    {
        if (!files.TryGetValue(reader.Word(), out ShareFile? file))
        {
            return NineError.BadFile;
        }
        Span<byte> target = stackalloc byte[HostNode.LongestPath];
        int error = file.Node.ReadLink(target, out int length);
        if (error == 0)
        {
            writer.Text(target[..length]);
        }
        return error;
    }

    private int GetFileSystem(ref NineReader reader, ref NineWriter writer)
    {
        if (!files.TryGetValue(reader.Word(), out ShareFile? file))
        {
            return NineError.BadFile;
        }
        int error = file.Node.GetFileSystem(out FileSystemStatus status);
        writer.Word((uint)status.Type);
        writer.Word((uint)status.BlockSize);
        writer.Long(status.Blocks);
        writer.Long(status.FreeBlocks);
        writer.Long(status.AvailableBlocks);
        writer.Long(status.Files);
        writer.Long(status.FreeFiles);
        writer.Long(status.Number);
        writer.Word((uint)status.LongestName);
        return error;
    }

    private int Flush(ref NineReader reader)
    {
        uint number = reader.Word();
        uint dataOnly = reader.Word();
        return files.TryGetValue(number, out ShareFile? file) && file.Opened is SafeFileHandle opened
            ? -OpenedNode.Flush(opened, dataOnly != 0)
            : NineError.BadFile;
    }

    /// <summary>Grants every lock: the Guest's kernel keeps its own programs apart, and nobody else asks here.</summary>
    private int Lock(ref NineReader reader, ref NineWriter writer)
    {
        if (!files.ContainsKey(reader.Word()))
        {
            return NineError.BadFile;
        }
        writer.Byte(0);
        return 0;
    }

    private int GetLock(ref NineReader reader, ref NineWriter writer)
    {
        const byte Unlocked = 2;
        uint number = reader.Word();
        _ = reader.Byte();
        ulong start = reader.Long(), length = reader.Long();
        uint process = reader.Word();
        ReadOnlySpan<byte> client = reader.Text();
        if (reader.IsBroken || !files.ContainsKey(number))
        {
            return NineError.BadFile;
        }
        writer.Byte(Unlocked);
        writer.Long(start);
        writer.Long(length);
        writer.Word(process);
        writer.Text(client);
        return 0;
    }
}
