// What MMX and SSE instructions share before they compute: the right to run at all (CR0, CR4, a pending x87 error), their registers,
// and memory operands with SSE's demand for 16-byte alignment (Intel SDM volume 1, 9.5 and 11.6; volume 3, 2.5, 12.1 and 13.1).

using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class SimdOperands
{
    private const ushort MmxExponent = 0xFFFF;

    /// <summary>#UD or #NM unless SSE instructions may run.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void RequireSse(Processor cpu)
    {
        ref CpuState state = ref cpu.State;
        if ((state.Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) != 0 || (state.Cr4 & Cr4.OsFxsr) == 0)
        {
            bool undefined = (state.Cr0 & Cr0.Emulation) != 0 || (state.Cr4 & Cr4.OsFxsr) == 0;
            throw cpu.Fault(undefined ? Vector.InvalidOpcode : Vector.DeviceNotAvailable);
        }
    }

    /// <summary>#UD, #NM or #MF unless MMX instructions may run.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void RequireMmx(Processor cpu)
    {
        ref CpuState state = ref cpu.State;
        if ((state.Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) != 0)
        {
            throw cpu.Fault((state.Cr0 & Cr0.Emulation) != 0 ? Vector.InvalidOpcode : Vector.DeviceNotAvailable);
        }
        X87Instructions.CheckPending(cpu);
    }

    /// <summary>What every MMX instruction but EMMS does to the x87: top of stack 0, no register empty.</summary>
    public static void EnterMmx(Processor cpu)
    {
        ref FpuState fpu = ref cpu.State.Fpu;
        fpu.Top = 0;
        fpu.ValidTags = 0xFF;
    }

    public static bool IsXmm(Register register) => register is >= Register.XMM0 and <= Register.XMM7;

    public static bool IsMmx(Register register) => register is >= Register.MM0 and <= Register.MM7;

    /// <summary>An XMM register.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ref Vector128<byte> Xmm(Processor cpu, Register register) => ref cpu.State.Fpu.Xmm[(register - Register.XMM0) & 7];

    /// <summary>Value of an MMX register.</summary>
    public static ulong ReadMmx(Processor cpu, Register register) => cpu.State.Fpu.Registers[(register - Register.MM0) & 7].Significand;

    /// <summary>Sets an MMX register and, as that does, puts the x87 into MMX state.</summary>
    public static void WriteMmx(Processor cpu, Register register, ulong value)
    {
        EnterMmx(cpu);
        cpu.State.Fpu.Registers[(register - Register.MM0) & 7] = new Float80(MmxExponent, value);
    }

    /// <summary>Linear address of a 16-byte memory operand; #GP(0) when it is not aligned.</summary>
    public static uint AlignedLinear(Processor cpu, in Instruction instruction, bool write)
    {
        uint linear = cpu.MemoryLinear(instruction, 16, write);
        if ((linear & 15) != 0)
        {
            throw cpu.Fault(Vector.GeneralProtection);
        }
        return linear;
    }

    /// <summary>Second operand of a packed instruction: XMM register or aligned memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<byte> XmmSource(Processor cpu, in Instruction instruction) => instruction.Op1Kind == OpKind.Register
        ? Xmm(cpu, instruction.Op1Register)
        : cpu.ReadLinear<Vector128<byte>>(AlignedLinear(cpu, instruction, false));

    /// <summary>Second operand of which only the lowest four or eight bytes count: XMM register or memory of that size.</summary>
    public static Vector128<byte> XmmSource(Processor cpu, in Instruction instruction, int size)
    {
        if (instruction.Op1Kind == OpKind.Register)
        {
            return Xmm(cpu, instruction.Op1Register);
        }
        return size == 4
            ? Vector128.CreateScalar(cpu.ReadMemory<uint>(instruction)).AsByte()
            : Vector128.CreateScalar(cpu.ReadMemory<ulong>(instruction)).AsByte();
    }

    /// <summary>Second operand of an MMX instruction: MMX register or eight bytes of memory.</summary>
    public static ulong MmxSource(Processor cpu, in Instruction instruction) => instruction.Op1Kind == OpKind.Register
        ? ReadMmx(cpu, instruction.Op1Register)
        : cpu.ReadMemory<ulong>(instruction);

    /// <summary>An MMX value as the low half of a vector.</summary>
    public static Vector128<byte> Widen(ulong value) => Vector128.CreateScalar(value).AsByte();

    /// <summary>The low half of a vector.</summary>
    public static ulong Low(Vector128<byte> value) => value.AsUInt64().ToScalar();

    /// <summary>The high half of a vector.</summary>
    public static ulong High(Vector128<byte> value) => value.AsUInt64().GetElement(1);
}
