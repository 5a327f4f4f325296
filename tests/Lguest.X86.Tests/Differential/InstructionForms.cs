// Which instruction forms the processor has, and which oracle judges each. The list of forms is not written here: it is whatever the
// instruction table registers, so that a new instruction is tested, or visibly is not, from its first day.

using Iced.Intel;
using Lguest.X86.Instructions;

namespace Lguest.X86.Tests.Differential;

/// <summary>Who judges an instruction form.</summary>
internal enum Judge
{
    /// <summary>The CPU that runs the tests.</summary>
    Native,

    /// <summary>The Unicorn library.</summary>
    Unicorn,

    /// <summary>Tests of its own; <see cref="InstructionForms.ReasonElsewhere"/> says why.</summary>
    Elsewhere,
}

/// <summary>The registered instruction forms.</summary>
internal static class InstructionForms
{
    private const string Privileged = "system instruction: depends on control registers, tables or ports; judged by the system tests";
    private const string ControlTransfer = "leaves the code segment or enters a gate; judged by the tests of gates and far transfers";
    private const string Varies = "answers what the processor is, not what it computes; judged by example";

    private static readonly Dictionary<Mnemonic, string> Elsewhere = Reasons();

    /// <summary>Mnemonics that neither oracle judges.</summary>
    public static IReadOnlyCollection<Mnemonic> Excused => Elsewhere.Keys;

    /// <summary>Every form of 32-bit code that the table has a handler for.</summary>
    public static IReadOnlyList<Code> Registered { get; } =
    [
        .. Enum.GetValues<Code>().Where(code => Exists32(code) && InstructionTable.Instance.Find(new Instruction { Code = code }) is not null),
    ];

    /// <summary>Every form of 32-bit code (of one instruction: FINIT is two) that processors up to the Pentium 4 have.</summary>
    public static bool Exists32(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return info.IsInstruction && info.Mode32 && info.Encoding == EncodingKind.Legacy && info.DecoderOption == DecoderOptions.None && !info.Fwait;
    }

    /// <summary>Whether the bytes of an instruction are decoded as the same form; some encodings have two names.</summary>
    public static bool IsDecodedAsItself(in Instruction instruction, byte[] code) => Decoder.Create(32, code).Decode().Code == instruction.Code;

    /// <summary>The mnemonics that a judge has to test, in order.</summary>
    public static IEnumerable<Mnemonic> MnemonicsFor(Func<Code, bool> wanted) => Registered.Where(wanted).Select(code => code.Mnemonic()).Distinct().Order();

    /// <summary>Who judges a form.</summary>
    public static Judge JudgeOf(Code code)
    {
        if (ReasonElsewhere(code) is not null)
        {
            return Judge.Elsewhere;
        }
        // Reserved NOPs became other instructions or raise #UD on newer CPUs.
        bool reserved = code.Mnemonic() == Mnemonic.Reservednop;
        return code.ToOpCode().Mode64 && !reserved && !UsesStackOrBranches(code) && !TouchesSegmentRegisters(code) && !IsPrivilegedFlag(code) ? Judge.Native : Judge.Unicorn;
    }

    /// <summary>x87, MMX and SSE.</summary>
    public static bool IsFloatingPoint(Code code) =>
        code.CpuidFeatures().Any(feature => feature is CpuidFeature.FPU or CpuidFeature.FPU287 or CpuidFeature.FPU387 or CpuidFeature.MMX or CpuidFeature.FXSR
            or CpuidFeature.SSE or CpuidFeature.SSE2 or CpuidFeature.SSE3 or CpuidFeature.SSSE3 or CpuidFeature.SSE4_1 or CpuidFeature.SSE4_2);

    /// <summary>Why neither oracle judges a form; null when one does.</summary>
    public static string? ReasonElsewhere(Code code)
    {
        if (code.IsCallFar() || code.IsCallFarIndirect() || code.IsJmpFar() || code.IsJmpFarIndirect())
        {
            return ControlTransfer;
        }
        OpCodeInfo info = code.ToOpCode();
        for (int i = 0; i < info.OpCount; i++)
        {
            if (info.GetOpKind(i) is OpCodeOperandKind.cr_reg or OpCodeOperandKind.dr_reg or OpCodeOperandKind.tr_reg)
            {
                return Privileged;
            }
        }
        return Elsewhere.GetValueOrDefault(code.Mnemonic());
    }

    /// <summary>Whether the stack or EIP takes part, which 64-bit mode widens.</summary>
    public static bool UsesStackOrBranches(Code code)
    {
        var instruction = new Instruction { Code = code };
        return instruction.IsStackInstruction || instruction.FlowControl is not (FlowControl.Next or FlowControl.Exception);
    }

    /// <summary>Whether a segment register is an operand or is loaded.</summary>
    public static bool TouchesSegmentRegisters(Code code)
    {
        if (code.Mnemonic() is Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss)
        {
            return true;
        }
        OpCodeInfo info = code.ToOpCode();
        return Enumerable.Range(0, info.OpCount).Any(i => info.GetOpKind(i) is OpCodeOperandKind.seg_reg
            or OpCodeOperandKind.es or OpCodeOperandKind.cs or OpCodeOperandKind.ss or OpCodeOperandKind.ds or OpCodeOperandKind.fs or OpCodeOperandKind.gs);
    }

    private static bool IsPrivilegedFlag(Code code) => code.Mnemonic() is Mnemonic.Cli or Mnemonic.Sti;

    private static Dictionary<Mnemonic, string> Reasons()
    {
        var reasons = new Dictionary<Mnemonic, string>();
        Add(
            Privileged,
            [
                Mnemonic.Hlt, Mnemonic.In, Mnemonic.Out, Mnemonic.Insb, Mnemonic.Insw, Mnemonic.Insd, Mnemonic.Outsb, Mnemonic.Outsw, Mnemonic.Outsd,
                Mnemonic.Lgdt, Mnemonic.Lidt, Mnemonic.Sgdt, Mnemonic.Sidt, Mnemonic.Lldt, Mnemonic.Sldt, Mnemonic.Ltr, Mnemonic.Str,
                Mnemonic.Smsw, Mnemonic.Lmsw, Mnemonic.Clts, Mnemonic.Invd, Mnemonic.Wbinvd, Mnemonic.Invlpg, Mnemonic.Rdmsr, Mnemonic.Wrmsr,
                Mnemonic.Lar, Mnemonic.Lsl, Mnemonic.Verr, Mnemonic.Verw,
            ]);
        Add(
            ControlTransfer,
            [
                Mnemonic.Int, Mnemonic.Int1, Mnemonic.Int3, Mnemonic.Into, Mnemonic.Iret, Mnemonic.Iretd, Mnemonic.Retf, Mnemonic.Sysenter, Mnemonic.Sysexit,
                Mnemonic.Ud2, Mnemonic.Bound,
            ]);
        Add("means BSF or BSR here, with a prefix that is ignored; judged by example", [Mnemonic.Tzcnt, Mnemonic.Lzcnt]);
        Add(Varies, [Mnemonic.Cpuid, Mnemonic.Rdtsc]);
        return reasons;

        void Add(string reason, ReadOnlySpan<Mnemonic> mnemonics)
        {
            foreach (Mnemonic mnemonic in mnemonics)
            {
                reasons.Add(mnemonic, reason);
            }
        }
    }
}
