// Unmasked exceptions, which the native oracle cannot run. Flags beside #XM are those that hardware was seen to leave.

using System.Runtime.Intrinsics;
using Lguest.X86.State;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Sse;

public sealed class SseExceptionTests : IDisposable
{
    private const uint AllMasked = 0x1F80;
    private const uint Invalid = 1;
    private const uint Denormal = 2;
    private const uint DivideByZero = 4;
    private const uint Overflow = 8;
    private const uint Underflow = 16;
    private const uint Precision = 32;
    private const uint FlushToZero = 0x8000;
    private const float SmallestNormal = 1.17549435e-38f;

    private readonly SimdMachine machine = new();

    public void Dispose() => machine.Dispose();

    [Theory]
    [InlineData("mul", 0x00800000u, 0x3F000000u, Underflow, Underflow)]
    [InlineData("mul", 0x00800001u, 0x3F000000u, Underflow, Underflow)]
    [InlineData("mul", 0x00FFFFFFu, 0x3F000000u, Underflow, Underflow)]
    [InlineData("mul", 0x00800000u, 0x00800000u, Underflow, Underflow)]
    [InlineData("mul", 0x00800001u, 0x00800001u, Underflow, Underflow | Precision)]
    [InlineData("mul", 0x00800001u, 0x3F000000u, Precision, Underflow | Precision)]
    [InlineData("mul", 0x7F000000u, 0x7F000000u, Overflow, Overflow)]
    [InlineData("mul", 0x7F000001u, 0x7F000001u, Overflow, Overflow | Precision)]
    [InlineData("mul", 0x7F000000u, 0x7F000000u, Precision, Overflow | Precision)]
    [InlineData("mul", 0x7F800000u, 0x00000000u, Invalid, Invalid)]
    [InlineData("add", 0x00000001u, 0x3F800000u, Denormal, Denormal)]
    [InlineData("add", 0x00000001u, 0x3F800000u, Precision, Denormal | Precision)]
    [InlineData("add", 0x00000001u, 0x00000001u, Underflow, Denormal | Underflow)]
    [InlineData("add", 0x7F800001u, 0x00000001u, Invalid, Invalid)]
    [InlineData("div", 0x3F800000u, 0x00000000u, DivideByZero, DivideByZero)]
    [InlineData("div", 0x3F800000u, 0x00000001u, Overflow, Denormal | Overflow)]
    [InlineData("div", 0x3F800000u, 0x40400000u, Precision, Precision)]
    [InlineData("min", 0x3F800000u, 0x7FC00000u, Invalid, Invalid)]
    [InlineData("min", 0x00000001u, 0x3F800000u, Denormal, Denormal)]
    [InlineData("sqrt", 0u, 0xBF800000u, Invalid, Invalid)]
    [InlineData("cmplt", 0x3F800000u, 0x7FC00000u, Invalid, Invalid)]
    [InlineData("cmpeq", 0x3F800000u, 0x00000001u, Denormal, Denormal)]
    [InlineData("cvtps2dq", 0u, 0x4F000000u, Invalid, Invalid)]
    [InlineData("cvtps2dq", 0u, 0x3F000000u, Precision, Precision)]
    [InlineData("cvtdq2ps", 0u, 0x01000001u, Precision, Precision)]
    public void UnmaskedExceptionsFaultAndKeepTheDestination(string operation, uint first, uint second, uint unmasked, uint flags)
    {
        uint control = AllMasked & ~(unmasked << 7);
        Vector128<byte> before = Vector128.Create(first, 0x3F80_0000, 0x3F80_0000, 0x3F80_0000).AsByte();
        machine.State.Fpu.Xmm[1] = before;
        machine.State.Fpu.Xmm[2] = Vector128.Create(second, 0x3F80_0000, 0x3F80_0000, 0x3F80_0000).AsByte();
        machine.Mxcsr = control;
        Assert.Equal(Vector.SimdFloatingPoint, Run(operation));
        Assert.Equal(control | flags, machine.Mxcsr);
        Assert.Equal(before, machine.State.Fpu.Xmm[1]);

        machine.State.Cr4 &= ~Cr4.OsXmmExceptions;
        Assert.Equal(Vector.InvalidOpcode, Run(operation));
        Assert.Equal(before, machine.State.Fpu.Xmm[1]);
    }

    [Theory]
    [InlineData("div", 0x7F800000u, 0x00000000u, DivideByZero, 0x7F800000u, 0u)]
    [InlineData("mul", 0x00FFFFFFu, 0x3F000001u, Underflow, 0x00800000u, Precision)]
    [InlineData("add", 0x00000001u, 0x7FC00001u, Denormal, 0x7FC00001u, 0u)]
    [InlineData("add", 0x7F800001u, 0x00000001u, Denormal, 0x7FC00001u, Invalid)]
    [InlineData("sqrt", 0u, 0x80000001u, Denormal, 0xFFC00000u, Invalid)]
    [InlineData("div", 0x00000001u, 0u, Denormal, 0x7F800000u, DivideByZero)]
    [InlineData("cvtps2dq", 0u, 0x00000001u, Denormal, 0u, Precision)]
    public void WhatDoesNotOccurDoesNotFault(string operation, uint first, uint second, uint unmasked, uint result, uint flags)
    {
        machine.State.Fpu.Xmm[1] = Vector128.Create(first, 0x3F80_0000, 0x3F80_0000, 0x3F80_0000).AsByte();
        machine.State.Fpu.Xmm[2] = Vector128.Create(second, 0x3F80_0000, 0x3F80_0000, 0x3F80_0000).AsByte();
        machine.Mxcsr = AllMasked & ~(unmasked << 7);
        Assert.Null(Run(operation));
        Assert.Equal(flags, machine.Mxcsr & 0x3F);
        Assert.Equal(result, machine.State.Fpu.Xmm[1].AsUInt32().ToScalar());
    }

    [Fact]
    public void FlushToZeroYieldsToAnUnmaskedUnderflow()
    {
        machine.SetSingle(1, SmallestNormal, 0, 0, 0);
        machine.SetSingle(2, 0.5f, 0, 0, 0);
        machine.Mxcsr = AllMasked | FlushToZero;
        Assert.Null(machine.Run(a => a.mulss(xmm1, xmm2)));
        Assert.Equal(0f, machine.GetSingle(1)[0]);
        Assert.Equal(Underflow | Precision, machine.Mxcsr & 0x3F);

        machine.SetSingle(1, SmallestNormal, 0, 0, 0);
        machine.Mxcsr = (AllMasked | FlushToZero) & ~(Underflow << 7);
        Assert.Equal(Vector.SimdFloatingPoint, machine.Run(a => a.mulss(xmm1, xmm2)));
        Assert.Equal(Underflow, machine.Mxcsr & 0x3F);
    }

    [Fact]
    public void OperandExceptionsOfOneLaneComeBeforeResultsOfOthers()
    {
        machine.SetSingle(1, 1f, 1f, float.PositiveInfinity, float.Epsilon);
        machine.SetSingle(2, 0f, 3f, float.PositiveInfinity, 1f);
        machine.Mxcsr = AllMasked & ~(DivideByZero << 7);
        Assert.Equal(Vector.SimdFloatingPoint, machine.Run(a => a.divps(xmm1, xmm2)));
        Assert.Equal(Invalid | Denormal | DivideByZero, machine.Mxcsr & 0x3F);
        Assert.Equal(1f, machine.GetSingle(1)[1]);

        machine.Mxcsr = AllMasked & ~(Precision << 7);
        Assert.Equal(Vector.SimdFloatingPoint, machine.Run(a => a.divps(xmm1, xmm2)));
        Assert.Equal(Invalid | Denormal | DivideByZero | Precision, machine.Mxcsr & 0x3F);
    }

    [Fact]
    public void AFaultingComparisonLeavesTheFlagsAlone()
    {
        machine.SetSingle(1, float.NaN, 0, 0, 0);
        machine.SetSingle(2, 1f, 0, 0, 0);
        machine.State.Eflags = Eflags.Sign | Eflags.Overflow;
        machine.Mxcsr = AllMasked & ~(Invalid << 7);
        Assert.Null(machine.Run(a => a.ucomiss(xmm1, xmm2)));
        Assert.Equal(Eflags.Zero | Eflags.Parity | Eflags.Carry, machine.State.Eflags & Eflags.Status);

        machine.State.Eflags = Eflags.Sign | Eflags.Overflow;
        Assert.Equal(Vector.SimdFloatingPoint, machine.Run(a => a.comiss(xmm1, xmm2)));
        Assert.Equal(Eflags.Sign | Eflags.Overflow, machine.State.Eflags & Eflags.Status);
    }

    [Fact]
    public void AFaultingConversionDoesNotEnterMmxState()
    {
        machine.SetSingle(1, float.NaN, 0, 0, 0);
        machine.State.Fpu.Top = 5;
        machine.State.Fpu.ValidTags = 0x81;
        machine.Mxcsr = AllMasked & ~(Invalid << 7);
        Assert.Equal(Vector.SimdFloatingPoint, machine.Run(a => a.cvtps2pi(mm0, xmm1)));
        Assert.Equal((5, 0x81), (machine.State.Fpu.Top, machine.State.Fpu.ValidTags));
    }

    [Fact]
    public void MaskedFlagsStayAndOldOnesAreNotUnmaskedAgain()
    {
        machine.SetSingle(1, 1f, 0, 0, 0);
        machine.SetSingle(2, 1f, 0, 0, 0);
        machine.Mxcsr = 0x3F;
        Assert.Null(machine.Run(a => a.addss(xmm1, xmm2)));
        Assert.Equal(0x3Fu, machine.Mxcsr);
        Assert.Equal(2f, machine.GetSingle(1)[0]);
    }

    private byte? Run(string operation) => operation switch
    {
        "add" => machine.Run(a => a.addps(xmm1, xmm2)),
        "mul" => machine.Run(a => a.mulps(xmm1, xmm2)),
        "div" => machine.Run(a => a.divps(xmm1, xmm2)),
        "min" => machine.Run(a => a.minps(xmm1, xmm2)),
        "sqrt" => machine.Run(a => a.sqrtps(xmm1, xmm2)),
        "cmplt" => machine.Run(a => a.cmpltps(xmm1, xmm2)),
        "cmpeq" => machine.Run(a => a.cmpeqps(xmm1, xmm2)),
        "cvtps2dq" => machine.Run(a => a.cvtps2dq(xmm1, xmm2)),
        _ => machine.Run(a => a.cvtdq2ps(xmm1, xmm2)),
    };
}
