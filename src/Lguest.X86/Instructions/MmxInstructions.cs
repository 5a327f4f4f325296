// Packed integers. Nearly every instruction exists twice, on 64-bit MMX and (since SSE2) on 128-bit XMM registers, and does the same in
// each lane; so each operation is written once, on 128 bits, and an MMX operand is the low half of such a vector.

using System.Runtime.Intrinsics;
using Iced.Intel;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

/// <summary>What a packed instruction computes from destination and source.</summary>
internal delegate Vector128<byte> PackedOperation(Vector128<byte> destination, Vector128<byte> source);

/// <summary>What a packed shift computes; counts beyond the width of a lane are not yet cut.</summary>
internal delegate Vector128<byte> PackedShift(Vector128<byte> value, ulong count);

internal static class MmxInstructions
{
    public static void Register(InstructionTable table)
    {
        RegisterArithmetic(table);
        RegisterLogic(table);
        RegisterShifts(table);
        MmxShuffles.Register(table);
        table.Add(Mnemonic.Emms, Emms);
    }

    private static void RegisterArithmetic(InstructionTable table)
    {
        table.Add(Mnemonic.Paddb, Packed(static (a, b) => a + b));
        table.Add(Mnemonic.Paddw, Packed(static (a, b) => (a.AsUInt16() + b.AsUInt16()).AsByte()));
        table.Add(Mnemonic.Paddd, Packed(static (a, b) => (a.AsUInt32() + b.AsUInt32()).AsByte()));
        table.Add(Mnemonic.Paddq, Packed(static (a, b) => (a.AsUInt64() + b.AsUInt64()).AsByte()));
        table.Add(Mnemonic.Psubb, Packed(static (a, b) => a - b));
        table.Add(Mnemonic.Psubw, Packed(static (a, b) => (a.AsUInt16() - b.AsUInt16()).AsByte()));
        table.Add(Mnemonic.Psubd, Packed(static (a, b) => (a.AsUInt32() - b.AsUInt32()).AsByte()));
        table.Add(Mnemonic.Psubq, Packed(static (a, b) => (a.AsUInt64() - b.AsUInt64()).AsByte()));

        table.Add(Mnemonic.Paddsb, Packed(static (a, b) => Vector128.AddSaturate(a.AsSByte(), b.AsSByte()).AsByte()));
        table.Add(Mnemonic.Paddsw, Packed(static (a, b) => Vector128.AddSaturate(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Paddusb, Packed(static (a, b) => Vector128.AddSaturate(a, b)));
        table.Add(Mnemonic.Paddusw, Packed(static (a, b) => Vector128.AddSaturate(a.AsUInt16(), b.AsUInt16()).AsByte()));
        table.Add(Mnemonic.Psubsb, Packed(static (a, b) => Vector128.SubtractSaturate(a.AsSByte(), b.AsSByte()).AsByte()));
        table.Add(Mnemonic.Psubsw, Packed(static (a, b) => Vector128.SubtractSaturate(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Psubusb, Packed(static (a, b) => Vector128.SubtractSaturate(a, b)));
        table.Add(Mnemonic.Psubusw, Packed(static (a, b) => Vector128.SubtractSaturate(a.AsUInt16(), b.AsUInt16()).AsByte()));

        table.Add(Mnemonic.Pmullw, Packed(static (a, b) => (a.AsInt16() * b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Pmulhw, Packed(static (a, b) =>
            HighWords(SignedEven(a) * SignedEven(b), SignedOdd(a) * SignedOdd(b))));
        table.Add(Mnemonic.Pmulhuw, Packed(static (a, b) =>
            HighWords((UnsignedEven(a) * UnsignedEven(b)).AsInt32(), (UnsignedOdd(a) * UnsignedOdd(b)).AsInt32())));
        table.Add(Mnemonic.Pmaddwd, Packed(static (a, b) => ((SignedEven(a) * SignedEven(b)) + (SignedOdd(a) * SignedOdd(b))).AsByte()));
        table.Add(Mnemonic.Pmuludq, Packed(static (a, b) =>
            ((a.AsUInt64() & Vector128.Create(0xFFFF_FFFFul)) * (b.AsUInt64() & Vector128.Create(0xFFFF_FFFFul))).AsByte()));

        table.Add(Mnemonic.Pavgb, Packed(static (a, b) => (a | b) - ((a ^ b) >>> 1)));
        table.Add(Mnemonic.Pavgw, Packed(static (a, b) => ((a | b).AsUInt16() - ((a ^ b).AsUInt16() >>> 1)).AsByte()));
        table.Add(Mnemonic.Pminub, Packed(static (a, b) => Vector128.Min(a, b)));
        table.Add(Mnemonic.Pmaxub, Packed(static (a, b) => Vector128.Max(a, b)));
        table.Add(Mnemonic.Pminsw, Packed(static (a, b) => Vector128.Min(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Pmaxsw, Packed(static (a, b) => Vector128.Max(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Psadbw, Packed(SumOfDifferences));
    }

    private static void RegisterLogic(InstructionTable table)
    {
        table.Add(Mnemonic.Pand, Packed(static (a, b) => a & b));
        table.Add(Mnemonic.Pandn, Packed(static (a, b) => ~a & b));
        table.Add(Mnemonic.Por, Packed(static (a, b) => a | b));
        table.Add(Mnemonic.Pxor, Packed(static (a, b) => a ^ b));

        table.Add(Mnemonic.Pcmpeqb, Packed(static (a, b) => Vector128.Equals(a, b)));
        table.Add(Mnemonic.Pcmpeqw, Packed(static (a, b) => Vector128.Equals(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Pcmpeqd, Packed(static (a, b) => Vector128.Equals(a.AsInt32(), b.AsInt32()).AsByte()));
        table.Add(Mnemonic.Pcmpgtb, Packed(static (a, b) => Vector128.GreaterThan(a.AsSByte(), b.AsSByte()).AsByte()));
        table.Add(Mnemonic.Pcmpgtw, Packed(static (a, b) => Vector128.GreaterThan(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Pcmpgtd, Packed(static (a, b) => Vector128.GreaterThan(a.AsInt32(), b.AsInt32()).AsByte()));
    }

    private static void RegisterShifts(InstructionTable table)
    {
        table.Add(Mnemonic.Psllw, Shift(static (v, n) => n > 15 ? default : (v.AsUInt16() << (int)n).AsByte()));
        table.Add(Mnemonic.Pslld, Shift(static (v, n) => n > 31 ? default : (v.AsUInt32() << (int)n).AsByte()));
        table.Add(Mnemonic.Psllq, Shift(static (v, n) => n > 63 ? default : (v.AsUInt64() << (int)n).AsByte()));
        table.Add(Mnemonic.Psrlw, Shift(static (v, n) => n > 15 ? default : (v.AsUInt16() >>> (int)n).AsByte()));
        table.Add(Mnemonic.Psrld, Shift(static (v, n) => n > 31 ? default : (v.AsUInt32() >>> (int)n).AsByte()));
        table.Add(Mnemonic.Psrlq, Shift(static (v, n) => n > 63 ? default : (v.AsUInt64() >>> (int)n).AsByte()));
        table.Add(Mnemonic.Psraw, Shift(static (v, n) => (v.AsInt16() >> (int)Math.Min(n, 15)).AsByte()));
        table.Add(Mnemonic.Psrad, Shift(static (v, n) => (v.AsInt32() >> (int)Math.Min(n, 31)).AsByte()));
        table.Add(Mnemonic.Pslldq, Shift(static (v, n) => n > 15 ? default : ByteShift(v, (int)n, true)));
        table.Add(Mnemonic.Psrldq, Shift(static (v, n) => n > 15 ? default : ByteShift(v, (int)n, false)));
    }

    /// <summary>An instruction <c>op mm, mm/m64</c> and <c>op xmm, xmm/m128</c> that works lane by lane.</summary>
    internal static InstructionHandler Packed(PackedOperation operation) => Packed(operation, operation);

    /// <summary>The same where the MMX form differs; it is given and gives back low halves.</summary>
    internal static InstructionHandler Packed(PackedOperation xmm, PackedOperation mmx) => (cpu, in instruction) =>
    {
        if (IsXmm(instruction.Op0Register))
        {
            RequireSse(cpu);
            Vector128<byte> source = XmmSource(cpu, instruction);
            ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
            destination = xmm(destination, source);
        }
        else
        {
            RequireMmx(cpu);
            ulong source = MmxSource(cpu, instruction);
            ulong destination = ReadMmx(cpu, instruction.Op0Register);
            WriteMmx(cpu, instruction.Op0Register, Low(mmx(Widen(destination), Widen(source))));
        }
    };

    private static InstructionHandler Shift(PackedShift operation) => (cpu, in instruction) =>
    {
        bool immediate = instruction.Op1Kind == OpKind.Immediate8;
        if (IsXmm(instruction.Op0Register))
        {
            RequireSse(cpu);
            ulong count = immediate ? instruction.Immediate8 : Low(XmmSource(cpu, instruction));
            ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
            destination = operation(destination, count);
        }
        else
        {
            RequireMmx(cpu);
            ulong count = immediate ? instruction.Immediate8 : MmxSource(cpu, instruction);
            ulong destination = ReadMmx(cpu, instruction.Op0Register);
            WriteMmx(cpu, instruction.Op0Register, Low(operation(Widen(destination), count)));
        }
    };

    private static void Emms(Processor cpu, in Instruction instruction)
    {
        RequireMmx(cpu);
        cpu.State.Fpu.Top = 0;
        cpu.State.Fpu.ValidTags = 0;
    }

    private static Vector128<int> SignedEven(Vector128<byte> words) => (words.AsInt32() << 16) >> 16;

    private static Vector128<int> SignedOdd(Vector128<byte> words) => words.AsInt32() >> 16;

    private static Vector128<uint> UnsignedEven(Vector128<byte> words) => words.AsUInt32() & Vector128.Create(0xFFFFu);

    private static Vector128<uint> UnsignedOdd(Vector128<byte> words) => words.AsUInt32() >>> 16;

    private static Vector128<byte> HighWords(Vector128<int> even, Vector128<int> odd) =>
        ((even >>> 16) | (odd & Vector128.Create(unchecked((int)0xFFFF_0000)))).AsByte();

    private static Vector128<byte> SumOfDifferences(Vector128<byte> a, Vector128<byte> b)
    {
        Vector128<byte> difference = Vector128.Max(a, b) - Vector128.Min(a, b);
        return Vector128.Create((ulong)Vector128.Sum(Vector128.WidenLower(difference)), Vector128.Sum(Vector128.WidenUpper(difference))).AsByte();
    }

    private static Vector128<byte> ByteShift(Vector128<byte> value, int bytes, bool left)
    {
        var number = new UInt128(High(value), Low(value));
        number = left ? number << (bytes * 8) : number >>> (bytes * 8);
        return Vector128.Create((ulong)number, (ulong)(number >>> 64)).AsByte();
    }
}
