// One function of a PCI device: 256 bytes of configuration space, of which some bits can be written, and what these bits do. A base address
// register needs no code for the question of its size: bits below the size cannot be written, so all ones come back as the mask
// (PCI Local Bus Specification 3.0, 6.2.5.1).

using System.Buffers.Binary;
using Lguest.X86;
using Lguest.X86.Memory;

namespace Lguest.Pc.Pci;

/// <summary>Says what a function is.</summary>
/// <param name="Vendor">Vendor of the chip.</param>
/// <param name="Device">The vendor's number for it.</param>
/// <param name="ClassCode">24 bits: class, subclass, interface.</param>
/// <param name="Revision">Revision of the chip.</param>
/// <param name="SubsystemVendor">Vendor of the card.</param>
/// <param name="Subsystem">The vendor's number for the card.</param>
public readonly record struct PciIdentity(ushort Vendor, ushort Device, uint ClassCode, byte Revision = 0, ushort SubsystemVendor = 0, ushort Subsystem = 0);

/// <summary>A function with a header of type 0: memory BARs of 32 bits, capabilities, INTx#.</summary>
/// <remarks>All members belong to the thread that runs the processor.</remarks>
public class PciFunction
{
    /// <summary>Base address registers of a header of type 0.</summary>
    public const int BarCount = 6;

    private readonly byte[] bytes = new byte[PciRegisters.Size];
    private readonly byte[] writable = new byte[PciRegisters.Size];
    private readonly MemoryBar[] bars = new MemoryBar[BarCount];
    private int lastCapability;
    private int nextCapability = PciRegisters.HeaderEnd;
    private bool interrupt;
    private MachineMemory? memory;
    private IInterruptLine? line;

    /// <summary>Makes a function without BARs and capabilities.</summary>
    public PciFunction(in PciIdentity identity)
    {
        Set16(PciRegisters.VendorId, identity.Vendor);
        Set16(PciRegisters.DeviceId, identity.Device);
        bytes[PciRegisters.RevisionId] = identity.Revision;
        bytes[PciRegisters.ClassCode] = (byte)identity.ClassCode;
        Set16(PciRegisters.ClassCode + 1, (ushort)(identity.ClassCode >> 8));
        Set16(PciRegisters.SubsystemVendorId, identity.SubsystemVendor);
        Set16(PciRegisters.SubsystemId, identity.Subsystem);
        AllowWrites(PciRegisters.Command, [(byte)PciRegisters.BusMaster, PciRegisters.InterruptDisable >> 8]);
        AllowWrites(PciRegisters.CacheLineSize, [0xFF]);
        AllowWrites(PciRegisters.InterruptLine, [0xFF]);
    }

    /// <summary>Whether the function has registers in the place of memory.</summary>
    public bool HasMemory => bars.Any(static bar => bar.Device != null);

    /// <summary>Whether the function may touch memory.</summary>
    public bool IsBusMaster => (Command & PciRegisters.BusMaster) != 0;

    /// <summary>The configuration space as it is, for capabilities with registers of their own.</summary>
    protected Span<byte> ConfigurationBytes => bytes;

    private ushort Command => Get16(PciRegisters.Command);

    /// <summary>Reads 1, 2 or 4 bytes of the configuration space.</summary>
    /// <param name="offset">Offset of the lowest byte; the access lies inside one aligned word of four bytes.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    public virtual uint ReadConfiguration(int offset, int size)
    {
        uint value = 0;
        for (int i = 0; i < size; i++)
        {
            value |= (uint)bytes[offset + i] << (8 * i);
        }
        return value;
    }

    /// <summary>Writes 1, 2 or 4 bytes of the configuration space; bits that cannot be written stay.</summary>
    /// <param name="offset">Offset of the lowest byte; the access lies inside one aligned word of four bytes.</param>
    /// <param name="size">1, 2 or 4 bytes.</param>
    /// <param name="value">What is written.</param>
    public virtual void WriteConfiguration(int offset, int size, uint value)
    {
        for (int i = 0; i < size; i++)
        {
            byte mask = writable[offset + i];
            bytes[offset + i] = (byte)((bytes[offset + i] & ~mask) | ((byte)(value >> (8 * i)) & mask));
        }
        DriveInterrupt();
    }

    /// <summary>Brings the function to the state after RST#: it answers at no address and asserts nothing.</summary>
    public virtual void ResetFunction()
    {
        for (int i = 0; i < PciRegisters.Size; i++)
        {
            bytes[i] &= (byte)~writable[i];
        }
        Decode();
        SetInterrupt(false);
    }

    /// <summary>Puts the function into a machine.</summary>
    internal void Connect(MachineMemory memory, int pin, IInterruptLine line)
    {
        this.memory = memory;
        this.line = line;
        bytes[PciRegisters.InterruptPin] = (byte)pin;
    }

    /// <summary>Does what firmware does at power-on: gives every BAR an address, tells the interrupt's number, switches the registers on.</summary>
    /// <param name="next">The first free address; afterwards the first one behind the BARs.</param>
    /// <param name="irq">What INTx# is connected to.</param>
    internal void Configure(ref uint next, byte irq)
    {
        bytes[PciRegisters.InterruptLine] = bytes[PciRegisters.InterruptPin] == 0 ? (byte)0 : irq;
        if (!HasMemory)
        {
            return;
        }
        for (int i = 0; i < BarCount; i++)
        {
            if (bars[i].Device != null)
            {
                next = (next + bars[i].Size - 1) & ~(bars[i].Size - 1);
                BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(BarOffset(i)), next);
                next += bars[i].Size;
            }
        }
        bytes[PciRegisters.Command] |= (byte)PciRegisters.MemorySpace;
        Decode();
    }

    /// <summary>Moves the registers to where the BARs say. A place that is taken, by memory or another device, is not decoded.</summary>
    internal void Decode()
    {
        if (memory == null)
        {
            return;
        }
        bool isOn = (Command & PciRegisters.MemorySpace) != 0;
        for (int i = 0; i < BarCount; i++)
        {
            ref MemoryBar bar = ref bars[i];
            uint wanted = BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(BarOffset(i)));
            if (bar.Device == null || (bar.IsDecoded == isOn && bar.Address == wanted))
            {
                continue;
            }
            if (bar.IsDecoded)
            {
                memory.DetachDevice(bar.Device);
            }
            bar.Address = wanted;
            bar.IsDecoded = isOn && memory.TryAttachDevice(wanted, bar.Size, bar.Device);
        }
    }

    /// <summary>Gives a BAR to a device: 32 bits, not prefetchable.</summary>
    /// <param name="index">0 to 5.</param>
    /// <param name="size">Bytes: a power of two from 4096 on.</param>
    /// <param name="device">What answers there.</param>
    protected void AddMemoryBar(int index, uint size, IMemoryMappedDevice device)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(size, MachineMemory.FrameSize);
        ArgumentOutOfRangeException.ThrowIfNotEqual(size & (size - 1), 0u);
        bars[index] = new MemoryBar { Size = size, Device = device };
        BinaryPrimitives.WriteUInt32LittleEndian(writable.AsSpan(BarOffset(index)), ~(size - 1));
        writable[PciRegisters.Command] |= (byte)PciRegisters.MemorySpace;
    }

    /// <summary>Appends a capability to the list.</summary>
    /// <param name="id">What it is.</param>
    /// <param name="body">What follows its two bytes of id and link.</param>
    /// <returns>Its offset in the configuration space.</returns>
    protected int AddCapability(byte id, ReadOnlySpan<byte> body)
    {
        int offset = nextCapability;
        bytes[offset] = id;
        body.CopyTo(bytes.AsSpan(offset + 2));
        bytes[lastCapability == 0 ? PciRegisters.CapabilitiesPointer : lastCapability + 1] = (byte)offset;
        bytes[PciRegisters.Status] |= (byte)PciRegisters.CapabilitiesList;
        lastCapability = offset;
        nextCapability = (offset + 2 + body.Length + 3) & ~3;
        return offset;
    }

    /// <summary>Lets bits of the configuration space be written.</summary>
    protected void AllowWrites(int offset, ReadOnlySpan<byte> mask) => mask.CopyTo(writable.AsSpan(offset));

    /// <summary>Accesses the region of a BAR from the inside, whether or not it is decoded.</summary>
    /// <returns>Null when the function has no such BAR or the access is not inside its region.</returns>
    protected IMemoryMappedDevice? BarDevice(int index, uint offset, int size) =>
        index < BarCount && (ulong)offset + (uint)size <= bars[index].Size ? bars[index].Device : null;

    /// <summary>Says whether the function wants an interrupt; what comes out of the pin depends on Command.</summary>
    protected void SetInterrupt(bool wanted)
    {
        interrupt = wanted;
        bytes[PciRegisters.Status] = (byte)((bytes[PciRegisters.Status] & ~PciRegisters.InterruptStatus) | (wanted ? PciRegisters.InterruptStatus : 0));
        DriveInterrupt();
    }

    private static int BarOffset(int index) => PciRegisters.BaseAddress + (4 * index);

    private void DriveInterrupt() => line?.Set(interrupt && (Command & PciRegisters.InterruptDisable) == 0);

    private ushort Get16(int offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(offset));

    private void Set16(int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(offset), value);

    private struct MemoryBar
    {
        public uint Size;
        public IMemoryMappedDevice? Device;
        public uint Address;
        public bool IsDecoded;
    }
}
