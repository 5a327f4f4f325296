// A kernel on its way into Guest memory: pieces of a stream and the places they go to. ElfImage and BzImage find the pieces in their two
// kinds of file; what is the same for both (copying them, and finding the one instruction at which an lguest kernel starts) is here.

using Lguest.X86.Memory;

namespace Lguest.Launcher.Images;

/// <summary>One piece of a kernel.</summary>
/// <param name="FileOffset">Where it begins in the stream, in bytes.</param>
/// <param name="FileSize">Bytes to copy.</param>
/// <param name="Address">Guest physical address to copy them to.</param>
/// <param name="MemorySize">Bytes that the Guest will use there: the rest of a segment is the kernel's BSS.</param>
internal readonly record struct ImageSegment(uint FileOffset, uint FileSize, uint Address, uint MemorySize);

/// <summary>A kernel image whose headers have been understood.</summary>
internal sealed class KernelImage : IDisposable
{
    private readonly string name;
    private readonly Stream contents;
    private readonly IReadOnlyList<ImageSegment> segments;

    /// <param name="name">What to call the image in messages.</param>
    /// <param name="contents">Seekable stream that the segments are pieces of; the image closes it.</param>
    /// <param name="segments">The pieces, in the order of the file; at least one.</param>
    /// <param name="pageOffset">Guest virtual minus Guest physical address.</param>
    public KernelImage(string name, Stream contents, IReadOnlyList<ImageSegment> segments, uint pageOffset)
    {
        this.name = name;
        this.contents = contents;
        this.segments = segments;
        PageOffset = pageOffset;
        MemoryEnd = segments.Max(static s => s.Address + (ulong)Math.Max(s.MemorySize, s.FileSize));
    }

    /// <summary>The 13 characters that stand immediately before an lguest kernel's first instruction (ABI 2.2).</summary>
    public static ReadOnlySpan<byte> EntryMark => "GenuineLguest"u8;

    /// <summary>Guest virtual minus Guest physical address of the kernel's linear map.</summary>
    public uint PageOffset { get; }

    /// <summary>Where the file says that it begins: a physical address, of use on a PC only.</summary>
    public uint EntryPoint { get; init; }

    /// <summary>First Guest physical address behind the kernel and its BSS.</summary>
    public ulong MemoryEnd { get; }

    // L:140 A kernel comes in one of two forms. An ELF file, vmlinux, is what the linker makes: it says about itself where each piece
    // belongs. A bzImage is what people have in /boot: compressed, with a program around it that unpacks it, which runs on a real PC
    // only. The first four bytes tell which it is.
    /// <summary>Opens a vmlinux or a bzImage.</summary>
    /// <exception cref="MachineConfigurationException">There is no such file, or it is no kernel for lguest.</exception>
    public static KernelImage Open(string path)
    {
        FileStream file = ImageFile.Open("kernel", path);
        try
        {
            string name = $"kernel {path}";
            if (file.Length == 0)
            {
                throw new MachineConfigurationException($"{name} is empty.");
            }
            return ElfImage.IsElf(file) ? ElfImage.Read(name, file) : BzImage.Read(name, file);
        }
        catch (Exception error)
        {
            file.Dispose();
            if (error is IOException or UnauthorizedAccessException)
            {
                throw new MachineConfigurationException($"kernel {path} cannot be read: {error.Message}", error);
            }
            throw;
        }
    }
    // :*

    /// <summary>Copies the pieces to their places. They must lie inside <paramref name="memory"/>.</summary>
    public void CopyTo(MachineMemory memory)
    {
        foreach (ImageSegment segment in segments)
        {
            contents.Position = segment.FileOffset;
            if (ImageFile.Read(contents, memory, segment.Address, segment.FileSize) < segment.FileSize)
            {
                throw new MachineConfigurationException($"{name} has become shorter while it was read.");
            }
        }
    }

    // L:135 Where does a Guest begin? The ELF header names an entry point, but that one is for a PC without paging. A kernel that can be
    // a Guest has another one, and marks it by thirteen characters right in front of the first instruction. The Launcher looks through
    // the whole kernel for them. A kernel without the mark is refused here, by a sentence that says how to build a better one.
    /// <summary>Finds the Guest virtual address of the first instruction in a kernel that has been copied to memory.</summary>
    /// <exception cref="MachineConfigurationException">No <see cref="EntryMark"/>: this kernel does not know lguest.</exception>
    public uint FindEntry(MachineMemory memory)
    {
        uint lowest = segments.Min(static s => s.Address);
        uint highest = segments.Max(static s => s.Address + s.FileSize);
        // Nobody shares frames of a machine that is being built: the Guest's memory lies behind one another.
        int mark = memory.Contiguous(lowest, highest - lowest).IndexOf(EntryMark);
        return mark >= 0 ? lowest + (uint)mark + (uint)EntryMark.Length + PageOffset : throw NotCapable();
    }
    // :*

    /// <summary>Refuses a file that could not run whatever the size of memory.</summary>
    /// <exception cref="MachineConfigurationException">No <see cref="EntryMark"/> in any segment.</exception>
    public void RequireEntryMark()
    {
        foreach (ImageSegment segment in segments)
        {
            if (HasMark(segment.FileOffset, segment.FileOffset + (ulong)segment.FileSize))
            {
                return;
            }
        }
        throw NotCapable();
    }

    public void Dispose() => contents.Dispose();

    /// <summary>Searches a range of the file; pieces of it overlap by the length of the mark.</summary>
    private bool HasMark(ulong start, ulong end)
    {
        byte[] window = new byte[1 << 16];
        uint step = (uint)(window.Length - EntryMark.Length + 1);
        for (ulong offset = start; offset < end; offset += step)
        {
            contents.Position = (long)offset;
            int wanted = (int)Math.Min((ulong)window.Length, end - offset);
            int count = contents.ReadAtLeast(window.AsSpan(0, wanted), wanted, throwOnEndOfStream: false);
            if (window.AsSpan(0, count).IndexOf(EntryMark) >= 0)
            {
                return true;
            }
        }
        return false;
    }

    private MachineConfigurationException NotCapable() => new(
        $"{name} is not lguest-capable (it has no GenuineLguest entry mark): build it with CONFIG_LGUEST_GUEST=y.");
}
