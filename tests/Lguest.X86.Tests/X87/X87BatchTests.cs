// The arithmetic itself against the native CPU, without decoder and register file around it: one native loop works through a block
// of operands, so that hundreds of thousands of cases an operation cost little.

using System.Buffers.Binary;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;
using static Iced.Intel.AssemblerRegisters;

namespace Lguest.X86.Tests.X87;

public sealed class X87BatchTests
{
    private const int Cases = 1 << 17;

    // A record: both operands, control word, status word, result.
    private const int RecordSize = 64;
    private const int SecondAt = 16;
    private const int ControlAt = 32;
    private const int StatusAt = 34;
    private const int ResultAt = 48;
    private const int Records = NativeCpu.ScratchSize / RecordSize;

    private delegate Float80 Operation(Float80 a, Float80 b, ref X87Context context);

    [Fact]
    public void Addition() => Run(a => a.fadd(st0, st1), Extended.Add);

    [Fact]
    public void Subtraction() => Run(a => a.fsub(st0, st1), Extended.Subtract);

    [Fact]
    public void Multiplication() => Run(a => a.fmul(st0, st1), Extended.Multiply);

    [Fact]
    public void Division() => Run(a => a.fdiv(st0, st1), Extended.Divide);

    [Fact]
    public void SquareRoot() => Run(a => a.fsqrt(), (Float80 a, Float80 b, ref X87Context c) => Extended.SquareRoot(a, ref c));

    [Fact]
    public void RoundingToIntegral() => Run(a => a.frndint(), (Float80 a, Float80 b, ref X87Context c) => Extended.RoundToIntegral(a, ref c));

    [Fact]
    public void Scaling() => Run(a => a.fscale(), Extended.Scale);

    [Fact]
    public void Remainder() => Run(a => a.fprem(), (Float80 a, Float80 b, ref X87Context c) => Extended.Remainder(a, b, false, ref c, out _));

    [Fact]
    public void NearestRemainder() => Run(a => a.fprem1(), (Float80 a, Float80 b, ref X87Context c) => Extended.Remainder(a, b, true, ref c, out _));

    [Fact]
    public void Comparison() => Run(
        a => a.fcom(st0, st1),
        (Float80 a, Float80 b, ref X87Context c) =>
        {
            int order = Extended.Compare(a, b, false, ref c);
            c.Raised |= order;
            return a;
        });

    [Fact]
    public void NarrowingTo32Bits() => Run(
        a =>
        {
            a.fst(__dword_ptr[rsi + ResultAt]);
            a.fild(__dword_ptr[rsi + ResultAt]);
        },
        (Float80 a, Float80 b, ref X87Context c) => Extended.FromInteger((int)Extended.ToFloat32(a, ref c)),
        clearsC1: true);

    [Fact]
    public void NarrowingTo64Bits() => Run(
        a =>
        {
            a.fst(__qword_ptr[rsi + ResultAt]);
            a.fild(__qword_ptr[rsi + ResultAt]);
        },
        (Float80 a, Float80 b, ref X87Context c) => Extended.FromInteger((long)Extended.ToFloat64(a, ref c)),
        clearsC1: true);

    private static void Run(Action<Assembler> native, Operation operation, bool clearsC1 = false)
    {
        using var cpu = new NativeCpu();
        byte[] code = NativeCpu.Assemble(a => WriteLoop(a, native));
        var operands = new X87Operands(native.Method.MetadataToken);
        var first = new Float80[Records];
        var second = new Float80[Records];
        for (int done = 0; done < Cases; done += Records)
        {
            for (int i = 0; i < Records; i++)
            {
                Span<byte> record = cpu.Scratch.Slice(i * RecordSize, RecordSize);
                first[i] = operands.Any();
                second[i] = operands.Partner(first[i]);
                Store(record, first[i]);
                Store(record[SecondAt..], second[i]);
                BinaryPrimitives.WriteUInt16LittleEndian(record[ControlAt..], operands.ControlWord());
            }
            var state = new NativeState();
            state.General[(int)Register32.Esi] = cpu.ScratchAddress;
            state.General[(int)Register32.Ecx] = Records;
            cpu.Run(code, ref state);
            for (int i = 0; i < Records; i++)
            {
                ReadOnlySpan<byte> record = cpu.Scratch.Slice(i * RecordSize, RecordSize);
                var context = new X87Context(BinaryPrimitives.ReadUInt16LittleEndian(record[ControlAt..]));
                Float80 mine = operation(first[i], second[i], ref context);
                int status = BinaryPrimitives.ReadUInt16LittleEndian(record[StatusAt..]) & ~0x3800;
                int myStatus = clearsC1 ? context.Raised & ~X87Status.C1 : context.Raised;
                Float80 result = Load(record[ResultAt..]);
                Assert.True(
                    status == myStatus && result.Equals(mine),
                    $"seed {operands.Seed}: {X87Oracle.Show(first[i])} {X87Oracle.Show(second[i])} control {context.Control:X4}: "
                    + $"{X87Oracle.Show(result)} {status:X4}, but {X87Oracle.Show(mine)} {myStatus:X4}");
            }
        }
    }

    private static void WriteLoop(Assembler a, Action<Assembler> operation)
    {
        Label next = a.CreateLabel();
        a.Label(ref next);
        a.fninit();
        a.fldcw(__word_ptr[rsi + ControlAt]);
        a.fld(__tword_ptr[rsi + SecondAt]);
        a.fld(__tword_ptr[rsi]);
        operation(a);
        a.fnstsw(__word_ptr[rsi + StatusAt]);
        a.fnclex();
        a.fstp(__tword_ptr[rsi + ResultAt]);
        a.add(rsi, RecordSize);
        a.dec(ecx);
        a.jne(next);
    }

    private static void Store(Span<byte> memory, Float80 value)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(memory, value.Significand);
        BinaryPrimitives.WriteUInt16LittleEndian(memory[8..], value.SignExponent);
    }

    private static Float80 Load(ReadOnlySpan<byte> memory) =>
        new(BinaryPrimitives.ReadUInt16LittleEndian(memory[8..]), BinaryPrimitives.ReadUInt64LittleEndian(memory));
}
