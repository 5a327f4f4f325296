// Who may run at all: CR0.EM, CR0.TS, CR4.OSFXSR, pending x87 errors and misaligned operands, asked of every encoding.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Tests.Sse;

public sealed class SimdPermissionTests
{
    private static readonly Mnemonic[] Free =
    [
        Mnemonic.Movnti, Mnemonic.Sfence, Mnemonic.Lfence, Mnemonic.Mfence, Mnemonic.Clflush,
        Mnemonic.Prefetchnta, Mnemonic.Prefetcht0, Mnemonic.Prefetcht1, Mnemonic.Prefetcht2,
    ];

    private static readonly Mnemonic[] Unaligned = [Mnemonic.Movups, Mnemonic.Movupd, Mnemonic.Movdqu];

    [Fact]
    public void TheListOfInstructionsIsWhole()
    {
        Assert.True(SimdForms.All.Count() > 280);
        foreach (Mnemonic mnemonic in (Mnemonic[])[Mnemonic.Paddb, Mnemonic.Emms, Mnemonic.Addps, Mnemonic.Maskmovq, Mnemonic.Ldmxcsr, Mnemonic.Cmpsd, Mnemonic.Clflush])
        {
            Assert.Contains(SimdForms.All, code => code.Mnemonic() == mnemonic);
        }
    }

    [Fact]
    public void ControlBitsForbidAllThatTouchesTheirState()
    {
        using var machine = new SimdMachine();
        uint cr0 = machine.State.Cr0;
        uint cr4 = machine.State.Cr4;
        foreach (Instruction instruction in Instructions())
        {
            bool free = Free.Contains(instruction.Mnemonic);
            string name = instruction.Code.ToString();

            machine.State.Cr0 = cr0 | Cr0.Emulation | Cr0.TaskSwitched;
            Assert.Equal((name, Fault(free, Vector.InvalidOpcode)), (name, machine.Run(instruction)));
            machine.State.Cr0 = cr0 | Cr0.TaskSwitched;
            Assert.Equal((name, Fault(free, Vector.DeviceNotAvailable)), (name, machine.Run(instruction)));
            machine.State.Cr0 = cr0;

            bool needsOsFxsr = SimdForms.UsesXmm(instruction.Code) || instruction.Mnemonic is Mnemonic.Ldmxcsr or Mnemonic.Stmxcsr;
            machine.State.Cr4 = cr4 & ~Cr4.OsFxsr;
            Assert.Equal((name, Fault(!needsOsFxsr, Vector.InvalidOpcode)), (name, machine.Run(instruction)));
            machine.State.Cr0 = cr0 | Cr0.TaskSwitched;
            Assert.Equal((name, needsOsFxsr ? Vector.InvalidOpcode : Fault(free, Vector.DeviceNotAvailable)), (name, machine.Run(instruction)));
            machine.State.Cr0 = cr0;
            machine.State.Cr4 = cr4;
        }
    }

    [Fact]
    public void PendingX87ErrorsComeBeforeMmx()
    {
        using var machine = new SimdMachine();
        foreach (Instruction instruction in Instructions())
        {
            bool mmx = instruction.Mnemonic == Mnemonic.Emms || SimdForms.UsesMmx(instruction.Code);
            bool exempt = instruction.Code == Code.Cvtpi2pd_xmm_mmm64 && instruction.Op1Kind == OpKind.Memory;
            machine.State.Fpu.Top = 3;
            machine.State.Fpu.ValidTags = 0x5A;
            machine.State.Fpu.StatusWord = 0x81;
            machine.Mxcsr = 0x1F80;
            string name = instruction.ToString();
            Assert.Equal((name, Fault(!mmx || exempt, Vector.X87FloatingPoint)), (name, machine.Run(instruction)));
            Assert.Equal((name, 3, 0x5A), (name, machine.State.Fpu.Top, machine.State.Fpu.ValidTags));

            machine.State.Fpu.StatusWord = 0;
            Assert.Equal((name, null), (name, machine.Run(instruction)));
            (int, int) expected = !mmx || exempt ? (3, 0x5A) : instruction.Mnemonic == Mnemonic.Emms ? (0, 0) : (0, 0xFF);
            Assert.Equal((name, expected), (name, (machine.State.Fpu.Top, machine.State.Fpu.ValidTags)));
        }
    }

    [Fact]
    public void SixteenByteOperandsMustBeAligned()
    {
        using var machine = new SimdMachine();
        foreach (Instruction instruction in Instructions().Where(i => i.MemoryBase != Register.None))
        {
            Instruction misaligned = instruction;
            misaligned.MemoryDisplacement32 += 8;
            bool allowed = instruction.MemorySize.GetSize() < 16 || Unaligned.Contains(instruction.Mnemonic);
            string name = instruction.Code.ToString();
            Assert.Equal((name, Fault(allowed, Vector.GeneralProtection)), (name, machine.Run(misaligned)));
            Assert.Equal(0u, machine.Machine.FaultErrorCode);
            machine.State.Segments[(int)SegmentName.DS].Base = 4;
            Assert.Equal((name, Fault(allowed, Vector.GeneralProtection)), (name, machine.Run(instruction)));
            machine.State.Segments[(int)SegmentName.DS].Base = 0;
        }
    }

    [Theory]
    [InlineData(CpuidFeature.SSE3)]
    [InlineData(CpuidFeature.SSSE3)]
    [InlineData(CpuidFeature.SSE4_1)]
    [InlineData(CpuidFeature.SSE4_2)]
    [InlineData(CpuidFeature.AES)]
    [InlineData(CpuidFeature.AVX)]
    public void LaterExtensionsDoNotExist(CpuidFeature feature)
    {
        IEnumerable<Code> later = Enum.GetValues<Code>().Where(code => code.CpuidFeatures().Contains(feature) && code.ToOpCode().Mode32
            && code.ToOpCode().Encoding != EncodingKind.Legacy == (feature == CpuidFeature.AVX));
        Assert.NotEmpty(later);
        foreach (Code code in later.Where(code => code is not (Code.Fisttp_m16int or Code.Fisttp_m32int or Code.Fisttp_m64int)))
        {
            Instruction instruction = default;
            instruction.Code = code;
            Assert.True(X86.Instructions.InstructionTable.Instance.Find(instruction) is null, code.ToString());
        }
    }

    private static byte? Fault(bool allowed, byte vector) => allowed ? null : vector;

    /// <summary>Each encoding once, with a memory operand where it can have one; LDMXCSR reads zeroed memory.</summary>
    private static IEnumerable<Instruction> Instructions()
    {
        var random = new Random(1);
        foreach (Code code in SimdForms.All)
        {
            if (SimdForms.HasMemoryForm(code))
            {
                yield return SimdForms.Create(code, true, code == Code.Ldmxcsr_m32 ? 0x1000 : 0, random);
            }
            if (SimdForms.HasRegister(code))
            {
                Instruction instruction;
                do
                {
                    instruction = SimdForms.Create(code, false, 0, random);
                }
                while (instruction.Op0Register is Register.EBX or Register.EDI);
                yield return instruction;
            }
        }
    }
}
