// Memory that the host has committed is ordinary memory: a mark that says so must not send every write to it the slow way.

using Lguest.X86.Memory;

namespace Lguest.X86.Tests.SystemLevel;

public sealed class CommittedMemoryTests
{
    [Fact]
    public void ACommittedFrameTakesWritesUnnoticedUntilItHoldsCode()
    {
        using var memory = new MachineMemory(16, 1);
        memory.Commit(MachineMemory.FrameSize, MachineMemory.FrameSize);
        Assert.True(memory.TakesWritesUnnoticed(1));
        memory.SetFrameHoldsCode(1, true);
        Assert.False(memory.TakesWritesUnnoticed(1));
        memory.SetFrameHoldsCode(1, false);
        Assert.True(memory.TakesWritesUnnoticed(1));
    }
}
