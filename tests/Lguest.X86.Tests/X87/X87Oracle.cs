// Runs one x87 instruction natively and in the emulated processor, from the same state, and compares everything that both show.
// The instruction and data pointers are left out: AMD's processors save them only while an exception is pending.

using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.X87;

/// <summary>The native CPU and a machine side by side.</summary>
internal sealed class X87Oracle : IDisposable
{
    /// <summary>Bytes of scratch memory that both sides share; EBX points at it.</summary>
    public const int Window = 512;

    private readonly NativeCpu native = new();
    private readonly byte[] nativeMemory = new byte[Window];
    private readonly byte[] machineMemory = new byte[Window];

    public TestMachine Machine { get; } = new();

    /// <summary>Memory at EBX as the instruction finds it.</summary>
    public byte[] Memory { get; } = new byte[Window];


    /// <summary>The instruction without operands, with registers, or with memory at EBX.</summary>
    public static Instruction Create(Code code, int index = 0, int displacement = 0)
    {
        Instruction instruction = default;
        instruction.Code = code;
        for (int i = 0; i < instruction.OpCount; i++)
        {
            OpCodeOperandKind kind = code.ToOpCode().GetOpKind(i);
            if (kind is OpCodeOperandKind.st0 or OpCodeOperandKind.sti_opcode)
            {
                instruction.SetOpKind(i, OpKind.Register);
                instruction.SetOpRegister(i, kind == OpCodeOperandKind.st0 ? Register.ST0 : Register.ST0 + index);
            }
            else
            {
                return Instruction.Create(code, new MemoryOperand(Register.EBX, displacement));
            }
        }
        return instruction;
    }

    /// <summary>Whether an instruction is neither control (tested apart) nor transcendental (not exact) nor of a later processor.</summary>
    public static bool IsExact(Mnemonic mnemonic) => mnemonic is not (Mnemonic.Fisttp
        or Mnemonic.Fninit or Mnemonic.Fnclex or Mnemonic.Fnstcw or Mnemonic.Fldcw or Mnemonic.Fnstsw or Mnemonic.Fnop or Mnemonic.Fincstp
        or Mnemonic.Fdecstp or Mnemonic.Ffree or Mnemonic.Ffreep or Mnemonic.Fneni or Mnemonic.Fndisi or Mnemonic.Fnsetpm
        or Mnemonic.Fldenv or Mnemonic.Fnstenv or Mnemonic.Frstor or Mnemonic.Fnsave
        or Mnemonic.F2xm1 or Mnemonic.Fyl2x or Mnemonic.Fyl2xp1 or Mnemonic.Fptan or Mnemonic.Fpatan
        or Mnemonic.Fsin or Mnemonic.Fcos or Mnemonic.Fsincos);

    /// <summary>Runs on both sides and compares. Returns the native outcome.</summary>
    public NativeState Check(in Instruction instruction, in NativeState state) => Check([instruction], state);

    /// <summary>Runs a sequence on both sides and compares what it leaves.</summary>
    /// <param name="instructions">The sequence.</param>
    /// <param name="state">State before.</param>
    /// <param name="close">ST(0) and ST(1) may differ in their last place, and then also C1.</param>
    /// <param name="selectors">Where in memory the selectors of an environment are stored.</param>
    public NativeState Check(ReadOnlySpan<Instruction> instructions, NativeState state, bool close = false, ReadOnlySpan<int> selectors = default)
    {
        NativeState before = state;
        state.General[(int)Register32.Ebx] = native.ScratchAddress;
        state.CopyTo(ref Machine.State);
        Machine.Memory.Write(native.ScratchAddress, Memory);
        List<byte> nativeCode = [];
        List<byte> code = [];
        foreach (Instruction instruction in instructions)
        {
            nativeCode.AddRange(NativeCpu.Encode(instruction));
            code.AddRange(TestMachine.Encode(instruction));
        }
        Machine.Load(code.ToArray());
        RunNative([.. nativeCode], ref state);
        if (instructions.Length > 1)
        {
            // AMD's processors lose the instruction and data pointers when the host switches tasks between two instructions.
            byte[] firstMemory;
            do
            {
                firstMemory = [.. nativeMemory];
                state = before;
                state.General[(int)Register32.Ebx] = native.ScratchAddress;
                RunNative([.. nativeCode], ref state);
            }
            while (!nativeMemory.AsSpan().SequenceEqual(firstMemory));
        }

        if (instructions[0].Mnemonic is Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip)
        {
            // Intel's clear C1; AMD's leave it alone.
            state.StatusWord &= 0xFDFF;
        }
        bool completed = Machine.StepTo(TestMachine.CodeAddress + (uint)code.Count);
        var mine = NativeState.From(Machine.State);
        if (close)
        {
            Forgive(ref state, mine);
        }
        Machine.Memory.Read(native.ScratchAddress, machineMemory);
        if (StoresNoSelectors)
        {
            foreach (int place in selectors)
            {
                Assert.Equal(0, BitConverter.ToUInt16(nativeMemory, place));
                machineMemory.AsSpan(place, sizeof(ushort)).CopyTo(nativeMemory.AsSpan(place));
            }
        }
        if (!completed || !Same(state, mine) || !nativeMemory.AsSpan().SequenceEqual(machineMemory))
        {
            int at = Math.Min(nativeMemory.AsSpan().CommonPrefixLength(machineMemory), Window - 16) & ~15;
            Assert.Fail(string.Join("; ", instructions.ToArray()) + $"{(completed ? "" : " fault " + Machine.FaultVector)}\n"
                + $"before  {Describe(before)} {Convert.ToHexString(Memory, at, 16)}\n"
                + $"native  {Describe(state)} {Convert.ToHexString(nativeMemory, at, 16)}\n"
                + $"machine {Describe(mine)} {Convert.ToHexString(machineMemory, at, 16)}");
        }
        return state;
    }

    /// <summary>Newer processors of Intel store zeros in their place (CPUID leaf 7, EBX bit 13). Those that we imitate stored them.</summary>
    private static bool StoresNoSelectors => X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 7 && ((X86Base.CpuId(7, 0).Ebx >> 13) & 1) != 0;

    private void RunNative(byte[] code, ref NativeState state)
    {
        Memory.CopyTo(native.Scratch);
        native.Run(code, ref state);
        native.Scratch[..Window].CopyTo(nativeMemory);
    }

    public void Dispose()
    {
        native.Dispose();
        Machine.Dispose();
    }

    /// <summary>Takes over results that are wrong by at most one unit in the last place.</summary>
    private static void Forgive(ref NativeState state, in NativeState mine)
    {
        for (int i = 0; i < 2; i++)
        {
            Float80 a = state.GetSt(i);
            Float80 b = mine.GetSt(i);
            if (Int128.Abs(Ordinal(a) - Ordinal(b)) == 1)
            {
                state.SetSt(i, b);
            }
        }
        if ((state.StatusWord & 0x40) == 0)
        {
            state.StatusWord = (ushort)((state.StatusWord & ~0x200) | (mine.StatusWord & 0x200));
        }
    }

    /// <summary>Numbers of one sign in order, without the integer bit.</summary>
    private static Int128 Ordinal(Float80 value)
    {
        Int128 magnitude = ((Int128)(value.SignExponent & 0x7FFF) << 63) + (value.Significand & ~(1UL << 63));
        return value.SignExponent >= 0x8000 ? -magnitude : magnitude;
    }

    /// <summary>Compares what <see cref="Describe"/> shows.</summary>
    private static bool Same(in NativeState a, in NativeState b)
    {
        if (a.ControlWord != b.ControlWord || a.StatusWord != b.StatusWord || a.ValidTags != b.ValidTags
            || a.Eflags != b.Eflags || a.General[0] != b.General[0])
        {
            return false;
        }
        for (int i = 0; i < 8; i++)
        {
            if (!a.GetSt(i).Equals(b.GetSt(i)))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>A number as it is encoded.</summary>
    public static string Show(Float80 value) => $"{value.SignExponent:X4}:{value.Significand:X16}";

    /// <summary>All that FXSAVE would store.</summary>
    public static string Everything(in FpuState fpu)
    {
        CpuState state = default;
        state.Fpu = fpu;
        var shown = NativeState.From(state);
        return $"{Describe(shown)} {fpu.LastOpcode:X} {fpu.LastInstructionSelector:X}:{fpu.LastInstructionPointer:X}"
            + $" {fpu.LastDataSelector:X}:{fpu.LastDataPointer:X} {fpu.Mxcsr:X} {Convert.ToHexString(((ReadOnlySpan<byte>)shown.Fx)[160..288])}";
    }

    /// <summary>What is compared.</summary>
    public static string Describe(in NativeState state)
    {
        string text = $"cw {state.ControlWord:X4} sw {state.StatusWord:X4} tags {state.ValidTags:X2}"
            + $" eflags {state.Eflags:X} eax {state.General[0]:X8} st";
        for (int i = 0; i < 8; i++)
        {
            Float80 value = state.GetSt(i);
            text += " " + Show(value);
        }
        return text;
    }
}
