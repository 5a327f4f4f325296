// Names for the bits of the control registers, as Intel's manual gives them.

namespace Lguest.X86.State;

/// <summary>Bits of CR0 (Intel SDM volume 3, 2.5).</summary>
public static class Cr0
{
    /// <summary>PE: protected mode.</summary>
    public const uint ProtectionEnable = 0x1;

    /// <summary>MP: WAIT obeys TS.</summary>
    public const uint MonitorCoprocessor = 0x2;

    /// <summary>EM: no x87.</summary>
    public const uint Emulation = 0x4;

    /// <summary>TS: the next floating-point instruction raises vector 7.</summary>
    public const uint TaskSwitched = 0x8;

    /// <summary>ET: always one.</summary>
    public const uint ExtensionType = 0x10;

    /// <summary>NE: x87 errors raise vector 16.</summary>
    public const uint NumericError = 0x20;

    /// <summary>WP: supervisor writes respect read-only pages.</summary>
    public const uint WriteProtect = 0x1_0000;

    /// <summary>NW: with CD, caches that do not write through.</summary>
    public const uint NotWriteThrough = 0x2000_0000;

    /// <summary>CD: caches are off.</summary>
    public const uint CacheDisable = 0x4000_0000;

    /// <summary>AM: alignment checks are possible.</summary>
    public const uint AlignmentMask = 0x4_0000;

    /// <summary>PG: paging.</summary>
    public const uint Paging = 0x8000_0000;
}

/// <summary>Bits of CR4 (Intel SDM volume 3, 2.5).</summary>
public static class Cr4
{
    /// <summary>TSD: RDTSC only in ring 0.</summary>
    public const uint TimeStampDisable = 0x4;

    /// <summary>DE: debug extensions.</summary>
    public const uint DebuggingExtensions = 0x8;

    /// <summary>PSE: 4 MiB pages.</summary>
    public const uint PageSizeExtensions = 0x10;

    /// <summary>PAE: page tables of 64-bit entries.</summary>
    public const uint PhysicalAddressExtension = 0x20;

    /// <summary>PGE: global pages.</summary>
    public const uint PageGlobalEnable = 0x80;

    /// <summary>OSFXSR: SSE is enabled.</summary>
    public const uint OsFxsr = 0x200;

    /// <summary>OSXMMEXCPT: unmasked SSE exceptions raise vector 19.</summary>
    public const uint OsXmmExceptions = 0x400;
}

/// <summary>Bits of IA32_EFER (Intel SDM volume 3, 2.2.1).</summary>
public static class Efer
{
    /// <summary>NXE: bit 63 of a PAE page-table entry forbids execution.</summary>
    public const uint NoExecuteEnable = 0x800;
}

/// <summary>Exception vectors (Intel SDM volume 3, 6.3.1).</summary>
public static class Vector
{
    /// <summary>#DE.</summary>
    public const byte DivideError = 0;

    /// <summary>#DB.</summary>
    public const byte Debug = 1;

    /// <summary>NMI.</summary>
    public const byte NonMaskable = 2;

    /// <summary>#BP.</summary>
    public const byte Breakpoint = 3;

    /// <summary>#OF.</summary>
    public const byte Overflow = 4;

    /// <summary>#BR.</summary>
    public const byte BoundRange = 5;

    /// <summary>#UD.</summary>
    public const byte InvalidOpcode = 6;

    /// <summary>#NM.</summary>
    public const byte DeviceNotAvailable = 7;

    /// <summary>#DF.</summary>
    public const byte DoubleFault = 8;

    /// <summary>#TS.</summary>
    public const byte InvalidTss = 10;

    /// <summary>#NP.</summary>
    public const byte SegmentNotPresent = 11;

    /// <summary>#SS.</summary>
    public const byte StackFault = 12;

    /// <summary>#GP.</summary>
    public const byte GeneralProtection = 13;

    /// <summary>#PF.</summary>
    public const byte PageFault = 14;

    /// <summary>#MF.</summary>
    public const byte X87FloatingPoint = 16;

    /// <summary>#AC.</summary>
    public const byte AlignmentCheck = 17;

    /// <summary>#XM.</summary>
    public const byte SimdFloatingPoint = 19;
}
