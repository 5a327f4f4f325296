// What changes names, folders and attributes. None of this is reached when the folder is shared for reading only.

using Lguest.Platform;
using Microsoft.Win32.SafeHandles;

namespace Lguest.Launcher.Devices.Virtio.Share;

internal sealed partial class ShareServer
{
    /// <summary>The bits of a mode that a Guest may set: not those that lend a program the rights of its owner.</summary>
    private const uint AllowedMode = 0x3FF;

    private int Change(NineRequest type, ref NineReader reader, ref NineWriter writer)
    {
        if (!files.TryGetValue(reader.Word(), out ShareFile? file))
        {
            return NineError.BadFile;
        }
        return type switch
        {
            NineRequest.Create => Create(file, ref reader, ref writer),
            NineRequest.MakeFolder => MakeFolder(file, ref reader, ref writer),
            NineRequest.MakeLink => MakeLink(file, ref reader, ref writer),
            NineRequest.AddName => AddName(file, ref reader),
            NineRequest.Rename => Rename(file, ref reader),
            NineRequest.Remove => Remove(file, ref reader),
            _ => SetAttributes(file, ref reader),
        };
    }

    private int Create(ShareFile folder, ref NineReader reader, ref NineWriter writer)
    {
        ReadOnlySpan<byte> name = reader.Text();
        uint flags = reader.Word(), mode = reader.Word();
        if (reader.IsBroken)
        {
            return NineError.InvalidArgument;
        }
        int error = folder.Node.Create(name, (int)flags, mode & AllowedMode, out SafeFileHandle? opened);
        if (error != 0)
        {
            return error;
        }
        error = folder.Node.Walk(name, out HostNode? node);
        error = error == 0 ? Identify(node!, out NineIdentity identity) : Discard(out identity, error);
        if (error != 0)
        {
            node?.Dispose();
            opened!.Dispose();
            return error;
        }
        folder.Become(node!, opened!);
        writer.Identity(identity);
        writer.Word(0);
        return 0;
    }

    private static int Discard(out NineIdentity identity, int error)
    {
        identity = default;
        return error;
    }

    private int MakeFolder(ShareFile folder, ref NineReader reader, ref NineWriter writer)
    {
        ReadOnlySpan<byte> name = reader.Text();
        uint mode = reader.Word();
        return reader.IsBroken ? NineError.InvalidArgument : Tell(folder, name, folder.Node.MakeFolder(name, mode & AllowedMode), ref writer);
    }

    private int MakeLink(ShareFile folder, ref NineReader reader, ref NineWriter writer)
    {
        ReadOnlySpan<byte> name = reader.Text(), target = reader.Text();
        return reader.IsBroken ? NineError.InvalidArgument : Tell(folder, name, folder.Node.MakeLink(name, target), ref writer);
    }

    /// <summary>Tells the identity of what has just been made.</summary>
    private int Tell(ShareFile folder, ReadOnlySpan<byte> name, int error, ref NineWriter writer)
    {
        HostNode? node = null;
        error = error == 0 ? folder.Node.Walk(name, out node) : error;
        error = error == 0 ? Identify(node!, out NineIdentity identity) : Discard(out identity, error);
        node?.Dispose();
        writer.Identity(identity);
        return error;
    }

    private int AddName(ShareFile folder, ref NineReader reader)
    {
        uint number = reader.Word();
        ReadOnlySpan<byte> name = reader.Text();
        return reader.IsBroken ? NineError.InvalidArgument
            : files.TryGetValue(number, out ShareFile? file) ? folder.Node.AddName(file.Node, name) : NineError.BadFile;
    }

    private int Rename(ShareFile folder, ref NineReader reader)
    {
        ReadOnlySpan<byte> name = reader.Text();
        uint number = reader.Word();
        ReadOnlySpan<byte> newName = reader.Text();
        return reader.IsBroken ? NineError.InvalidArgument
            : files.TryGetValue(number, out ShareFile? other) ? folder.Node.Rename(name, other.Node, newName) : NineError.BadFile;
    }

    private static int Remove(ShareFile folder, ref NineReader reader)
    {
        const uint RemoveFolder = 0x200;
        ReadOnlySpan<byte> name = reader.Text();
        uint flags = reader.Word();
        return reader.IsBroken ? NineError.InvalidArgument : folder.Node.Remove(name, (flags & RemoveFolder) != 0);
    }

    private static int SetAttributes(ShareFile file, ref NineReader reader)
    {
        const uint Mode = 1, User = 2, Group = 4, Size = 8, Access = 0x10, Modification = 0x20, SetAccess = 0x80, SetModification = 0x100;
        uint valid = reader.Word(), mode = reader.Word(), user = reader.Word(), group = reader.Word();
        ulong size = reader.Long();
        ulong accessSeconds = reader.Long(), accessNanoseconds = reader.Long();
        ulong modificationSeconds = reader.Long(), modificationNanoseconds = reader.Long();
        if (reader.IsBroken)
        {
            return NineError.InvalidArgument;
        }
        if (file.Node.GetStatus(out FileStatus status) is var error and not 0)
        {
            return error;
        }
        // What belongs to somebody stays his.
        if (((valid & User) != 0 && user != status.User) || ((valid & Group) != 0 && group != status.Group))
        {
            return NineError.NotPermitted;
        }
        error = (valid & Mode) != 0 ? file.Node.SetMode(mode & AllowedMode) : 0;
        if (error == 0 && (valid & Size) != 0)
        {
            error = file.Node.SetSize((long)size);
        }
        if (error == 0 && (valid & (Access | Modification)) != 0)
        {
            error = file.Node.SetTimes(
                Time(valid, Access, SetAccess, accessSeconds, accessNanoseconds),
                Time(valid, Modification, SetModification, modificationSeconds, modificationNanoseconds));
        }
        return error;
    }

    private static FileTime Time(uint valid, uint wanted, uint given, ulong seconds, ulong nanoseconds) =>
        (valid & wanted) == 0 ? new FileTime { Nanoseconds = HostNode.Omit }
        : (valid & given) == 0 ? new FileTime { Nanoseconds = HostNode.Now }
        : new FileTime { Seconds = (long)seconds, Nanoseconds = (uint)nanoseconds };
}
