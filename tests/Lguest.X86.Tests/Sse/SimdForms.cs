// Every legacy encoding that Iced knows of MMX, SSE and SSE2, as instructions with random operands: the list of what must exist comes
// from outside the code under test.

using Iced.Intel;

namespace Lguest.X86.Tests.Sse;

/// <summary>Builds random instances of MMX, SSE and SSE2 instructions.</summary>
internal static class SimdForms
{
    /// <summary>Encodings whose results are approximations or that the oracle cannot be asked about; they have tests of their own.</summary>
    private static readonly Code[] Apart =
    [
        Code.Rcpps_xmm_xmmm128, Code.Rcpss_xmm_xmmm32, Code.Rsqrtps_xmm_xmmm128, Code.Rsqrtss_xmm_xmmm32,
        Code.Ldmxcsr_m32,
    ];

    /// <summary>All encodings that 32-bit mode has.</summary>
    public static IEnumerable<Code> All => Enum.GetValues<Code>()
        .Where(code => code.ToOpCode() is { IsInstruction: true, Mode32: true, Encoding: EncodingKind.Legacy }
            && code.CpuidFeatures().All(feature => feature is CpuidFeature.MMX or CpuidFeature.SSE or CpuidFeature.SSE2 or CpuidFeature.CLFSH)
            && !code.ToString().StartsWith("Pause", StringComparison.Ordinal)
            && !code.ToString().EndsWith("_16", StringComparison.Ordinal));

    /// <summary>Encodings that compare exactly with the native CPU.</summary>
    public static IEnumerable<Code> Exact => All.Except(Apart);

    /// <summary>Whether the encoding has a form with a memory operand that can be compared.</summary>
    /// <remarks>Processors disagree on whether CVTPI2PS enters MMX state when its operand is in memory.</remarks>
    public static bool HasMemory(Code code) => code != Code.Cvtpi2ps_xmm_mmm64 && HasMemoryForm(code);

    /// <summary>Whether the encoding has a form with a memory operand.</summary>
    public static bool HasMemoryForm(Code code) => Kinds(code).Any(IsMemory);

    /// <summary>Whether an operand is an XMM register in some form.</summary>
    public static bool UsesXmm(Code code) => Kinds(code).Any(kind => kind is OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.xmm_reg
        or OpCodeOperandKind.xmm_rm);

    /// <summary>Whether an operand is an MMX register in some form.</summary>
    public static bool UsesMmx(Code code) => Kinds(code).Any(kind => kind is OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_reg
        or OpCodeOperandKind.mm_rm);

    /// <summary>Whether the encoding has a form without memory operand.</summary>
    public static bool HasRegister(Code code) => !Kinds(code).Any(kind => kind is OpCodeOperandKind.mem);

    /// <summary>An instruction with random registers, immediate and, where asked for, the memory operand <c>[ebx+displacement]</c>.</summary>
    public static Instruction Create(Code code, bool memory, int displacement, Random random)
    {
        Instruction instruction = default;
        instruction.Code = code;
        int index = 0;
        foreach (OpCodeOperandKind kind in Kinds(code))
        {
            if (memory && IsMemory(kind))
            {
                instruction.SetOpKind(index, OpKind.Memory);
                instruction.MemoryBase = Register.EBX;
                instruction.MemoryDisplacement32 = (uint)displacement;
                instruction.MemoryDisplSize = 4;
            }
            else if (kind == OpCodeOperandKind.imm8)
            {
                instruction.SetOpKind(index, OpKind.Immediate8);
                instruction.Immediate8 = (byte)(random.Next(2) == 0 ? random.Next(80) : random.Next(256));
            }
            else if (kind == OpCodeOperandKind.seg_rDI)
            {
                instruction.SetOpKind(index, OpKind.MemorySegEDI);
            }
            else
            {
                instruction.SetOpKind(index, OpKind.Register);
                instruction.SetOpRegister(index, FirstRegister(kind) + random.Next(8));
            }
            index++;
        }
        return instruction;
    }

    private static IEnumerable<OpCodeOperandKind> Kinds(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return Enumerable.Range(0, info.OpCount).Select(info.GetOpKind);
    }

    private static bool IsMemory(OpCodeOperandKind kind) => kind is OpCodeOperandKind.mem or OpCodeOperandKind.xmm_or_mem
        or OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.r32_or_mem;

    private static Register FirstRegister(OpCodeOperandKind kind) => kind switch
    {
        OpCodeOperandKind.xmm_or_mem or OpCodeOperandKind.xmm_reg or OpCodeOperandKind.xmm_rm => Register.XMM0,
        OpCodeOperandKind.mm_or_mem or OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm => Register.MM0,
        OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_reg => Register.EAX,
        _ => throw new NotSupportedException(kind.ToString()),
    };
}
