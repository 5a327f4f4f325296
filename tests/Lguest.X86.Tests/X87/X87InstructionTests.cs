// Whole instructions against the native CPU: every encoding, with full and with random stacks, with all exceptions masked and with
// some unmasked, so that results, status word, tags, flags and memory are compared together.

using Iced.Intel;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.X87;

public sealed class X87InstructionTests
{
    private const int Cases = 400;

    /// <summary>All encodings but those of other test classes (control, transcendental).</summary>
    public static TheoryData<Code> Codes { get; } = [.. Enum.GetValues<Code>().Where(IsMine)];

    [Theory]
    [MemberData(nameof(Codes))]
    public void MaskedResponsesAreThoseOfTheNativeCpu(Code code) => Run(code, full: true, unmasked: false);

    [Theory]
    [MemberData(nameof(Codes))]
    public void StackFaultsAreThoseOfTheNativeCpu(Code code) => Run(code, full: false, unmasked: false);

    [Theory]
    [MemberData(nameof(Codes))]
    public void UnmaskedResponsesAreThoseOfTheNativeCpu(Code code)
    {
        Run(code, full: true, unmasked: true);
        Run(code, full: false, unmasked: true);
    }

    private static void Run(Code code, bool full, bool unmasked)
    {
        using var oracle = new X87Oracle();
        var operands = new X87Operands((int)code);
        bool pushes = Pushes(code);
        for (int i = 0; i < Cases; i++)
        {
            NativeState state = operands.State(full, unmasked);
            if (full && pushes)
            {
                state.ValidTags &= (byte)~(1 << ((state.Top - 1) & 7));
            }
            operands.FillMemory(oracle.Memory, state.GetSt(0), code.ToOpCode().MemorySize);
            oracle.Check(X87Oracle.Create(code, operands.Random.Next(8)), state);
        }
    }

    private static bool Pushes(Code code) => code.ToString() is string name
        && (name.StartsWith("Fld", StringComparison.Ordinal) || name.StartsWith("Fild", StringComparison.Ordinal)
            || name is "Fbld_m80bcd" or "Fxtract");

    private static bool IsMine(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        return info.IsInstruction
            && info is { Table: OpCodeTableKind.Normal, OpCode: >= 0xD8 and <= 0xDF or >= 0xD8C0 and <= 0xDFFF, Mode64: true }
            && !info.Fwait
            && X87Oracle.IsExact(code.Mnemonic());
    }
}
