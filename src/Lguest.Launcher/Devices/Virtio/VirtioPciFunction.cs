// virtio over PCI, as a driver of version 1 finds it (specification 4.1): capabilities say where in a BAR the registers are. The same
// registers can be reached through configuration space, for firmware that has mapped nothing yet. A driver that breaks a rule is told by
// the bit NEEDS_RESET, and hurts nobody but itself.

using System.Buffers.Binary;
using Lguest.Pc.Pci;
using Lguest.X86;
using Lguest.X86.Memory;
using Microsoft.Extensions.Logging;

namespace Lguest.Launcher.Devices.Virtio;

/// <summary>The PCI function of a virtio device.</summary>
internal sealed partial class VirtioPciFunction : PciFunction, IMemoryMappedDevice, IVirtioTransport
{
    private const ushort Vendor = 0x1AF4;
    private const ushort FirstModernDevice = 0x1040;
    private const ushort ModernSubsystem = 0x1100;
    private const byte VendorCapability = 9;
    private const ushort NoVector = 0xFFFF;
    private const byte QueueInterrupt = 1;
    private const byte ConfigurationInterrupt = 2;
    private const VirtioStatus DriversBits =
        VirtioStatus.Acknowledge | VirtioStatus.Driver | VirtioStatus.DriverOk | VirtioStatus.FeaturesOk | VirtioStatus.Failed;

    private readonly VirtioDevice device;
    private readonly ILogger logger;
    private readonly Virtqueue[] queues;
    private readonly int windowCapability;
    private VirtioStatus status;
    private uint deviceFeatureSelect;
    private uint driverFeatureSelect;
    private ulong driverFeatures;
    private ushort queueSelect;
    private byte interruptStatus;
    private byte generation;
    private bool warned;

    /// <summary>Puts a device on a PCI function.</summary>
    /// <param name="device">The device; whoever made it disposes of it.</param>
    /// <param name="memory">The Guest's memory.</param>
    /// <param name="logger">Receives one warning about a driver that breaks the rules.</param>
    public VirtioPciFunction(VirtioDevice device, MachineMemory memory, ILogger logger)
        : base(new PciIdentity(Vendor, (ushort)(FirstModernDevice + (int)device.Type), device.ClassCode, 1, Vendor, ModernSubsystem))
    {
        this.device = device;
        this.logger = logger;
        queues = [.. Enumerable.Range(0, device.QueueCount).Select(_ => new Virtqueue(memory, () => Interrupt(QueueInterrupt), Fail))];
        AddMemoryBar(0, VirtioPciBar.Size, this);
        AddStructure(StructureType.Common, VirtioPciBar.Common, VirtioCommonRegister.Size, []);
        AddStructure(StructureType.Notify, VirtioPciBar.Notify, (uint)queues.Length * VirtioPciBar.NotifyMultiplier, [(byte)VirtioPciBar.NotifyMultiplier, 0, 0, 0]);
        AddStructure(StructureType.InterruptStatus, VirtioPciBar.InterruptStatus, 1, []);
        AddStructure(StructureType.Device, VirtioPciBar.Device, VirtioPciBar.PageSize, []);
        windowCapability = AddStructure(StructureType.Window, 0, 0, [0, 0, 0, 0]);
        AllowWrites(windowCapability + WindowBar, [0xFF]);
        AllowWrites(windowCapability + WindowOffset, [.. Enumerable.Repeat((byte)0xFF, WindowEnd - WindowOffset)]);
        device.Attach(this);
    }

    private enum StructureType : byte
    {
        Common = 1,
        Notify = 2,
        InterruptStatus = 3,
        Device = 4,
        Window = 5,
    }

    /// <inheritdoc/>
    public ulong Features => (status & VirtioStatus.FeaturesOk) != 0 ? driverFeatures : 0;

    /// <inheritdoc/>
    public IReadOnlyList<Virtqueue> Queues => queues;

    private ulong OfferedFeatures => device.Features | VirtioFeatures.Common;

    /// <inheritdoc/>
    public void ConfigurationChanged()
    {
        generation++;
        if ((status & VirtioStatus.DriverOk) != 0)
        {
            Interrupt(ConfigurationInterrupt);
        }
    }

    /// <inheritdoc/>
    public void Fail(string mistake)
    {
        if ((status & VirtioStatus.NeedsReset) != 0)
        {
            return;
        }
        status |= VirtioStatus.NeedsReset;
        SetLive();
        if ((status & VirtioStatus.DriverOk) != 0)
        {
            Interrupt(ConfigurationInterrupt);
        }
        // Once: a driver can do this a million times a second.
        if (!warned)
        {
            warned = true;
            LogMistake(device.Type, mistake);
        }
    }

    /// <inheritdoc/>
    public override void ResetFunction()
    {
        base.ResetFunction();
        ResetDevice();
    }

    /// <inheritdoc/>
    public override void WriteConfiguration(int offset, int size, uint value)
    {
        base.WriteConfiguration(offset, size, value);
        SetLive();
        if (offset >= windowCapability + WindowData && offset < windowCapability + WindowEnd)
        {
            AccessWindow(isWrite: true);
        }
    }

    /// <inheritdoc/>
    public override uint ReadConfiguration(int offset, int size)
    {
        if (offset >= windowCapability + WindowData && offset < windowCapability + WindowEnd)
        {
            AccessWindow(isWrite: false);
        }
        return base.ReadConfiguration(offset, size);
    }

    /// <inheritdoc/>
    public uint Read(uint offset, int size)
    {
        int inside = (int)(offset % VirtioPciBar.PageSize);
        switch (offset - (uint)inside)
        {
            case VirtioPciBar.Common:
                Span<byte> common = stackalloc byte[VirtioCommonRegister.Size];
                WriteCommonTo(common);
                return Extract(common, inside, size);
            case VirtioPciBar.InterruptStatus when inside == 0:
                byte pending = interruptStatus;
                interruptStatus = 0;
                SetInterrupt(false);
                return pending;
            case VirtioPciBar.Device:
                return Extract(device.Configuration, inside, size);
            default:
                return 0;
        }
    }

    /// <inheritdoc/>
    public void Write(uint offset, int size, uint value)
    {
        uint inside = offset % VirtioPciBar.PageSize;
        switch (offset - inside)
        {
            case VirtioPciBar.Common:
                WriteCommon((int)inside, size, value);
                break;
            case VirtioPciBar.Notify when inside / VirtioPciBar.NotifyMultiplier < queues.Length && IsServing:
                device.Serve((int)(inside / VirtioPciBar.NotifyMultiplier));
                break;
            default:
                break;
        }
    }

    private bool IsServing => (status & (VirtioStatus.DriverOk | VirtioStatus.NeedsReset)) == VirtioStatus.DriverOk && IsBusMaster;

    private static uint Extract(ReadOnlySpan<byte> bytes, int offset, int size)
    {
        uint value = 0;
        for (int i = 0; i < size && offset + i < bytes.Length; i++)
        {
            value |= (uint)bytes[offset + i] << (8 * i);
        }
        return value;
    }

    private void WriteCommonTo(Span<byte> registers)
    {
        Set32(registers, VirtioCommonRegister.DeviceFeatureSelect, deviceFeatureSelect);
        Set32(registers, VirtioCommonRegister.DeviceFeature, Half(OfferedFeatures, deviceFeatureSelect));
        Set32(registers, VirtioCommonRegister.DriverFeatureSelect, driverFeatureSelect);
        Set32(registers, VirtioCommonRegister.DriverFeature, Half(driverFeatures, driverFeatureSelect));
        Set16(registers, VirtioCommonRegister.ConfigurationVector, NoVector);
        Set16(registers, VirtioCommonRegister.QueueCount, (ushort)queues.Length);
        registers[VirtioCommonRegister.DeviceStatus] = (byte)status;
        registers[VirtioCommonRegister.ConfigurationGeneration] = generation;
        Set16(registers, VirtioCommonRegister.QueueSelect, queueSelect);
        Set16(registers, VirtioCommonRegister.QueueVector, NoVector);
        if (queueSelect < queues.Length)
        {
            Virtqueue queue = queues[queueSelect];
            Set16(registers, VirtioCommonRegister.QueueSize, queue.Place.Size);
            Set16(registers, VirtioCommonRegister.QueueEnable, queue.IsEnabled ? (ushort)1 : (ushort)0);
            Set16(registers, VirtioCommonRegister.QueueNotifyOffset, queueSelect);
            BinaryPrimitives.WriteUInt64LittleEndian(registers[VirtioCommonRegister.QueueDescriptors..], queue.Place.Descriptors);
            BinaryPrimitives.WriteUInt64LittleEndian(registers[VirtioCommonRegister.QueueAvailable..], queue.Place.Available);
            BinaryPrimitives.WriteUInt64LittleEndian(registers[VirtioCommonRegister.QueueUsed..], queue.Place.Used);
        }
    }

    /// <summary>Writes a register; a driver accesses each by its own size (4.1.3.1), the 64-bit ones by halves.</summary>
    private void WriteCommon(int offset, int size, uint value)
    {
        switch (offset, size)
        {
            case (VirtioCommonRegister.DeviceFeatureSelect, 4):
                deviceFeatureSelect = value;
                break;
            case (VirtioCommonRegister.DriverFeatureSelect, 4):
                driverFeatureSelect = value;
                break;
            case (VirtioCommonRegister.DriverFeature, 4) when driverFeatureSelect < 2 && (status & VirtioStatus.FeaturesOk) == 0:
                driverFeatures = WithHalf(driverFeatures, driverFeatureSelect, value);
                break;
            case (VirtioCommonRegister.DeviceStatus, 1):
                SetStatus((VirtioStatus)value);
                break;
            case (VirtioCommonRegister.QueueSelect, 2):
                queueSelect = (ushort)value;
                break;
            default:
                if (queueSelect < queues.Length)
                {
                    WriteQueue(queues[queueSelect], offset, size, value);
                }
                break;
        }
    }

    private void WriteQueue(Virtqueue queue, int offset, int size, uint value)
    {
        VirtqueuePlace place = queue.Place;
        uint half = (uint)(offset >> 2) & 1;
        switch (offset & ~4, size)
        {
            case (VirtioCommonRegister.QueueSize, 2) when offset == VirtioCommonRegister.QueueSize:
                queue.SetPlace(place with { Size = (ushort)value });
                break;
            case (VirtioCommonRegister.QueueSize, 2) when offset == VirtioCommonRegister.QueueEnable && value == 1:
                queue.Enable(Features);
                SetLive();
                break;
            case (VirtioCommonRegister.QueueDescriptors, 4):
                queue.SetPlace(place with { Descriptors = WithHalf(place.Descriptors, half, value) });
                break;
            case (VirtioCommonRegister.QueueAvailable, 4):
                queue.SetPlace(place with { Available = WithHalf(place.Available, half, value) });
                break;
            case (VirtioCommonRegister.QueueUsed, 4):
                queue.SetPlace(place with { Used = WithHalf(place.Used, half, value) });
                break;
            default:
                break;
        }
    }

    private void SetStatus(VirtioStatus value)
    {
        if (value == VirtioStatus.None)
        {
            ResetDevice();
            return;
        }
        // Only a reset takes a bit back.
        VirtioStatus added = value & DriversBits & ~status;
        bool isAcceptable = (driverFeatures & ~OfferedFeatures) == 0 && (driverFeatures & VirtioFeatures.Version1) != 0;
        if ((added & VirtioStatus.FeaturesOk) != 0 && !isAcceptable)
        {
            added &= ~VirtioStatus.FeaturesOk;
        }
        if (((status | added) & VirtioStatus.FeaturesOk) == 0)
        {
            added &= ~VirtioStatus.DriverOk;
        }
        status |= added;
        SetLive();
        if ((added & VirtioStatus.DriverOk) != 0 && IsServing)
        {
            device.DeliverInput();
        }
    }

    private void SetLive()
    {
        bool isLive = IsServing;
        foreach (Virtqueue queue in queues)
        {
            queue.IsLive = isLive;
        }
    }

    private void ResetDevice()
    {
        status = VirtioStatus.None;
        (deviceFeatureSelect, driverFeatureSelect, driverFeatures, queueSelect) = (0, 0, 0, 0);
        interruptStatus = 0;
        SetInterrupt(false);
        foreach (Virtqueue queue in queues)
        {
            queue.Reset();
        }
        device.Reset();
    }

    private void Interrupt(byte reason)
    {
        interruptStatus |= reason;
        SetInterrupt(true);
    }

    private static uint Half(ulong value, uint which) => which switch
    {
        0 => (uint)value,
        1 => (uint)(value >> 32),
        _ => 0,
    };

    private static ulong WithHalf(ulong value, uint which, uint half) =>
        which == 0 ? (value & 0xFFFF_FFFF_0000_0000) | half : (value & 0xFFFF_FFFF) | ((ulong)half << 32);

    private static void Set16(Span<byte> bytes, int offset, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(bytes[offset..], value);

    private static void Set32(Span<byte> bytes, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes[offset..], value);

    [LoggerMessage(LogLevel.Warning, "The Guest's driver of the {Type} device is out of order ({Mistake}); the device waits for its reset.")]
    private partial void LogMistake(VirtioDeviceType type, string mistake);
}
