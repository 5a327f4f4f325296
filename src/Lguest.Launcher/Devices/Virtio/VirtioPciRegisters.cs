// The registers of virtio over PCI (specification 4.1.4), and where this transport puts them: one BAR with a page for each structure.

namespace Lguest.Launcher.Devices.Virtio;

/// <summary>The BAR's pages, offsets in bytes.</summary>
internal static class VirtioPciBar
{
    /// <summary>Bytes of the BAR.</summary>
    public const uint Size = 0x4000;

    /// <summary>Bytes of each part.</summary>
    public const uint PageSize = 0x1000;

    /// <summary>The common configuration.</summary>
    public const uint Common = 0x0000;

    /// <summary>The interrupt status.</summary>
    public const uint InterruptStatus = 0x1000;

    /// <summary>The device's own configuration.</summary>
    public const uint Device = 0x2000;

    /// <summary>The notification registers, one for each queue.</summary>
    public const uint Notify = 0x3000;

    /// <summary>Bytes between two notification registers.</summary>
    public const uint NotifyMultiplier = 4;
}

/// <summary>Offsets in the common configuration, in bytes.</summary>
internal static class VirtioCommonRegister
{
    /// <summary>Bytes of the structure.</summary>
    public const int Size = 56;

    public const int DeviceFeatureSelect = 0x00;

    public const int DeviceFeature = 0x04;

    public const int DriverFeatureSelect = 0x08;

    public const int DriverFeature = 0x0C;

    public const int ConfigurationVector = 0x10;

    public const int QueueCount = 0x12;

    public const int DeviceStatus = 0x14;

    public const int ConfigurationGeneration = 0x15;

    public const int QueueSelect = 0x16;

    public const int QueueSize = 0x18;

    public const int QueueVector = 0x1A;

    public const int QueueEnable = 0x1C;

    public const int QueueNotifyOffset = 0x1E;

    public const int QueueDescriptors = 0x20;

    public const int QueueAvailable = 0x28;

    public const int QueueUsed = 0x30;
}

/// <summary>Bits of the device status (specification 2.1).</summary>
[Flags]
internal enum VirtioStatus : byte
{
    None = 0,

    /// <summary>The driver has found the device.</summary>
    Acknowledge = 1,

    /// <summary>The driver can drive it.</summary>
    Driver = 2,

    /// <summary>The driver is ready.</summary>
    DriverOk = 4,

    /// <summary>The features are agreed on.</summary>
    FeaturesOk = 8,

    /// <summary>Set by the device: it serves nobody until it is reset.</summary>
    NeedsReset = 64,

    /// <summary>The driver has given up.</summary>
    Failed = 128,
}
