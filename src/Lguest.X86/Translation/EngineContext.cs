// What emitted code can reach besides the Guest's memory: one block of plain memory that R14 points to while a Guest runs. The words
// that every block touches come first, where a displacement of one byte reaches them; the architectural state follows.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

/// <summary>Memory shared by the processor's C# and its translated code.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct EngineContext
{
    /// <summary>The outer loop is wanted once so many instructions are completed; other threads set 0, which means at once.</summary>
    public ulong AttentionAt;

    /// <summary>Status flags as LAHF and SETO leave them: AH is the low byte of EFLAGS, AL is OF.</summary>
    public uint FlagsWord;

    /// <summary>Linear address of a memory operand that missed, or the EIP that an indirect branch wants.</summary>
    public uint Address;

    /// <summary>Which of the host's floating-point units hold the Guest's values.</summary>
    public FloatUnits FloatLive;

    /// <summary>Instructions completed; blocks count theirs when they are entered.</summary>
    public long InstructionCount;

    /// <summary>The soft-TLB in use.</summary>
    public Memory.TlbEntry* Tlb;

    /// <summary>Where indirect branches look first.</summary>
    public JumpCacheEntry* JumpCache;

    /// <summary>Zero: with the mode behind it, a word that an EIP makes the key of a jump cache entry.</summary>
    public uint NoEip;

    /// <summary>What blocks may assume now; see <see cref="Execution.BlockMode"/>.</summary>
    public uint BlockMode;

    /// <summary>EIP of the last x87 instruction since the units were loaded, or <see cref="NoX87"/>.</summary>
    public uint LastX87Eip;

    /// <summary>Segment register of the last x87 memory operand since the units were loaded, or <see cref="NoX87"/>.</summary>
    public uint LastX87Segment;

    /// <summary>Offset of the last x87 memory operand.</summary>
    public uint LastX87Operand;

    /// <summary>MXCSR as C# expects it.</summary>
    public uint HostMxcsr;

    /// <summary>Holds a value inside an instruction.</summary>
    public ulong Spilled;

    /// <summary>The soft-TLB of rings 0 to 2; that of ring 3 lies <see cref="Memory.AddressSpace.UserOffset"/> bytes behind it.</summary>
    public Memory.TlbEntry* SupervisorTlb;

    /// <summary>Host addresses of the runs of the block that runs; see <see cref="SharedRun"/>.</summary>
    public RunAddresses Runs;

    /// <summary>Host address of the lowest place of the return stack, which holds what to do when it is empty.</summary>
    public byte* ReturnStack;

    /// <summary>Below this address the return stack is full.</summary>
    public byte* ReturnLimit;

    /// <summary>Not zero when an external interrupt may have been asked for that was not looked at yet: whoever allows interrupts then must look.</summary>
    public ulong InterruptMayWait;

    /// <summary>What FXSAVE and FXRSTOR carry: at an offset that is a multiple of 16 bytes.</summary>
    public FloatImage Image;

    /// <summary>The architectural state.</summary>
    public CpuState State;

    /// <summary>Descriptors that were loaded before, by <see cref="LoadedDescriptor.Slot"/>.</summary>
    public LoadedDescriptors Descriptors;

    /// <summary>There has been no such instruction.</summary>
    public const uint NoX87 = uint.MaxValue;
}

/// <summary>One word for each run of a block.</summary>
[InlineArray(SharedRuns.Limit)]
internal struct RunAddresses
{
    private ulong first;
}

/// <summary>Floating-point units of the host that hold the Guest's values.</summary>
internal enum FloatUnits : byte
{
    None,

    /// <summary>The x87 registers, which MMX uses, too.</summary>
    X87,

    /// <summary>These and the SSE registers.</summary>
    X87AndSse,
}

/// <summary>The memory image of FXSAVE, as far as it is used (Intel SDM volume 1, 10.5.1).</summary>
[StructLayout(LayoutKind.Explicit, Size = 512)]
internal struct FloatImage
{
    [FieldOffset(0)]
    public ushort ControlWord;

    [FieldOffset(2)]
    public ushort StatusWord;

    [FieldOffset(4)]
    public byte ValidTags;

    [FieldOffset(24)]
    public uint Mxcsr;

    /// <summary>ST(0) to ST(7).</summary>
    [FieldOffset(32)]
    public Float80Registers Stack;
}

/// <summary>What loading a segment register with a selector gave last time.</summary>
internal struct LoadedDescriptor
{
    /// <summary>Selector, and the privilege level in the high half; <see cref="Unused"/> when the slot is free.</summary>
    public uint Key;

    public uint Base;
    public uint Limit;
    public uint Attributes;

    /// <summary>The descriptor in the GDT that this came from.</summary>
    public ulong Raw;

    /// <summary>The segment reaches all 4 GiB from its base, and that from 0.</summary>
    public byte IsUnlimited, IsFlat;

    /// <summary>Limit of the GDT then.</summary>
    public uint TableLimit;

    public const uint Unused = uint.MaxValue;
    public const int Slots = 16, SizeShift = 5;
    public const int BaseOffset = 4, AttributesOffset = 12, RawOffset = 16, IsUnlimitedOffset = 24, IsFlatOffset = 25, TableLimitOffset = 28;

    /// <summary>Slot of a selector.</summary>
    public static int Slot(ushort selector) => (selector >> 3) & (Slots - 1);
}

/// <summary>The slots for loaded descriptors.</summary>
[InlineArray(LoadedDescriptor.Slots)]
internal struct LoadedDescriptors
{
    private LoadedDescriptor first;
}

/// <summary>Displacements from R14 to what emitted code uses.</summary>
internal static class ContextLayout
{
    public static readonly int AttentionAt, FlagsWord, Address, InstructionCount, Tlb, JumpCache, JumpKey, BlockMode, State,
        FloatLive, Runs, LastX87Eip, LastX87Segment, LastX87Operand, Image, HostMxcsr, Mxcsr, Xmm, SystemFlags, Spilled, SupervisorTlb, Descriptors,
        PrivilegeLevel, GdtBase, GdtLimit, ReturnStack, ReturnLimit, InterruptMayWait, SysenterCs, SysenterEsp, SysenterEip;

    static ContextLayout()
    {
        // SAFETY: only distances between the parts of a local are taken.
        unsafe
        {
            EngineContext context;
            byte* start = (byte*)&context;
            AttentionAt = (int)((byte*)&context.AttentionAt - start);
            FlagsWord = (int)((byte*)&context.FlagsWord - start);
            Address = (int)((byte*)&context.Address - start);
            InstructionCount = (int)((byte*)&context.InstructionCount - start);
            Tlb = (int)((byte*)&context.Tlb - start);
            JumpCache = (int)((byte*)&context.JumpCache - start);
            JumpKey = (int)((byte*)&context.NoEip - start);
            BlockMode = (int)((byte*)&context.BlockMode - start);
            State = (int)((byte*)&context.State - start);
            FloatLive = (int)((byte*)&context.FloatLive - start);
            LastX87Eip = (int)((byte*)&context.LastX87Eip - start);
            LastX87Segment = (int)((byte*)&context.LastX87Segment - start);
            LastX87Operand = (int)((byte*)&context.LastX87Operand - start);
            Runs = (int)((byte*)&context.Runs - start);
            ReturnStack = (int)((byte*)&context.ReturnStack - start);
            ReturnLimit = (int)((byte*)&context.ReturnLimit - start);
            InterruptMayWait = (int)((byte*)&context.InterruptMayWait - start);
            Image = (int)((byte*)&context.Image - start);
            System.Diagnostics.Debug.Assert(Image % 16 == 0, "FXSAVE faults on an image that is not aligned.");
            HostMxcsr = (int)((byte*)&context.HostMxcsr - start);
            SupervisorTlb = (int)((byte*)&context.SupervisorTlb - start);
            Descriptors = (int)((byte*)&context.Descriptors - start);
            PrivilegeLevel = (int)((byte*)&context.State.PrivilegeLevel - start);
            GdtBase = (int)((byte*)&context.State.Gdtr.Base - start);
            GdtLimit = (int)((byte*)&context.State.Gdtr.Limit - start);
            Spilled = (int)((byte*)&context.Spilled - start);
            SystemFlags = (int)((byte*)&context.State.SystemFlags - start);
            Mxcsr = (int)((byte*)&context.State.Fpu.Mxcsr - start);
            SysenterCs = (int)((byte*)&context.State.SysenterCs - start);
            SysenterEsp = (int)((byte*)&context.State.SysenterEsp - start);
            SysenterEip = (int)((byte*)&context.State.SysenterEip - start);
            Xmm = (int)((byte*)&context.State.Fpu.Xmm - start);
        }
    }

    /// <summary>Displacements of a segment register's base (its limit follows), attributes and selector.</summary>
    public static (int Base, int Attributes, int Selector) Segment(int number)
    {
        // SAFETY: as in the constructor.
        unsafe
        {
            EngineContext context;
            Segment* segment = (Segment*)&context.State.Segments + number;
            byte* start = (byte*)&context;
            return ((int)((byte*)&segment->Base - start), (int)((byte*)&segment->Attributes - start), (int)((byte*)&segment->Selector - start));
        }
    }

    /// <summary>Displacement of a general register's word.</summary>
    public static int General(int index) => State + (index * 4);
}

/// <summary>Where an indirect branch found its target last time. Whether that is still true, the instruction TLB says.</summary>
[StructLayout(LayoutKind.Sequential, Size = 1 << SizeShift)]
internal unsafe struct JumpCacheEntry
{
    /// <summary>EIP in the low half, <see cref="EngineContext.BlockMode"/> in the high one.</summary>
    public ulong Key;

    /// <summary>Entry of the block that takes the flags saved.</summary>
    public byte* Code;

    /// <summary>How the target's page must be mapped now: an <see cref="Memory.ExecuteEntry"/>.</summary>
    public ulong Mapping;

    /// <summary>Displacements of the fields, for code that is written without a compiler.</summary>
    public const int CodeOffset = 8, MappingOffset = 16;

    /// <summary>Binary logarithm of an entry's size.</summary>
    public const int SizeShift = 5;

    /// <summary>Entries of the cache.</summary>
    public const int Count = 16384;
}
