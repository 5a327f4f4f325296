// A network's outside on the bench.

using Lguest.Launcher.Devices;
using Lguest.Launcher.Devices.Network;

namespace Lguest.Launcher.Tests.Network;

/// <summary>An outside that keeps what it gets.</summary>
internal sealed class LoopBackEnd() : NetworkBackEnd("test")
{
    private readonly AutoResetEvent woken = new(false);

    public List<byte[]> Sent { get; } = [];

    public bool IsFull { get; set; }

    /// <summary>Whether it says that it completes checksums.</summary>
    public bool Completes { get; init; }

    public override bool CompletesChecksums => Completes;

    public string? FailsWith { get; set; }

    public override ReadOnlySpan<byte> HardwareAddress => [0x52, 1, 2, 3, 4, 5];

    public override bool TrySend(in GuestSections frame)
    {
        byte[] bytes = new byte[frame.Length];
        frame.CopyTo(bytes);
        Sent.Add(bytes);
        return !IsFull;
    }

    public override void Dispose() => woken.Dispose();

    protected override void Wait(bool read)
    {
        if (FailsWith != null)
        {
            throw new IOException(FailsWith);
        }
        woken.WaitOne();
    }

    protected override void Wake() => woken.Set();
}
