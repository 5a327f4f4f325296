namespace Lguest.X86.State;

/// <summary>Bits of EFLAGS (Intel SDM volume 1, 3.4.3).</summary>
public static class Eflags
{
    /// <summary>CF.</summary>
    public const uint Carry = 0x1;

    /// <summary>Bit 1 reads as one.</summary>
    public const uint AlwaysOne = 0x2;

    /// <summary>PF.</summary>
    public const uint Parity = 0x4;

    /// <summary>AF.</summary>
    public const uint Adjust = 0x10;

    /// <summary>ZF.</summary>
    public const uint Zero = 0x40;

    /// <summary>SF.</summary>
    public const uint Sign = 0x80;

    /// <summary>TF.</summary>
    public const uint Trap = 0x100;

    /// <summary>IF.</summary>
    public const uint Interrupt = 0x200;

    /// <summary>DF.</summary>
    public const uint Direction = 0x400;

    /// <summary>OF.</summary>
    public const uint Overflow = 0x800;

    /// <summary>IOPL, two bits.</summary>
    public const uint IoPrivilege = 0x3000;

    /// <summary>NT.</summary>
    public const uint NestedTask = 0x4000;

    /// <summary>RF.</summary>
    public const uint Resume = 0x1_0000;

    /// <summary>VM.</summary>
    public const uint Virtual8086 = 0x2_0000;

    /// <summary>AC.</summary>
    public const uint AlignmentCheck = 0x4_0000;

    /// <summary>VIF.</summary>
    public const uint VirtualInterrupt = 0x8_0000;

    /// <summary>VIP.</summary>
    public const uint VirtualInterruptPending = 0x10_0000;

    /// <summary>ID.</summary>
    public const uint Identification = 0x20_0000;

    /// <summary>The six status flags.</summary>
    public const uint Status = Carry | Parity | Adjust | Zero | Sign | Overflow;
}
