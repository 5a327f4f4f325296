using System.Runtime.Intrinsics;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests;

public sealed class NativeCpuTests
{
    [Fact]
    public void RunsIntegerInstructionsWithFlags()
    {
        using var cpu = new NativeCpu();
        var state = new NativeState();
        state.General[(int)Register32.Eax] = 0xFFFF_FFFF;
        state.General[(int)Register32.Esp] = 0x1234;
        state.Eflags = Eflags.Carry | Eflags.Direction;
        cpu.Run(a => a.adc(eax, 0), ref state);
        Assert.Equal(0u, state.General[(int)Register32.Eax]);
        Assert.Equal(0x1234u, state.General[(int)Register32.Esp]);
        Assert.Equal(Eflags.Carry | Eflags.Zero | Eflags.Adjust | Eflags.Parity | Eflags.Direction, state.Eflags);
    }

    [Fact]
    public void RunsMemoryOperandsInScratch()
    {
        using var cpu = new NativeCpu();
        var state = new NativeState();
        cpu.Scratch[5] = 7;
        state.General[(int)Register32.Ebx] = cpu.ScratchAddress;
        cpu.Run(a => a.inc(__byte_ptr[ebx + 5]), ref state);
        Assert.Equal(8, cpu.Scratch[5]);
    }

    [Fact]
    public void RunsFloatingPointAndSse()
    {
        using var cpu = new NativeCpu();
        var state = new NativeState { Top = 7, ValidTags = 0x80 };
        state.SetSt(0, new Float80(0x4000, 0x8000_0000_0000_0000));
        state.SetXmm(1, Vector128.Create(1.5f).AsByte());
        cpu.Run(
            a =>
            {
                a.fadd(st0, st0);
                a.addps(xmm1, xmm1);
            },
            ref state);
        Assert.Equal(new Float80(0x4001, 0x8000_0000_0000_0000), state.GetSt(0));
        Assert.Equal(7, state.Top);
        Assert.Equal(0x80, state.ValidTags);
        Assert.Equal(Vector128.Create(3f), state.GetXmm(1).AsSingle());
    }

    [Fact]
    public void StateSurvivesTheWayThroughTheProcessor()
    {
        using var machine = new TestMachine();
        var state = new NativeState { Top = 3, ValidTags = 0x18, Eflags = Eflags.Zero, Mxcsr = 0x1FA0, ControlWord = 0x27F };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = (uint)i * 0x1111;
            state.SetSt(i, new Float80((ushort)(0x3FFF + i), 0x8000_0000_0000_0000 + (ulong)i));
            state.SetXmm(i, Vector128.Create((byte)(i + 1)));
        }
        state.CopyTo(ref machine.State);
        Assert.Equal((ulong)0x8000_0000_0000_0001, machine.State.Fpu.Registers[4].Significand);
        var back = NativeState.From(machine.State);
        Assert.True(((ReadOnlySpan<byte>)state.Fx).SequenceEqual(back.Fx));
        Assert.Equal(state.Eflags, back.Eflags);
    }
}
