// MXCSR, the stores under a mask, and the approximations.

using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.Sse;

public sealed class SseControlTests(SimdOracle oracle) : IClassFixture<SimdOracle>, IDisposable
{
    private readonly SimdMachine machine = new();

    public void Dispose() => machine.Dispose();

    [Fact]
    public void MxcsrIsLoadedUnlessReservedBitsAreSet()
    {
        machine.Machine.Memory.Write(SimdMachine.Data, BitConverter.GetBytes(0xFFFFu));
        Assert.Null(machine.Run(a => a.ldmxcsr(__dword_ptr[ebx])));
        Assert.Equal(0xFFFFu, machine.Mxcsr);
        machine.Machine.Memory.Write(SimdMachine.Data, BitConverter.GetBytes(0x1_1F80u));
        Assert.Equal(Vector.GeneralProtection, machine.Run(a => a.ldmxcsr(__dword_ptr[ebx])));
        Assert.Equal(0xFFFFu, machine.Mxcsr);
        Assert.Null(machine.Run(a => a.stmxcsr(__dword_ptr[ebx])));
        Assert.Equal(BitConverter.GetBytes(0xFFFFu), machine.Machine.Read(SimdMachine.Data, 4));
    }

    [Fact]
    public void MaskedStoresObeySegmentAndAddressSize()
    {
        machine.State.Fpu.Xmm[1] = Vector128.Create((byte)0xAA);
        machine.State.Fpu.Xmm[2] = Vector128.Create(0x80, 0x7F, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80);
        machine.Machine.SetSegmentBase(SegmentName.ES, 0x100);
        machine.State.General[(int)Register32.Edi] = 0x7_2003;
        Assert.Null(machine.Run(Instruction.CreateMaskmovdqu(16, Register.XMM1, Register.XMM2, Register.ES)));
        byte[] expected = new byte[16];
        expected[0] = expected[2] = expected[15] = 0xAA;
        Assert.Equal(expected, machine.Machine.Read(0x2103, 16));
    }

    [Fact]
    public void MaskedStoresTouchOnlyPagesOfSelectedBytesAndAllOrNothing()
    {
        const uint directory = 0x10_0000;
        const uint table = 0x10_1000;
        const uint absentPage = 0x3_1000;
        machine.Machine.Memory.Write(directory, BitConverter.GetBytes(table | 3));
        for (uint page = 0; page < 1024; page++)
        {
            uint present = page == absentPage >> 12 ? 0u : 1;
            machine.Machine.Memory.Write(table + (page * 4), BitConverter.GetBytes((page << 12) | 2 | present));
        }
        machine.State.Cr0 |= Cr0.Paging;
        machine.Machine.Processor.CurrentAddressSpace = machine.Machine.Processor.CreateAddressSpace(directory);
        machine.State.General[(int)Register32.Edi] = absentPage - 8;
        machine.State.Fpu.Xmm[1] = Vector128.Create((byte)0x55);

        machine.State.Fpu.Xmm[2] = Vector128.Create(0xFFFF_FFFF_FFFF_FFFF, 0x0000_0000_0000_0080).AsByte();
        Assert.Equal(Vector.PageFault, machine.Run(a => a.maskmovdqu(xmm1, xmm2)));
        Assert.Equal(absentPage, machine.State.Cr2);
        Assert.Equal(new byte[8], machine.Machine.Read(absentPage - 8, 8));

        machine.State.Fpu.Xmm[2] = Vector128.Create(0xFF00_0000_0000_00FF, 0).AsByte();
        Assert.Null(machine.Run(a => a.maskmovdqu(xmm1, xmm2)));
        Assert.Equal([0x55, 0, 0, 0, 0, 0, 0, 0x55], machine.Machine.Read(absentPage - 8, 8));
    }

    [Fact]
    public void ConvertingFromMmxEntersMmxStateUnlessDoublesComeFromMemory()
    {
        machine.State.Fpu.Top = 4;
        Assert.Null(machine.Run(a => a.cvtpi2pd(xmm1, __qword_ptr[ebx])));
        Assert.Equal((4, 0), (machine.State.Fpu.Top, machine.State.Fpu.ValidTags));
        machine.Machine.Memory.Write(SimdMachine.Data, [3, 0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF]);
        Assert.Null(machine.Run(a => a.cvtpi2ps(xmm1, __qword_ptr[ebx])));
        Assert.Equal((0, 0xFF), (machine.State.Fpu.Top, machine.State.Fpu.ValidTags));
        Assert.Equal([3f, -2f], machine.GetSingle(1)[..2]);
    }

    [Fact]
    public void ApproximationsAreAsCloseAsPromised()
    {
        int seed = Environment.TickCount;
        var random = new Random(seed);
        foreach (Code code in (Code[])[Code.Rcpps_xmm_xmmm128, Code.Rcpss_xmm_xmmm32, Code.Rsqrtps_xmm_xmmm128, Code.Rsqrtss_xmm_xmmm32])
        {
            var instruction = Instruction.Create(code, Register.XMM1, Register.XMM2);
            for (int round = 0; round < 500; round++)
            {
                var before = new NativeState { Mxcsr = SimdValues.Mxcsr(random) };
                before.SetXmm(1, SimdValues.Vector(random));
                before.SetXmm(2, SimdValues.Vector(random));
                before.CopyTo(ref machine.State);
                NativeState expected = oracle.RunNative(instruction, before);
                Assert.Null(machine.Run(instruction));
                Assert.Equal(expected.Mxcsr, machine.Mxcsr);
                for (int lane = 0; lane < 4; lane++)
                {
                    float wanted = expected.GetXmm(1).AsSingle()[lane];
                    float got = machine.GetSingle(1)[lane];
                    bool inDoubt = float.Abs(before.GetXmm(2).AsSingle()[lane]) is > 8.5e37f and < 8.52e37f;
                    Assert.True(inDoubt || IsClose(wanted, got), $"{code} seed {seed}: {before.GetXmm(2)} lane {lane}: {wanted} and {got}");
                }
            }
        }
    }

    // Each side may be off by 1.5 * 2^-12; special values have one right answer.
    private static bool IsClose(float wanted, float got) => float.IsNormal(wanted) && float.IsNormal(got)
        ? Math.Abs((double)wanted - got) <= Math.Abs((double)wanted) * 3 / 4096
        : BitConverter.SingleToUInt32Bits(wanted) == BitConverter.SingleToUInt32Bits(got);
}
