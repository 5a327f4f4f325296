// Everything an IA-32 program can see of its processor, in one block of plain memory: engines work on it in place, tests compare it
// byte by byte, and a snapshot is a copy of it.

using System.Runtime.CompilerServices;

namespace Lguest.X86.State;

/// <summary>Number of a general register, in the order of the instruction encoding.</summary>
public enum Register32
{
    /// <summary>Accumulator.</summary>
    Eax,

    /// <summary>Counter.</summary>
    Ecx,

    /// <summary>Data.</summary>
    Edx,

    /// <summary>Base.</summary>
    Ebx,

    /// <summary>Stack pointer.</summary>
    Esp,

    /// <summary>Frame pointer.</summary>
    Ebp,

    /// <summary>Source index.</summary>
    Esi,

    /// <summary>Destination index.</summary>
    Edi,
}

/// <summary>EAX to EDI, and four words that decoded operations use as if they were registers.</summary>
/// <remarks>Index 8 is always zero, 9 and 10 mirror the bases of FS and GS, 11 holds a memory operand while an instruction runs.</remarks>
[InlineArray(12)]
public struct GeneralRegisters
{
    /// <summary>Index of the word that is always zero.</summary>
    internal const int ZeroIndex = 8;

    /// <summary>Index of the word that mirrors the base of FS.</summary>
    internal const int FsBaseIndex = 9;

    /// <summary>Index of the word that mirrors the base of GS.</summary>
    internal const int GsBaseIndex = 10;

    /// <summary>Index of the word that holds a memory operand inside an instruction.</summary>
    internal const int TemporaryIndex = 11;

    private uint first;
}

/// <summary>DR0 to DR7.</summary>
[InlineArray(8)]
public struct DebugRegisters
{
    private uint first;
}

/// <summary>The four page-directory-pointer-table entries that the processor holds while PAE paging is on.</summary>
[InlineArray(4)]
public struct DirectoryPointers
{
    private ulong first;
}

/// <summary>Architectural state of one IA-32 processor (Intel SDM volume 1, chapter 3; volume 3, chapter 2).</summary>
public struct CpuState
{
    /// <summary>General registers.</summary>
    public GeneralRegisters General;

    /// <summary>Offset of the next instruction in CS. While an instruction runs: of that instruction.</summary>
    public uint Eip;

    /// <summary>The six status flags.</summary>
    public LazyFlags Flags;

    /// <summary>EFLAGS without its six status flags; bit 1 is set.</summary>
    public uint SystemFlags;

    /// <summary>Current privilege level, 0 to 3.</summary>
    public int PrivilegeLevel;

    /// <summary>Segment registers with their hidden parts.</summary>
    public SegmentRegisters Segments;

    /// <summary>Global descriptor table register.</summary>
    public DescriptorTable Gdtr;

    /// <summary>Interrupt descriptor table register.</summary>
    public DescriptorTable Idtr;

    /// <summary>Local descriptor table register.</summary>
    public Segment Ldtr;

    /// <summary>Task register.</summary>
    public Segment TaskRegister;

    /// <summary>CR0.</summary>
    public uint Cr0;

    /// <summary>CR2: linear address of the last page fault.</summary>
    public uint Cr2;

    /// <summary>CR3: physical address of the page directory.</summary>
    public uint Cr3;

    /// <summary>CR4.</summary>
    public uint Cr4;

    /// <summary>Debug registers.</summary>
    public DebugRegisters Debug;

    /// <summary>x87, MMX and SSE.</summary>
    public FpuState Fpu;

    /// <summary>IA32_SYSENTER_CS; zero makes SYSENTER fault.</summary>
    public uint SysenterCs;

    /// <summary>IA32_SYSENTER_ESP.</summary>
    public uint SysenterEsp;

    /// <summary>IA32_SYSENTER_EIP.</summary>
    public uint SysenterEip;

    /// <summary>IA32_EFER, of which bit 11 (NXE) exists.</summary>
    public uint Efer;

    /// <summary>IA32_MISC_ENABLE, low half.</summary>
    public uint MiscEnable;

    /// <summary>The PDPTE registers (Intel SDM volume 3, 4.4.1), loaded together with CR3.</summary>
    public DirectoryPointers DirectoryPointers;

    /// <summary>EFLAGS as PUSHF would store it.</summary>
    public uint Eflags
    {
        readonly get => SystemFlags | Flags.Value;
        set
        {
            SystemFlags = (value & ~State.Eflags.Status) | State.Eflags.AlwaysOne;
            Flags.Value = value;
        }
    }
}
