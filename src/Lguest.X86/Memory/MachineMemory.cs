// The memory of the machine that the processor lives in: 2^20 frames of 4 KiB, each either absent or backed by a page of host memory.
// The frames below a limit are the Guest's own; the ones above it are the Host's arena, from which it takes its page tables. The
// processor walks both alike. That a Guest can never name an arena frame is the Host's duty (its shadow page tables), not this file's.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Lguest.Platform;

namespace Lguest.X86.Memory;

/// <summary>Learns of writes to frames from which code was decoded.</summary>
internal interface ICodeTracker
{
    /// <summary>Bytes of a frame that holds decoded code were, or are about to be, changed.</summary>
    void CodeFrameWritten(uint frame, uint offset, uint length);
}

/// <summary>Physical memory of one machine: a table from frame number to host memory.</summary>
/// <remarks>
/// Addresses are physical, in bytes; frames are 4096 bytes. An absent frame may have a device in its place; else reading it yields ones and
/// writing it does nothing, as on a bus where nobody answers. Not thread-safe: the thread that runs the processor owns it. Others may at most read, and write through
/// <see cref="FrameBytes"/>; the owner then calls <see cref="ForgetCode"/>.
/// </remarks>
public sealed unsafe class MachineMemory : IDisposable
{
    /// <summary>Bytes of a frame.</summary>
    public const uint FrameSize = 4096;

    /// <summary>Frames that a 32-bit physical address can name.</summary>
    public const uint FrameCount = 1 << 20;

    // M:008 In 2007 the pages of a running Guest were pinned: the Linux below could not take them away, which is why only root was
    // allowed to have Guests. Ours are ordinary memory of a process, and the system below may do with them what it likes, so nobody needs
    // to be root.
    //
    // But the other half is missing. A page that a Guest has touched once is never given back, even if its kernel has long freed it. Real
    // hypervisors have a *balloon* for that: a driver in the Guest that asks its own kernel for memory, does not use it, and tells the
    // Host which pages these are. It would be a new device type, a page of driver, and one call of the host system here. How do you make
    // sure that a Guest which lies hurts nobody but itself? :*
    private const byte HoldsCode = 1;
    private const byte IsRom = 2;
    private const byte Committed = 4;

    /// <summary>Frames that are committed at once: a first touch costs the host as much as committing ten frames in one call.</summary>
    private const uint FramesOfStep = 16;

    private readonly HostMemory tableMemory = new(FrameCount * (nuint)sizeof(nint));
    private readonly HostMemory flagMemory = new(FrameCount);
    private readonly HostMemory guestMemory;
    private readonly HostMemory arenaMemory;
    private readonly byte** frames;
    private readonly byte* flags;
    private readonly Stack<uint> freeFrames = new();
    private readonly Dictionary<uint, (SharedFileMapping File, uint Page)> sharedFrames = [];
    private readonly List<DeviceRegion> deviceRegions = [];
    private readonly List<HostMemory> roms = [];
    private readonly uint arenaEnd;
    private uint nextArenaFrame;

    private readonly record struct DeviceRegion(uint Address, uint Length, IMemoryMappedDevice Device);

    /// <summary>Builds a machine with <paramref name="guestFrames"/> zeroed frames from address 0 and an arena above them.</summary>
    /// <param name="guestFrames">Frames of the Guest (RAM and device pages).</param>
    /// <param name="arenaFrames">Frames that <see cref="TryAllocateFrame"/> can hand out.</param>
    /// <exception cref="ArgumentOutOfRangeException">Both together exceed <see cref="FrameCount"/>, or one is zero.</exception>
    public MachineMemory(uint guestFrames, uint arenaFrames)
    {
        ArgumentOutOfRangeException.ThrowIfZero(guestFrames);
        ArgumentOutOfRangeException.ThrowIfZero(arenaFrames);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(guestFrames + (ulong)arenaFrames, FrameCount);
        GuestFrames = guestFrames;
        guestMemory = new HostMemory(guestFrames * (nuint)FrameSize);
        arenaMemory = new HostMemory(arenaFrames * (nuint)FrameSize);
        nextArenaFrame = guestFrames;
        arenaEnd = guestFrames + arenaFrames;

        // SAFETY: both tables have one element for each of the FrameCount frames, and every index below is a frame number.
        unsafe
        {
            tableMemory.Commit(0, guestFrames * (nuint)sizeof(nint));
            frames = (byte**)tableMemory.Address;
            flags = flagMemory.Address;
            for (uint frame = 0; frame < guestFrames; frame++)
            {
                frames[frame] = guestMemory.Address + ((nuint)frame * FrameSize);
            }
        }
    }

    /// <summary>Number of frames that belong to the Guest; the arena begins behind them.</summary>
    public uint GuestFrames { get; }

    /// <summary>Learns of writes to code; set by the processor.</summary>
    internal ICodeTracker? CodeTracker { get; set; }

    /// <summary>Puts a page of a shared file in the place of a Guest's frame; what was written to the frame is forgotten.</summary>
    /// <remarks>Before a processor is built on this memory. The file must stay mapped as long as the memory lives.</remarks>
    /// <param name="frame">A frame of the Guest.</param>
    /// <param name="file">The file.</param>
    /// <param name="page">Page number in the file.</param>
    /// <exception cref="ArgumentOutOfRangeException">The frame is not the Guest's, or the page is not mapped.</exception>
    public void ShareFrame(uint frame, SharedFileMapping file, uint page)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(frame, GuestFrames);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(page, file.Pages);
        // SAFETY: frame is inside the table; the file's mapping has FrameSize bytes for each of its pages, and sharedFrames keeps it.
        unsafe
        {
            frames[frame] = file.Address + ((nuint)page * FrameSize);
        }
        sharedFrames[frame] = (file, page);
    }

    /// <summary>Puts a ROM in the place of whatever is there: writes of the Guest do nothing.</summary>
    /// <remarks>Before a processor runs on this memory. Only the program itself can still write, through <see cref="FrameBytes"/>.</remarks>
    /// <param name="address">Physical address, a multiple of 4096.</param>
    /// <param name="image">Its bytes, whole frames.</param>
    /// <exception cref="ArgumentException">The ROM is not whole frames, or reaches beyond 4 GiB.</exception>
    public void PlaceRom(uint address, ReadOnlySpan<byte> image)
    {
        if (address % FrameSize != 0 || image.Length % FrameSize != 0 || image.IsEmpty || (ulong)address + (ulong)image.Length > (ulong)FrameCount * FrameSize)
        {
            throw new ArgumentException($"0x{image.Length:x} bytes from 0x{address:x} on are not whole frames.");
        }
        var rom = new HostMemory((nuint)image.Length);
        roms.Add(rom);
        // SAFETY: the block has room for the image, whose frames were just checked to be in the tables.
        unsafe
        {
            image.CopyTo(new Span<byte>(rom.Address, image.Length));
            for (uint i = 0; i < image.Length / FrameSize; i++)
            {
                frames[(address / FrameSize) + i] = rom.Address + ((nuint)i * FrameSize);
                flags[(address / FrameSize) + i] |= IsRom;
            }
        }
    }

    /// <summary>Tells whether no part of a range of memory is a ROM: a device that fills it by <see cref="Contiguous"/> asks first.</summary>
    public bool TakesWrites(uint address, uint length)
    {
        if (roms.Count == 0 || length == 0)
        {
            return true;
        }
        for (uint frame = address / FrameSize; frame <= (uint)((address + (ulong)length - 1) / FrameSize); frame++)
        {
            if (IsReadOnly(frame))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>Puts a device in the place of absent frames. Before a processor runs on this memory, or by its thread.</summary>
    /// <param name="address">Physical address of its region, a multiple of 4096.</param>
    /// <param name="length">Bytes of the region, a multiple of 4096.</param>
    /// <param name="device">The device.</param>
    /// <exception cref="ArgumentException">Memory or another device is there, or the region is not whole frames.</exception>
    public void AttachDevice(uint address, uint length, IMemoryMappedDevice device)
    {
        if (!TryAttachDevice(address, length, device))
        {
            throw new ArgumentException($"Something is in the 0x{length:x} bytes from 0x{address:x} on already.");
        }
    }

    /// <summary>As <see cref="AttachDevice"/>, for a place that a Guest has chosen.</summary>
    /// <returns>False when memory or another device is there.</returns>
    /// <exception cref="ArgumentException">The region is not whole frames.</exception>
    public bool TryAttachDevice(uint address, uint length, IMemoryMappedDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        if (address % FrameSize != 0 || length % FrameSize != 0 || length == 0 || (ulong)address + length > (ulong)FrameCount * FrameSize)
        {
            throw new ArgumentException($"0x{length:x} bytes from 0x{address:x} on are not whole frames.");
        }
        for (uint frame = address / FrameSize; frame < (address / FrameSize) + (length / FrameSize); frame++)
        {
            if (!FrameBytes(frame).IsEmpty || DeviceAt(frame * FrameSize) is not null)
            {
                return false;
            }
        }
        deviceRegions.Add(new DeviceRegion(address, length, device));
        return true;
    }

    /// <summary>Takes a device out of its place.</summary>
    public void DetachDevice(IMemoryMappedDevice device) => deviceRegions.RemoveAll(region => ReferenceEquals(region.Device, device));

    /// <summary>Tells which page of which shared file is behind a frame; false when the frame is private.</summary>
    public bool TryGetSharedPage(uint frame, out SharedPage page)
    {
        bool shared = sharedFrames.TryGetValue(frame, out (SharedFileMapping File, uint Page) found);
        page = shared ? new SharedPage(found.File.Identity, found.Page) : default;
        return shared;
    }

    /// <summary>Drops the code that was decoded from a frame, because somebody else has changed its bytes.</summary>
    public void ForgetCode(uint frame)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(frame, FrameCount);
        if (FrameHoldsCode(frame))
        {
            CodeTracker?.CodeFrameWritten(frame, 0, FrameSize);
        }
    }

    /// <summary>Has the host commit some of the Guest's memory now, which is about to be filled.</summary>
    /// <param name="address">Physical address of the first byte.</param>
    /// <param name="length">Bytes; cut to the Guest's memory.</param>
    public void Commit(uint address, uint length)
    {
        guestMemory.Commit(address, length);
        // SAFETY: the loop stays below the Guest's last frame.
        unsafe
        {
            ulong end = Math.Min(((ulong)address + length) / FrameSize, GuestFrames);
            for (ulong frame = address / FrameSize; frame < end; frame++)
            {
                flags[frame] |= Committed;
            }
        }
    }

    /// <summary>Takes a zeroed frame from the arena.</summary>
    /// <returns>False when the arena is exhausted.</returns>
    public bool TryAllocateFrame(out uint frame)
    {
        if (freeFrames.TryPop(out frame))
        {
            FrameBytes(frame).Clear();
            return true;
        }
        if (nextArenaFrame == arenaEnd)
        {
            return false;
        }
        if ((nextArenaFrame - GuestFrames) % FramesOfStep == 0)
        {
            arenaMemory.Commit((nextArenaFrame - GuestFrames) * (nuint)FrameSize, FramesOfStep * FrameSize);
        }
        frame = nextArenaFrame++;
        // SAFETY: the arena has a page for every frame from GuestFrames to arenaEnd.
        unsafe
        {
            frames[frame] = arenaMemory.Address + ((nuint)(frame - GuestFrames) * FrameSize);
        }
        return true;
    }

    /// <summary>Gives a frame of the arena back.</summary>
    public void FreeFrame(uint frame)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(frame, GuestFrames);
        freeFrames.Push(frame);
    }

    /// <summary>The 4096 bytes of a frame; empty when the frame is absent.</summary>
    /// <remarks>Writing through the span does not tell the code tracker: for tables and for frames that never ran.</remarks>
    public Span<byte> FrameBytes(uint frame)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(frame, FrameCount);
        // SAFETY: frame is inside the table; a non-null entry has FrameSize bytes.
        unsafe
        {
            return frames[frame] == null ? [] : new Span<byte>(frames[frame], (int)FrameSize);
        }
    }

    /// <summary>Reads a value at a physical address; it may cross frames.</summary>
    public T Read<T>(uint address)
        where T : unmanaged
    {
        uint offset = address % FrameSize;
        // SAFETY: the frame number is below FrameCount, and the value lies inside one frame in the first branch.
        unsafe
        {
            byte* frame = frames[address / FrameSize];
            if (frame != null && offset <= FrameSize - (uint)sizeof(T))
            {
                return Unsafe.ReadUnaligned<T>(frame + offset);
            }
        }
        T value;
        Unsafe.SkipInit(out value);
        Read(address, MemoryMarshal.AsBytes(new Span<T>(ref value)));
        return value;
    }

    /// <summary>Writes a value at a physical address; it may cross frames.</summary>
    public void Write<T>(uint address, T value)
        where T : unmanaged
    {
        uint number = address / FrameSize;
        uint offset = address % FrameSize;
        // SAFETY: as in Read; frames without code have nobody to tell.
        unsafe
        {
            byte* frame = frames[number];
            if (frame != null && offset <= FrameSize - (uint)sizeof(T) && TakesWritesUnnoticed(number))
            {
                Unsafe.WriteUnaligned(frame + offset, value);
                return;
            }
        }
        Write(address, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
    }

    /// <summary>Reads bytes from a physical address on; addresses wrap at 4 GiB.</summary>
    public void Read(uint address, Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int offset = (int)(address % FrameSize);
            int length = Math.Min(bytes.Length, (int)FrameSize - offset);
            Span<byte> frame = FrameBytes(address / FrameSize);
            if (frame.IsEmpty)
            {
                ReadAbsent(address, bytes[..length]);
            }
            else
            {
                frame.Slice(offset, length).CopyTo(bytes);
            }
            bytes = bytes[length..];
            address += (uint)length;
        }
    }

    /// <summary>Writes bytes from a physical address on; addresses wrap at 4 GiB. Decoded code there is dropped.</summary>
    public void Write(uint address, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            uint number = address / FrameSize;
            int offset = (int)(address % FrameSize);
            int length = Math.Min(bytes.Length, (int)FrameSize - offset);
            Span<byte> frame = FrameBytes(number);
            if (IsReadOnly(number))
            {
                // Nobody answers.
            }
            else if (!frame.IsEmpty)
            {
                bytes[..length].CopyTo(frame[offset..]);
                if (FrameHoldsCode(number))
                {
                    CodeTracker?.CodeFrameWritten(number, (uint)offset, (uint)length);
                }
            }
            else
            {
                WriteAbsent(address, bytes[..length]);
            }
            bytes = bytes[length..];
            address += (uint)length;
        }
    }

    /// <summary>Bytes from a physical address on, as far as they lie behind one another in the host's memory: what a host system call can fill at once.</summary>
    /// <remarks>Who writes through the span tells <see cref="Overwritten"/> afterwards.</remarks>
    /// <param name="address">Physical address of the first byte.</param>
    /// <param name="length">The most that is wanted.</param>
    /// <returns>At least one byte, when <paramref name="length"/> is not 0 and the first frame is there; empty otherwise.</returns>
    public Span<byte> Contiguous(uint address, uint length)
    {
        uint number = address / FrameSize;
        uint offset = address % FrameSize;
        // SAFETY: number stays inside the table; every byte of the span lies in a frame that was looked up, and these lie behind one another.
        unsafe
        {
            byte* first = frames[number];
            if (first == null)
            {
                return [];
            }
            ulong there = FrameSize - offset;
            for (uint next = 1; there < length && number + next < FrameCount && frames[number + next] == first + ((nuint)next * FrameSize); next++)
            {
                there += FrameSize;
            }
            return new Span<byte>(first + offset, (int)Math.Min(Math.Min(there, length), int.MaxValue));
        }
    }

    /// <summary>Says that bytes were written around the code tracker, through <see cref="Contiguous"/>: code decoded from them is dropped.</summary>
    public void Overwritten(uint address, uint length)
    {
        while (length > 0)
        {
            uint offset = address % FrameSize;
            uint part = Math.Min(length, FrameSize - offset);
            if (FrameHoldsCode(address / FrameSize))
            {
                CodeTracker?.CodeFrameWritten(address / FrameSize, offset, part);
            }
            address += part;
            length -= part;
        }
    }

    /// <summary>Counts the bytes of host memory that the Guest's own frames and the arena really take; shared frames are not counted.</summary>
    public (long Guest, long Arena) CountResident() => (guestMemory.CountResident(), arenaMemory.CountResident());

    private DeviceRegion? DeviceAt(uint address)
    {
        foreach (DeviceRegion region in deviceRegions)
        {
            if (address - region.Address < region.Length)
            {
                return region;
            }
        }
        return null;
    }

    private void ReadAbsent(uint address, Span<byte> bytes)
    {
        if (DeviceAt(address) is not { } region)
        {
            bytes.Fill(0xFF);
            return;
        }
        for (int done = 0, size; done < bytes.Length; done += size)
        {
            size = PartSize(bytes.Length - done);
            uint value = region.Device.Read(address + (uint)done - region.Address, size);
            for (int i = 0; i < size; i++)
            {
                bytes[done + i] = (byte)(value >> (8 * i));
            }
        }
    }

    private void WriteAbsent(uint address, ReadOnlySpan<byte> bytes)
    {
        if (DeviceAt(address) is not { } region)
        {
            return;
        }
        for (int done = 0, size; done < bytes.Length; done += size)
        {
            size = PartSize(bytes.Length - done);
            uint value = 0;
            for (int i = 0; i < size; i++)
            {
                value |= (uint)bytes[done + i] << (8 * i);
            }
            region.Device.Write(address + (uint)done - region.Address, size, value);
        }
    }

    private static int PartSize(int left) => left >= 4 ? 4 : left >= 2 ? 2 : 1;

    /// <summary>Host address of a frame, or null. The caller stays inside its 4096 bytes.</summary>
    internal byte* FrameAddress(uint frame)
    {
        // SAFETY: callers pass a physical address divided by the frame size, which is below FrameCount.
        unsafe
        {
            return frames[frame];
        }
    }

    /// <summary>A frame is about to be used for the first time in a while: commits it and its neighbours, if that was not done.</summary>
    internal void Prepare(uint frame)
    {
        // SAFETY: as in FrameAddress.
        unsafe
        {
            if ((flags[frame] & Committed) == 0 && frame < GuestFrames)
            {
                Commit(frame / FramesOfStep * FramesOfStep * FrameSize, FramesOfStep * FrameSize);
            }
        }
    }

    /// <summary>Whether code was decoded from this frame.</summary>
    internal bool FrameHoldsCode(uint frame)
    {
        // SAFETY: as in FrameAddress.
        unsafe
        {
            return (flags[frame] & HoldsCode) != 0;
        }
    }

    /// <summary>Whether a frame is ordinary memory: writes change it, and nobody must hear of them.</summary>
    internal bool TakesWritesUnnoticed(uint frame)
    {
        // SAFETY: as in FrameAddress.
        unsafe
        {
            return (flags[frame] & (HoldsCode | IsRom)) == 0;
        }
    }

    private bool IsReadOnly(uint frame)
    {
        // SAFETY: as in FrameAddress.
        unsafe
        {
            return (flags[frame] & IsRom) != 0;
        }
    }

    /// <summary>Remembers whether a frame holds decoded code.</summary>
    internal void SetFrameHoldsCode(uint frame, bool holds)
    {
        // SAFETY: as in FrameAddress.
        unsafe
        {
            flags[frame] = (byte)(holds ? flags[frame] | HoldsCode : flags[frame] & ~HoldsCode);
        }
    }

    /// <summary>Gives all memory back. No processor may run on it afterwards.</summary>
    public void Dispose()
    {
        tableMemory.Dispose();
        flagMemory.Dispose();
        guestMemory.Dispose();
        arenaMemory.Dispose();
        roms.ForEach(static rom => rom.Dispose());
    }
}
