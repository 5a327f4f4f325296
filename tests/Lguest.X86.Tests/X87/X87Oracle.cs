// Runs one x87 instruction natively and in the emulated processor, from the same state, and compares everything that both show.
// The instruction and data pointers are left out: AMD's processors save them only while an exception is pending.

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

    /// <summary>Runs on both sides and compares. Returns the native outcome.</summary>
    public NativeState Check(in Instruction instruction, in NativeState state, Func<string>? context = null) => Check([instruction], state, context);

    /// <summary>Runs a sequence on both sides and compares what it leaves.</summary>
    public NativeState Check(ReadOnlySpan<Instruction> instructions, NativeState state, Func<string>? context = null)
    {
        string story = string.Join("; ", instructions.ToArray()) + " " + context?.Invoke() + "\nbefore  " + Describe(state) + "\nnative  ";
        state.General[(int)Register32.Ebx] = native.ScratchAddress;
        Memory.CopyTo(native.Scratch);
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
        native.Run(nativeCode.ToArray(), ref state);
        native.Scratch[..Window].CopyTo(nativeMemory);

        Assert.True(Machine.StepTo(TestMachine.CodeAddress + (uint)code.Count), $"{story}fault {Machine.FaultVector}");
        string expected = Describe(state);
        string actual = Describe(NativeState.From(Machine.State));
        Assert.True(expected == actual, $"{story}{expected}\nmachine {actual}");
        byte[] memory = Machine.Read(native.ScratchAddress, Window);
        if (!nativeMemory.AsSpan().SequenceEqual(memory))
        {
            int at = nativeMemory.AsSpan().CommonPrefixLength(memory) & ~15;
            Assert.Fail($"{story}{at:X}: {Convert.ToHexString(nativeMemory, at, 16)}\nmachine {at:X}: {Convert.ToHexString(memory, at, 16)}");
        }
        return state;
    }

    public void Dispose()
    {
        native.Dispose();
        Machine.Dispose();
    }

    public static string Describe(in NativeState state)
    {
        string text = $"cw {state.ControlWord:X4} sw {state.StatusWord:X4} tags {state.ValidTags:X2} eflags {state.Eflags:X} eax {state.General[0]:X8} st";
        for (int i = 0; i < 8; i++)
        {
            Float80 value = state.GetSt(i);
            text += $" {value.SignExponent:X4}:{value.Significand:X16}";
        }
        return text;
    }
}
