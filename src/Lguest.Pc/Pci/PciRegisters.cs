// The registers of a function's configuration space, by the names and offsets of the PCI Local Bus Specification 3.0, chapter 6.

namespace Lguest.Pc.Pci;

/// <summary>Offsets in a configuration space with a header of type 0, in bytes, and the bits there.</summary>
public static class PciRegisters
{
    /// <summary>Bytes of a configuration space.</summary>
    public const int Size = 256;

    /// <summary>u16.</summary>
    public const int VendorId = 0x00;

    /// <summary>u16.</summary>
    public const int DeviceId = 0x02;

    /// <summary>u16: <see cref="MemorySpace"/>, <see cref="BusMaster"/>, <see cref="InterruptDisable"/>.</summary>
    public const int Command = 0x04;

    /// <summary>u16: <see cref="InterruptStatus"/>, <see cref="CapabilitiesList"/>.</summary>
    public const int Status = 0x06;

    /// <summary>u8.</summary>
    public const int RevisionId = 0x08;

    /// <summary>Three bytes: interface, subclass, class.</summary>
    public const int ClassCode = 0x09;

    /// <summary>u8; of no effect.</summary>
    public const int CacheLineSize = 0x0C;

    /// <summary>u8.</summary>
    public const int HeaderType = 0x0E;

    /// <summary>Six words: the base address registers.</summary>
    public const int BaseAddress = 0x10;

    /// <summary>u16.</summary>
    public const int SubsystemVendorId = 0x2C;

    /// <summary>u16.</summary>
    public const int SubsystemId = 0x2E;

    /// <summary>u8: offset of the first capability.</summary>
    public const int CapabilitiesPointer = 0x34;

    /// <summary>u8: what the firmware found out about the interrupt's way; of no effect.</summary>
    public const int InterruptLine = 0x3C;

    /// <summary>u8: 1 to 4 for INTA# to INTD#, 0 for none.</summary>
    public const int InterruptPin = 0x3D;

    /// <summary>First byte behind the header: here the capabilities begin.</summary>
    public const int HeaderEnd = 0x40;

    /// <summary>In Command: the function answers at its memory BARs.</summary>
    public const ushort MemorySpace = 1 << 1;

    /// <summary>In Command: the function may touch memory.</summary>
    public const ushort BusMaster = 1 << 2;

    /// <summary>In Command: INTx# is not to be asserted.</summary>
    public const ushort InterruptDisable = 1 << 10;

    /// <summary>In Status: the function wants an interrupt, whether or not it may assert INTx#.</summary>
    public const ushort InterruptStatus = 1 << 3;

    /// <summary>In Status: the capabilities pointer is good.</summary>
    public const ushort CapabilitiesList = 1 << 4;
}
