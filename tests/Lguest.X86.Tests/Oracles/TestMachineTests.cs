using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests;

public sealed class TestMachineTests
{
    [Fact]
    public void AnUnknownInstructionRaisesInvalidOpcode()
    {
        using var machine = new TestMachine();
        machine.Load(a => a.ud2());
        Assert.False(machine.Step());
        Assert.Equal(Vector.InvalidOpcode, machine.FaultVector);
        Assert.Equal(TestMachine.CodeAddress, machine.State.Eip);
    }
}
