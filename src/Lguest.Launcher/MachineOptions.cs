// What a machine is made of, as one immutable record: the public door of the Launcher together with Machine and MachineResult.

using Lguest.Host;
using Lguest.Launcher.Devices;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Lguest.Launcher;

/// <summary>The part that executes the Guest's instructions.</summary>
public enum Engine
{
    /// <summary>The fastest engine of this host; <see cref="Machine.Engine"/> tells which it is.</summary>
    Auto,

    /// <summary>The reference interpreter: exact, and at home on every host .NET runs on.</summary>
    Interpreter,

    /// <summary>The reference interpreter for cold code, machine code of an x86-64 host for the rest.</summary>
    Translator,
}

/// <summary>The kind of machine that a Guest finds itself in.</summary>
public enum MachinePlatform
{
    /// <summary>The Guest is a kernel that knows lguest, and the Host is its ring 0.</summary>
    Lguest,

    /// <summary>A minimal PC, for kernels that know nothing of us.</summary>
    Pc,
}

/// <summary>What a PC starts from; the lguest platform knows Linux kernels only.</summary>
public enum ImageFormat
{
    /// <summary>An i386 Linux kernel: a bzImage or a vmlinux.</summary>
    Linux,

    /// <summary>An i386 ELF program with a multiboot header (version 1).</summary>
    Multiboot,

    /// <summary>A ROM image, which the processor starts in as after a reset.</summary>
    Rom,
}

/// <summary>Describes a <see cref="Machine"/>.</summary>
public sealed record MachineOptions
{
    private static readonly LguestHost SharedHost = new();

    /// <summary>The kind of machine.</summary>
    public MachinePlatform Platform { get; init; }

    /// <summary>Path of the kernel: an i386 vmlinux or bzImage, for the lguest platform one built with CONFIG_LGUEST_GUEST (ABI 2.2 and
    /// 2.3). For a PC, the image that <see cref="ImageFormat"/> says.</summary>
    public required string Kernel { get; init; }

    /// <summary>What <see cref="Kernel"/> is.</summary>
    public ImageFormat ImageFormat { get; init; }

    /// <summary>Ports of a PC whose OUTs are logged (Warning, so that they are seen).</summary>
    public IReadOnlyList<ushort> TracedPorts { get; init; } = [];

    /// <summary>Path of the initial RAM disk, or null for none.</summary>
    public string? Initrd { get; init; }

    /// <summary>Guest memory in bytes, a multiple of 4096 below <see cref="MaximumMemoryBytes"/>; 64 MiB by default.</summary>
    public long MemoryBytes { get; init; } = 64 << 20;

    /// <summary>Kernel command line, at most 2047 characters of ASCII or Latin-1 (ABI 2.4).</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Devices besides the console, at most <see cref="MaximumDevices"/>, in the order in which the Guest finds and numbers them (ABI 10.1).</summary>
    public IReadOnlyList<DeviceOptions> Devices { get; init; } = [];

    /// <summary>A Guest that restarts its machine ends it (<see cref="MachineEnd.Reset"/>). Otherwise it starts again from its image, with new memory and
    /// the same console, disks and networks.</summary>
    public bool ResetEnds { get; init; }

    /// <summary>The wanted engine. What is asked for is used or refused, never exchanged.</summary>
    public Engine Engine { get; init; } = Engine.Auto;

    /// <summary>What the Guest reads from its console; null means no input ever comes. The machine does not close it.</summary>
    /// <remarks>The end of the stream only ends the input, not the Guest.</remarks>
    public Stream? ConsoleInput { get; init; }

    /// <summary>Where the Guest's console writes; null discards it. The machine does not close it.</summary>
    /// <remarks>Written and flushed on the Guest's thread. An exception of the stream ends the run and leaves <see cref="Machine.RunAsync"/>.</remarks>
    public Stream? ConsoleOutput { get; init; }

    /// <summary>The Host: the Guests of one Host can meet each other. One that is shared by the whole process by default.</summary>
    public LguestHost Host { get; init; } = SharedHost;

    /// <summary>Receives setup (Information, Debug), warnings, and device traffic (Trace).</summary>
    public ILogger Logger { get; init; } = NullLogger.Instance;

    /// <summary>Devices that a machine has room for besides its console.</summary>
    public static int MaximumDevices => DeviceTable.MaximumDevices - 1;

    /// <summary>Guest memory is less than this: RAM and device pages must end where the original Launcher's own program began (ABI 1.4).</summary>
    public static long MaximumMemoryBytes => MemoryMap.MaximumTop;
}
