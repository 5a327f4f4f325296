// Every encoding of the integer instructions that 64-bit mode still has, against the CPU that runs the tests.

using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Integer;

public sealed class NativeIntegerTests
{
    private const uint NotCarry = Eflags.Status & ~Eflags.Carry;
    private const uint NotZero = Eflags.Status & ~Eflags.Zero;

    private static readonly string[] Arithmetic = ["ADD", "OR", "ADC", "SBB", "AND", "SUB", "XOR", "CMP"];
    private static readonly string[] Shifts = ["ROL", "ROR", "RCL", "RCR", "SHL", "SHR", "SAL", "SAR"];

    public static TheoryData<string> Names
    {
        get
        {
            var data = new TheoryData<string>();
            foreach (string name in Forms().Select(form => form.Name).Distinct())
            {
                data.Add(name);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void AgreesWithTheNativeCpu(string name)
    {
        Assert.SkipUnless(NativeCpu.IsSupported, "needs an x86-64 Linux host");
        int seed = Random.Shared.Next();
        using var difference = new NativeDifference(seed);
        foreach (IntegerForm form in Forms().Where(form => form.Name == name))
        {
            difference.CheckForm(form, Undefined(name));
        }
    }

    private static uint Undefined(string name) => name switch
    {
        "AND" or "OR" or "XOR" or "TEST" => Eflags.Adjust,
        "MUL" or "IMUL" => Eflags.Parity | Eflags.Adjust | Eflags.Zero | Eflags.Sign,
        "BSF" or "BSR" => NotZero,
        "BT" or "BTS" or "BTR" or "BTC" => NotCarry & ~Eflags.Zero,
        _ => 0,
    };

    private static IEnumerable<IntegerForm> Forms()
    {
        for (int i = 0; i < 8; i++)
        {
            byte opcode = (byte)(i * 8);
            yield return new(Arithmetic[i], [opcode], Byte: true);
            yield return new(Arithmetic[i], [(byte)(opcode + 1)]);
            yield return new(Arithmetic[i], [(byte)(opcode + 2)], Byte: true);
            yield return new(Arithmetic[i], [(byte)(opcode + 3)]);
            yield return new(Arithmetic[i], [(byte)(opcode + 4)], Byte: true, Immediate: 1, HasModRm: false);
            yield return new(Arithmetic[i], [(byte)(opcode + 5)], Immediate: 4, HasModRm: false);
            yield return new(Arithmetic[i], [0x80], i, true, 1);
            yield return new(Arithmetic[i], [0x81], i, false, 4);
            yield return new(Arithmetic[i], [0x83], i, false, 1);
        }
        yield return new("TEST", [0x84], Byte: true);
        yield return new("TEST", [0x85]);
        yield return new("TEST", [0xA8], Byte: true, Immediate: 1, HasModRm: false);
        yield return new("TEST", [0xA9], Immediate: 4, HasModRm: false);
        yield return new("TEST", [0xF6], 0, true, 1);
        yield return new("TEST", [0xF7], 0, false, 4);
        (string, byte, int)[] unary = [("INC", 0xFE, 0), ("DEC", 0xFE, 1), ("NOT", 0xF6, 2), ("NEG", 0xF6, 3), ("MUL", 0xF6, 4), ("IMUL", 0xF6, 5)];
        foreach ((string name, byte group, int digit) in unary)
        {
            yield return new(name, [group], digit, true);
            yield return new(name, [(byte)(group + 1)], digit);
        }
        yield return new("IMUL", [0x0F, 0xAF]);
        yield return new("IMUL", [0x69], Immediate: 4);
        yield return new("IMUL", [0x6B], Immediate: 1);
        yield return new("CMPXCHG", [0x0F, 0xB0], Byte: true);
        yield return new("CMPXCHG", [0x0F, 0xB1]);
        yield return new("XADD", [0x0F, 0xC0], Byte: true);
        yield return new("XADD", [0x0F, 0xC1]);
        yield return new("XCHG", [0x86], Byte: true);
        yield return new("XCHG", [0x87]);
        yield return new("MOV", [0x88], Byte: true);
        yield return new("MOV", [0x89]);
        yield return new("MOV", [0x8A], Byte: true);
        yield return new("MOV", [0x8B]);
        yield return new("MOV", [0xC6], 0, true, 1);
        yield return new("MOV", [0xC7], 0, false, 4);
        for (byte register = 0; register < 8; register++)
        {
            yield return new("MOV", [(byte)(0xB0 + register)], Byte: true, Immediate: 1, HasModRm: false);
            yield return new("MOV", [(byte)(0xB8 + register)], Immediate: 4, HasModRm: false);
            yield return new("XCHG", [(byte)(0x90 + register)], HasModRm: false);
        }
        yield return new("MOVZX", [0x0F, 0xB6]);
        yield return new("MOVZX", [0x0F, 0xB7]);
        yield return new("MOVSX", [0x0F, 0xBE]);
        yield return new("MOVSX", [0x0F, 0xBF]);
        yield return new("CBW", [0x98], HasModRm: false);
        yield return new("CWD", [0x99], HasModRm: false);
        for (int condition = 0; condition < 16; condition++)
        {
            yield return new("CMOV", [0x0F, (byte)(0x40 + condition)]);
            yield return new("SET", [0x0F, (byte)(0x90 + condition)], 0, true);
        }
        yield return new("BSF", [0x0F, 0xBC]);
        yield return new("BSR", [0x0F, 0xBD]);
        for (int i = 0; i < 4; i++)
        {
            yield return new(((string[])["BT", "BTS", "BTR", "BTC"])[i], [0x0F, 0xBA], 4 + i, false, 1);
        }
        yield return new("LAHF", [0x9F], HasModRm: false);
        yield return new("SAHF", [0x9E], HasModRm: false);
        foreach (byte opcode in (byte[])[0xF5, 0xF8, 0xF9, 0xFC, 0xFD])
        {
            yield return new("CMC CLC STC CLD STD", [opcode], HasModRm: false);
        }
        yield return new("NOP", [0x0F, 0x1F], 0);
        yield return new("NOP", [0xF3, 0x90], Byte: true, HasModRm: false);
        for (int digit = 0; digit < 4; digit++)
        {
            yield return new("PREFETCH", [0x0F, 0x18], digit);
        }
        for (int i = 0; i < 8; i++)
        {
            yield return new(Shifts[i], [0xD0], i, true);
            yield return new(Shifts[i], [0xD1], i);
        }
    }
}
