// The file server behind a shared folder: it keeps what the Guest has taken hold of ("fids"), and turns each message into one call of the host.
// Everything starts at the root and goes down by single names (HostNode), which is the whole argument why nothing outside can be reached.
// Files belong to whoever runs the machine; the bits that lend a program its owner's rights are never set.

using System.Buffers.Binary;
using Lguest.Platform;

namespace Lguest.Launcher.Devices.Virtio.Share;

/// <summary>Serves 9P2000.L on one folder.</summary>
internal sealed partial class ShareServer : IDisposable
{
    /// <summary>Bytes of the longest message.</summary>
    public const uint LargestMessage = 1 << 19;

    /// <summary>Files that a Guest may hold at once: they are descriptors of this process, of which others need some too.</summary>
    public const int MostFiles = 2048;

    private const int HeaderSize = 7;
    private const int SmallestAnswer = HeaderSize + sizeof(uint);
    private const byte ErrorAnswer = 7;
    private const uint SmallestMessage = 4096;

    private readonly HostNode root;
    private readonly bool isReadOnly;
    private readonly Dictionary<uint, ShareFile> files = [];
    private readonly byte[] request = new byte[1 << 13];
    private readonly byte[] answer = new byte[1 << 16];
    private readonly byte[] entries = new byte[1 << 16];
    private readonly ulong rootDevice;
    private uint messageSize;

    /// <summary>Makes a server.</summary>
    /// <param name="root">The folder; it is closed with the server.</param>
    /// <param name="isReadOnly">Whether everything that changes something is refused.</param>
    public ShareServer(HostNode root, bool isReadOnly)
    {
        this.root = root;
        this.isReadOnly = isReadOnly;
        _ = root.GetStatus(out FileStatus status);
        rootDevice = Device(status);
        messageSize = SmallestMessage;
    }

    /// <summary>Answers a message.</summary>
    /// <param name="message">The message.</param>
    /// <param name="room">Room for the answer.</param>
    /// <param name="written">Bytes of the answer.</param>
    /// <returns>False when there is no message, or no room for the shortest answer.</returns>
    public bool TryAnswer(in GuestSections message, in GuestSections room, out uint written)
    {
        written = 0;
        int length = message.CopyTo(request);
        if (length < HeaderSize || room.Length < SmallestAnswer)
        {
            return false;
        }
        uint size = BinaryPrimitives.ReadUInt32LittleEndian(request);
        if (size < HeaderSize || size > message.Length)
        {
            return false;
        }
        var reader = new NineReader(request.AsSpan(HeaderSize, (int)Math.Min(size, (uint)length) - HeaderSize));
        var writer = new NineWriter(answer.AsSpan(HeaderSize));
        var type = (NineRequest)request[sizeof(uint)];
        uint data = 0;
        int error = type switch
        {
            NineRequest.Read => Read(ref reader, ref writer, room, out data),
            NineRequest.Write => Write(ref reader, ref writer, message.Slice(0, size)),
            _ => Serve(type, ref reader, ref writer),
        };
        error = error == 0 && HeaderSize + writer.Length + data > room.Length ? NineError.MessageSize : error;
        if (error != 0)
        {
            data = 0;
            writer = new NineWriter(answer.AsSpan(HeaderSize));
            writer.Word((uint)error);
        }
        written = HeaderSize + (uint)writer.Length + data;
        BinaryPrimitives.WriteUInt32LittleEndian(answer, written);
        answer[sizeof(uint)] = error != 0 ? ErrorAnswer : (byte)(type + 1);
        request.AsSpan(sizeof(uint) + 1, sizeof(ushort)).CopyTo(answer.AsSpan(sizeof(uint) + 1));
        room.CopyFrom(answer.AsSpan(0, HeaderSize + writer.Length));
        return true;
    }

    /// <summary>Forgets everything that the Guest holds.</summary>
    public void Reset()
    {
        foreach (ShareFile file in files.Values)
        {
            file.Dispose();
        }
        files.Clear();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Reset();
        root.Dispose();
    }

    private static ulong Device(in FileStatus status) => ((ulong)status.DeviceMajor << 32) | status.DeviceMinor;

    /// <summary>Does what a message asks for; the answer's fields go to the writer.</summary>
    /// <returns>0 or the number of an error.</returns>
    private int Serve(NineRequest type, ref NineReader reader, ref NineWriter writer) => type switch
    {
        NineRequest.Version => Version(ref reader, ref writer),
        NineRequest.Attach => Attach(ref reader, ref writer),
        NineRequest.Walk => Walk(ref reader, ref writer),
        NineRequest.Forget => Forget(ref reader),
        NineRequest.RemoveFile => Forget(ref reader) is var error and not 0 ? error : NineError.NotSupported,
        NineRequest.FlushRequest => 0,
        NineRequest.Open => Open(ref reader, ref writer),
        NineRequest.GetAttributes => GetAttributes(ref reader, ref writer),
        NineRequest.ReadFolder => ReadFolder(ref reader, ref writer),
        NineRequest.ReadLink => ReadLink(ref reader, ref writer),
        NineRequest.FileSystem => GetFileSystem(ref reader, ref writer),
        NineRequest.Flush => Flush(ref reader),
        NineRequest.Lock => Lock(ref reader, ref writer),
        NineRequest.GetLock => GetLock(ref reader, ref writer),
        NineRequest.Create or NineRequest.MakeLink or NineRequest.MakeFolder or NineRequest.AddName or NineRequest.Rename or NineRequest.Remove
            or NineRequest.SetAttributes => isReadOnly ? NineError.ReadOnly : Change(type, ref reader, ref writer),
        _ => NineError.NotSupported,
    };

    private int Version(ref NineReader reader, ref NineWriter writer)
    {
        uint size = reader.Word();
        ReadOnlySpan<byte> version = reader.Text();
        if (reader.IsBroken || size < SmallestMessage)
        {
            return NineError.InvalidArgument;
        }
        Reset();
        messageSize = Math.Min(size, LargestMessage);
        writer.Word(messageSize);
        writer.Text(version.SequenceEqual("9P2000.L"u8) ? version : "unknown"u8);
        return 0;
    }

    private int Attach(ref NineReader reader, ref NineWriter writer)
    {
        uint number = reader.Word();
        if (reader.IsBroken)
        {
            return NineError.InvalidArgument;
        }
        int error = root.Duplicate(out HostNode? node);
        return error != 0 ? error : Enter(number, node!, ref writer);
    }

    private int Walk(ref NineReader reader, ref NineWriter writer)
    {
        const int LongestWalk = 16;
        uint number = reader.Word(), newNumber = reader.Word();
        int count = reader.Short();
        if (reader.IsBroken || count > LongestWalk)
        {
            return NineError.InvalidArgument;
        }
        if (!files.TryGetValue(number, out ShareFile? start))
        {
            return NineError.BadFile;
        }
        if (newNumber != number && (files.ContainsKey(newNumber) || files.Count >= MostFiles))
        {
            return files.Count >= MostFiles ? NineError.TooManyFiles : NineError.InvalidArgument;
        }
        int error = start.Node.Duplicate(out HostNode? node);
        Span<NineIdentity> identities = stackalloc NineIdentity[LongestWalk];
        int walked = 0;
        for (; error == 0 && walked < count; walked++)
        {
            error = node!.Walk(reader.Text(), out HostNode? next);
            error = error == 0 ? Identify(next!, out identities[walked]) : error;
            if (error != 0)
            {
                next?.Dispose();
                break;
            }
            node.Dispose();
            node = next;
        }
        if (error != 0 && walked == 0)
        {
            node?.Dispose();
            return error;
        }
        writer.Short(walked);
        foreach (NineIdentity identity in identities[..walked])
        {
            writer.Identity(identity);
        }
        if (walked < count)
        {
            // Part of the way is an answer, but the new number means nothing.
            node!.Dispose();
            return 0;
        }
        if (newNumber == number)
        {
            start.Dispose();
        }
        files[newNumber] = new ShareFile(node!);
        return 0;
    }

    private int Forget(ref NineReader reader)
    {
        if (!files.Remove(reader.Word(), out ShareFile? file))
        {
            return NineError.BadFile;
        }
        file.Dispose();
        return 0;
    }

    /// <summary>Gives a number to an inode, and tells its identity.</summary>
    private int Enter(uint number, HostNode node, ref NineWriter writer)
    {
        int error = Identify(node, out NineIdentity identity);
        error = error == 0 && files.Count >= MostFiles ? NineError.TooManyFiles : error;
        if (error != 0 || !files.TryAdd(number, new ShareFile(node)))
        {
            node.Dispose();
            return error != 0 ? error : NineError.InvalidArgument;
        }
        writer.Identity(identity);
        return 0;
    }

    private int Identify(HostNode node, out NineIdentity identity)
    {
        int error = node.GetStatus(out FileStatus status);
        identity = Identify(status);
        return error;
    }

    private NineIdentity Identify(in FileStatus status)
    {
        byte kind = status.Kind switch
        {
            FileStatus.Folder => NineIdentity.Folder,
            FileStatus.SymbolicLink => NineIdentity.Link,
            _ => NineIdentity.File,
        };
        uint version = (uint)status.ModificationTime.Seconds ^ status.ModificationTime.Nanoseconds ^ ((uint)status.Size << 8);
        // Inodes of a file system that is mounted inside must not look like those of the root's.
        ulong device = Device(status) == rootDevice ? 0 : Device(status) * 0x9E37_79B9_7F4A_7C15;
        return new NineIdentity(kind, version, status.Inode ^ device);
    }
}
