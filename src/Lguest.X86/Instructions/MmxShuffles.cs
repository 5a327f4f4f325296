// Packed integers that change lanes: packing, interleaving, shuffling, single words in and out, byte masks.

using System.Runtime.Intrinsics;
using Iced.Intel;
using static Lguest.X86.Instructions.MmxInstructions;
using static Lguest.X86.Instructions.SimdOperands;

namespace Lguest.X86.Instructions;

internal static class MmxShuffles
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.Packsswb, Pack(static (a, b) => Vector128.NarrowWithSaturation(a.AsInt16(), b.AsInt16()).AsByte()));
        table.Add(Mnemonic.Packssdw, Pack(static (a, b) => Vector128.NarrowWithSaturation(a.AsInt32(), b.AsInt32()).AsByte()));
        table.Add(Mnemonic.Packuswb, Pack(static (a, b) => Vector128.Narrow(ClampToByte(a), ClampToByte(b)).AsByte()));

        table.Add(Mnemonic.Punpcklbw, UnpackLow(InterleaveLowBytes));
        table.Add(Mnemonic.Punpcklwd, UnpackLow(InterleaveLowWords));
        table.Add(Mnemonic.Punpckldq, UnpackLow(InterleaveLowDoublewords));
        table.Add(Mnemonic.Punpcklqdq, Packed(static (a, b) => Vector128.Create(a.GetLower(), b.GetLower())));
        table.Add(Mnemonic.Punpckhbw, UnpackHigh(InterleaveHighBytes, InterleaveLowBytes));
        table.Add(Mnemonic.Punpckhwd, UnpackHigh(InterleaveHighWords, InterleaveLowWords));
        table.Add(Mnemonic.Punpckhdq, UnpackHigh(InterleaveHighDoublewords, InterleaveLowDoublewords));
        table.Add(Mnemonic.Punpckhqdq, Packed(static (a, b) => Vector128.Create(a.GetUpper(), b.GetUpper())));

        table.Add(Mnemonic.Pshufw, ShuffleMmx);
        table.Add(Mnemonic.Pshuflw, Shuffle(static (v, order) => Vector128.Create(ShuffleWords(Low(v), order), High(v)).AsByte()));
        table.Add(Mnemonic.Pshufhw, Shuffle(static (v, order) => Vector128.Create(Low(v), ShuffleWords(High(v), order)).AsByte()));
        table.Add(Mnemonic.Pshufd, Shuffle(static (v, order) => ShuffleDoublewords(v, order)));

        table.Add(Code.Pinsrw_mm_r32m16_imm8, InsertWord);
        table.Add(Code.Pinsrw_xmm_r32m16_imm8, InsertWord);
        table.Add(Code.Pextrw_r32_mm_imm8, ExtractWord);
        table.Add(Code.Pextrw_r32_xmm_imm8, ExtractWord);
        table.Add(Mnemonic.Pmovmskb, MoveByteMask);
    }

    /// <summary>Result lane i is source lane number bits 2i+1..2i of the order.</summary>
    internal static Vector128<byte> ShuffleDoublewords(Vector128<byte> value, int order)
    {
        Vector128<uint> lanes = value.AsUInt32();
        return Vector128.Create(lanes[order & 3], lanes[(order >> 2) & 3], lanes[(order >> 4) & 3], lanes[(order >> 6) & 3]).AsByte();
    }

    private static ulong ShuffleWords(ulong words, int order)
    {
        ulong result = 0;
        for (int lane = 0; lane < 4; lane++)
        {
            result |= ((words >> (((order >> (lane * 2)) & 3) * 16)) & 0xFFFF) << (lane * 16);
        }
        return result;
    }

    /// <summary>Packs destination and source; the MMX form has both in one vector.</summary>
    private static InstructionHandler Pack(PackedOperation operation) => Packed(operation, (a, b) =>
    {
        Vector128<byte> both = Vector128.Create(a.GetLower(), b.GetLower());
        return operation(both, both);
    });

    private static Vector128<short> ClampToByte(Vector128<byte> words) =>
        Vector128.Min(Vector128.Max(words.AsInt16(), Vector128<short>.Zero), Vector128.Create((short)255));

    /// <summary>Interleaves low halves. The MMX form reads only four bytes of memory.</summary>
    private static InstructionHandler UnpackLow(PackedOperation operation)
    {
        InstructionHandler whole = Packed(operation);
        return (cpu, in instruction) =>
        {
            if (instruction.Op1Kind == OpKind.Register || IsXmm(instruction.Op0Register))
            {
                whole(cpu, instruction);
                return;
            }
            RequireMmx(cpu);
            uint source = cpu.ReadMemory<uint>(instruction);
            ulong destination = ReadMmx(cpu, instruction.Op0Register);
            WriteMmx(cpu, instruction.Op0Register, Low(operation(Widen(destination), Widen(source))));
        };
    }

    /// <summary>Interleaves high halves: for MMX, the upper half of all lanes interleaved.</summary>
    private static InstructionHandler UnpackHigh(PackedOperation high, PackedOperation low) =>
        Packed(high, (a, b) => Widen(High(low(a, b))));

    private static Vector128<byte> InterleaveLowBytes(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenLower(a) | (Vector128.WidenLower(b) << 8)).AsByte();

    private static Vector128<byte> InterleaveHighBytes(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenUpper(a) | (Vector128.WidenUpper(b) << 8)).AsByte();

    private static Vector128<byte> InterleaveLowWords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenLower(a.AsUInt16()) | (Vector128.WidenLower(b.AsUInt16()) << 16)).AsByte();

    private static Vector128<byte> InterleaveHighWords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenUpper(a.AsUInt16()) | (Vector128.WidenUpper(b.AsUInt16()) << 16)).AsByte();

    internal static Vector128<byte> InterleaveLowDoublewords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenLower(a.AsUInt32()) | (Vector128.WidenLower(b.AsUInt32()) << 32)).AsByte();

    internal static Vector128<byte> InterleaveHighDoublewords(Vector128<byte> a, Vector128<byte> b) =>
        (Vector128.WidenUpper(a.AsUInt32()) | (Vector128.WidenUpper(b.AsUInt32()) << 32)).AsByte();

    private static InstructionHandler Shuffle(Func<Vector128<byte>, int, Vector128<byte>> operation) => (cpu, in instruction) =>
    {
        RequireSse(cpu);
        Vector128<byte> source = XmmSource(cpu, instruction);
        Xmm(cpu, instruction.Op0Register) = operation(source, instruction.Immediate8);
    };

    private static void ShuffleMmx(Processor cpu, in Instruction instruction)
    {
        RequireMmx(cpu);
        ulong source = MmxSource(cpu, instruction);
        WriteMmx(cpu, instruction.Op0Register, ShuffleWords(source, instruction.Immediate8));
    }

    private static void InsertWord(Processor cpu, in Instruction instruction)
    {
        bool xmm = IsXmm(instruction.Op0Register);
        Require(cpu, xmm);
        ushort word = instruction.Op1Kind == OpKind.Register
            ? (ushort)cpu.ReadRegister(instruction.Op1Register)
            : cpu.ReadMemory<ushort>(instruction);
        if (xmm)
        {
            ref Vector128<byte> destination = ref Xmm(cpu, instruction.Op0Register);
            destination = destination.AsUInt16().WithElement(instruction.Immediate8 & 7, word).AsByte();
            return;
        }
        int shift = (instruction.Immediate8 & 3) * 16;
        ulong rest = ReadMmx(cpu, instruction.Op0Register) & ~(0xFFFFul << shift);
        WriteMmx(cpu, instruction.Op0Register, rest | ((ulong)word << shift));
    }

    private static void ExtractWord(Processor cpu, in Instruction instruction)
    {
        bool xmm = IsXmm(instruction.Op1Register);
        Require(cpu, xmm);
        uint word;
        if (xmm)
        {
            word = Xmm(cpu, instruction.Op1Register).AsUInt16().GetElement(instruction.Immediate8 & 7);
        }
        else
        {
            word = (ushort)(ReadMmx(cpu, instruction.Op1Register) >> ((instruction.Immediate8 & 3) * 16));
            EnterMmx(cpu);
        }
        cpu.WriteRegister(instruction.Op0Register, word);
    }

    private static void MoveByteMask(Processor cpu, in Instruction instruction)
    {
        bool xmm = IsXmm(instruction.Op1Register);
        Require(cpu, xmm);
        Vector128<byte> source;
        if (xmm)
        {
            source = Xmm(cpu, instruction.Op1Register);
        }
        else
        {
            source = Widen(ReadMmx(cpu, instruction.Op1Register));
            EnterMmx(cpu);
        }
        cpu.WriteRegister(instruction.Op0Register, source.ExtractMostSignificantBits());
    }

    private static void Require(Processor cpu, bool xmm)
    {
        if (xmm)
        {
            RequireSse(cpu);
        }
        else
        {
            RequireMmx(cpu);
        }
    }
}
