// P:450 The processor. In 2007 the Guest ran on the real one, and only what was forbidden in ring 1 came to the Host. We have no ring 0
// to receive it in, so the processor is a program: it fetches the Guest's instructions, decodes them and does what the manual says. It is
// a complete IA-32 of the Pentium III generation.
//
// The important point is that it knows nothing of lguest. It walks page tables, checks privilege levels and follows gates as silicon
// does. The Host prepares the same tables that it would prepare for silicon, and from then on the Guest cannot tell the difference. There
// is a single concession, the option HostOwnsRing0: where a gate leads into ring 0, no code is waiting there, but Run() returns. So
// ring 0 is whoever called Run(), and that is the Host.
//
// It is one class because silicon is one thing; its parts are files: memory access and paging, segments, exceptions and gates, operands,
// and the engines that execute. The instructions themselves live in Instructions/, one file a family. :*

using System.Runtime.InteropServices;
using Lguest.X86.Execution;
using Lguest.X86.Instructions;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Translation;

namespace Lguest.X86;

/// <summary>Why <see cref="Processor.Run"/> returned.</summary>
public enum ExitKind
{
    /// <summary>A gate led into the ring that belongs to the Host; <see cref="ProcessorExit.Vector"/> says which.</summary>
    HostRing,

    /// <summary>HLT in ring 0: waiting for an interrupt.</summary>
    Halt,

    /// <summary>A fault while delivering a double fault: the processor has shut down.</summary>
    Shutdown,

    /// <summary>Somebody asked by <see cref="Processor.RequestReturn"/>.</summary>
    Requested,
}

/// <summary>What stopped the processor. The state is that of the interrupted program, as a gate would have saved it.</summary>
/// <param name="Kind">Why.</param>
/// <param name="Vector">Vector of the exception or interrupt, 0 to 255.</param>
/// <param name="ErrorCode">Error code, 0 where the vector has none.</param>
public readonly record struct ProcessorExit(ExitKind Kind, byte Vector, uint ErrorCode);

/// <summary>Choices that a machine makes about its processor.</summary>
public sealed record ProcessorOptions
{
    /// <summary>Ring 0 is not code but the program that calls <see cref="Processor.Run"/>: a gate into it returns.</summary>
    public bool HostOwnsRing0 { get; init; } = true;

    /// <summary>What answers IN and OUT; null: nobody, they read ones.</summary>
    public IPortBus? Ports { get; init; }

    /// <summary>Whom the processor asks for interrupts besides <see cref="Processor.RequestInterrupt"/>; null: nobody.</summary>
    public IInterruptController? InterruptController { get; init; }

    /// <summary>
    /// FERR#: called when an instruction waits for an exception of the x87 to be seen to, and CR0.NE says that the board sees to it. The processor then halts
    /// before the instruction. Null: there is no such wire, and #MF is raised whatever CR0.NE says.
    /// </summary>
    public Action? NumericError { get; init; }

    /// <summary>The engine. <see cref="EngineKind.Translator"/> throws where the host does not allow it.</summary>
    public EngineKind Engine { get; init; }

    /// <summary>Executions after which a block is translated; 0 translates at once.</summary>
    public int TranslateAfter { get; init; } = 16;

    /// <summary>
    /// The most bytes that translated code may take, with all that is kept about it: a multiple of 8192, at least 256 KiB. Decoded blocks may take
    /// as many. Committed as they are used; what was made first is given up for what is needed now.
    /// </summary>
    public nuint CodeCacheBytes { get; init; } = 64 << 20;

    /// <summary>Lets translated blocks lead to each other directly; tests switch it off.</summary>
    internal bool ChainBlocks { get; init; } = true;

    /// <summary>The interpreter can be stopped at any count of instructions, which makes it slower.</summary>
    internal bool StopsExactly { get; init; }

    /// <summary>Reads the time-stamp counter; nanoseconds of a monotonic clock by default (so 1 GHz).</summary>
    public Func<ulong> TimeStampCounter { get; init; } =
        static () => (ulong)(System.Diagnostics.Stopwatch.GetTimestamp() * (1_000_000_000.0 / System.Diagnostics.Stopwatch.Frequency));
}

/// <summary>One IA-32 processor on a <see cref="MachineMemory"/>.</summary>
/// <remarks>One thread runs it; only <see cref="RequestInterrupt"/>, <see cref="SignalInterrupt"/> and <see cref="RequestReturn"/> may be called from others.</remarks>
public sealed unsafe partial class Processor : IDisposable
{
    private readonly byte[] contextMemory;
    private readonly EngineContext* context;
    private readonly CpuState* state;
    private readonly MachineMemory memory;
    private readonly ProcessorOptions options;
    private readonly List<AddressSpace> addressSpaces = [];
    private AddressSpace currentSpace;

    /// <summary>Builds a processor in the state after reset, but in flat 32-bit protected mode without paging, ring 0.</summary>
    public Processor(MachineMemory memory, ProcessorOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        this.memory = memory;
        this.options = options ?? new ProcessorOptions();
        stopTolerance = this.options.StopsExactly ? 0u : BlockDecoder.MaximumInstructions;
        const int cacheLine = 64;
        // Other threads may ask for attention as long as they hold the processor, be it disposed: so it is the collector's memory.
        // SAFETY: the array is pinned, zeroed, as large as the structure and its alignment, and lives as long as the processor.
        unsafe
        {
            contextMemory = GC.AllocateArray<byte>(sizeof(EngineContext) + cacheLine, pinned: true);
            nint start = Marshal.UnsafeAddrOfPinnedArrayElement(contextMemory, 0);
            context = (EngineContext*)((start + cacheLine - 1) & -cacheLine);
            state = &context->State;
            context->HostMxcsr = AllMasked;
            context->AttentionAt = NoStop;
            context->LastX87Eip = EngineContext.NoX87;
            context->LastX87Segment = EngineContext.NoX87;
            for (int i = 0; i < LoadedDescriptor.Slots; i++)
            {
                context->Descriptors[i].Key = LoadedDescriptor.Unused;
            }
        }
        blocks = new BlockCache(memory, this.options.CodeCacheBytes);
        fetchReader = new FetchReader(this);
        decoder16 = Iced.Intel.Decoder.Create(16, fetchReader);
        decoder32 = Iced.Intel.Decoder.Create(32, fetchReader);
        memory.CodeTracker = this;
        currentSpace = CreateAddressSpace(0);
        currentTlb = currentSpace.Supervisor;
        bool translates = this.options.Engine == EngineKind.Translator
            || (this.options.Engine == EngineKind.Auto && Engines.CanTranslate(out _));
        translator = translates ? new Translator(this.options.CodeCacheBytes, this.options.ChainBlocks ? this.options.TranslateAfter / 2 : -1) : null;
        blocks.Translator = translator;
        Reset();
    }

    /// <summary>The architectural state; change it only while the processor is not running.</summary>
    /// <remarks>After changing CR0, CR4, segments or the privilege level directly, call <see cref="StateChanged"/>.</remarks>
    public ref CpuState State
    {
        get
        {
            // SAFETY: the block lives as long as the processor.
            unsafe
            {
                return ref *state;
            }
        }
    }

    /// <summary>The machine memory that this processor lives in.</summary>
    public MachineMemory Memory => memory;

    /// <summary>The page directory in use. Setting it loads CR3 and forgets nothing.</summary>
    public AddressSpace CurrentAddressSpace
    {
        get => currentSpace;
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            currentSpace = value;
            State.Cr3 = value.Directory;
            StateChanged();
        }
    }

    /// <summary>Makes an address space for a page directory at a physical address.</summary>
    public AddressSpace CreateAddressSpace(uint directory)
    {
        var space = new AddressSpace(directory);
        addressSpaces.Add(space);
        return space;
    }

    /// <summary>Forgets an address space that is not current and releases its memory.</summary>
    public void ReleaseAddressSpace(AddressSpace space)
    {
        ArgumentNullException.ThrowIfNull(space);
        if (ReferenceEquals(space, currentSpace))
        {
            throw new InvalidOperationException("The current address space cannot be released.");
        }
        addressSpaces.Remove(space);
        space.Dispose();
    }

    /// <summary>Releases the processor's memory; it must not be running.</summary>
    public void Dispose()
    {
        foreach (AddressSpace space in addressSpaces)
        {
            space.Dispose();
        }
        blocks.Dispose();
        translator?.Dispose();
    }

    private void Reset()
    {
        ref CpuState s = ref State;
        s.Cr0 = Cr0.ProtectionEnable | Cr0.ExtensionType | Cr0.NumericError;
        s.SystemFlags = Eflags.AlwaysOne;
        s.Flags.Value = 0;
        for (int i = 0; i < 6; i++)
        {
            s.Segments[i] = new Segment { Limit = 0xFFFF_FFFF, Attributes = 0x00CF_9300 };
        }
        s.Segments[(int)SegmentName.CS].Attributes = 0x00CF_9B00;
        s.Gdtr.Limit = 0xFFFF;
        s.Idtr.Limit = 0xFFFF;
        s.Debug[6] = 0xFFFF_0FF0;
        s.Debug[7] = 0x400;
        s.Fpu.ControlWord = 0x37F;
        s.Fpu.Mxcsr = 0x1F80;
        s.MiscEnable = ModelSpecificRegisters.InitialMiscEnable;
        StateChanged();
    }
}
