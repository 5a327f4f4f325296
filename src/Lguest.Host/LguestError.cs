namespace Lguest.Host;

/// <summary>Results of the requests to <see cref="LguestDevice"/>: the error numbers of Linux i386 (ABI 3).</summary>
public enum LguestError
{
    /// <summary>Success.</summary>
    None = 0,

    /// <summary>EPERM: another thread is using the Guest.</summary>
    NotPermitted = 1,

    /// <summary>ENOENT: the Guest is dead, or has no free buffer.</summary>
    NoEntry = 2,

    /// <summary>EINTR: the caller's token was cancelled, or the device closed.</summary>
    Interrupted = 4,

    /// <summary>EAGAIN: somebody asked for a break.</summary>
    TryAgain = 11,

    /// <summary>ENOMEM: the machine's arena has no frame left.</summary>
    NoMemory = 12,

    /// <summary>EBUSY: this device already has a Guest.</summary>
    Busy = 16,

    /// <summary>EINVAL: no Guest yet, or an argument out of range.</summary>
    InvalidArgument = 22,

    /// <summary>ENOSPC: the Host runs as many Guests as it may.</summary>
    NoSpace = 28,
}

/// <summary>What a read of the device returned (ABI 3.5).</summary>
/// <param name="Error"><see cref="LguestError.None"/> when the Guest sent DMA or the reason of its death was fetched.</param>
/// <param name="DmaAddress">Guest physical address of the lguest_dma that the Guest sent.</param>
/// <param name="DmaKey">Key that it was sent to.</param>
/// <param name="DeathReason">Why the Guest died, when it had died before this read; otherwise null.</param>
public readonly record struct ReadResult(LguestError Error, uint DmaAddress = 0, uint DmaKey = 0, string? DeathReason = null)
{
    /// <summary>The Guest sent DMA to the Launcher.</summary>
    public bool HasDma => Error == LguestError.None && DeathReason is null;
}
