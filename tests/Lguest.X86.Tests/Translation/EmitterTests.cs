// The emitter knows just enough of the host's encoding, and a wrong bit in it is a wrong register in every Guest. So each form is read
// back by a decoder that knows all of it.

using Iced.Intel;
using Lguest.X86.Translation;

namespace Lguest.X86.Tests.Translation;

/// <summary>What the emitter writes is what was meant, says a decoder that was written by somebody else.</summary>
public sealed class EmitterTests
{
    private static readonly Register[] Names64 =
    [
        Register.RAX, Register.RCX, Register.RDX, Register.RBX, Register.RSP, Register.RBP, Register.RSI, Register.RDI,
        Register.R8, Register.R9, Register.R10, Register.R11, Register.R12, Register.R13, Register.R14, Register.R15,
    ];

    public static TheoryData<int> Sizes => [2, 4, 8];

    [Theory]
    [MemberData(nameof(Sizes))]
    public void EveryPairOfRegistersIsNamedRight(int size)
    {
        for (int to = 0; to < 16; to++)
        {
            for (int from = 0; from < 16; from++)
            {
                Instruction i = Single(e => e.Arithmetic(Alu.SubtractBorrow, size, (HostRegister)to, (HostRegister)from));
                Assert.Equal((Mnemonic.Sbb, Names64[to], Names64[from], size), (i.Mnemonic, i.Op0Register.GetFullRegister(), i.Op1Register.GetFullRegister(), i.Op0Register.GetSize()));
            }
        }
    }

    [Fact]
    public void AByteOfAnOldRegisterIsTheOneThatItsNumberAlwaysMeant()
    {
        Register[] bytes = [Register.AL, Register.CL, Register.DL, Register.BL, Register.AH, Register.CH, Register.DH, Register.BH];
        for (int to = 0; to < 8; to++)
        {
            for (int from = 0; from < 8; from++)
            {
                Instruction i = Single(e => e.Arithmetic(Alu.Xor, 1, (HostRegister)to, (HostRegister)from));
                Assert.Equal((Mnemonic.Xor, bytes[to], bytes[from]), (i.Mnemonic, i.Op0Register, i.Op1Register));
            }
        }
        Instruction low = Single(e => e.Store(HostOperand.At(HostRegister.R11, HostRegister.R10), HostRegister.R8, 1));
        Assert.Equal((Mnemonic.Mov, Register.R8L, Register.R11, Register.R10), (low.Mnemonic, low.Op1Register, low.MemoryBase, low.MemoryIndex));
    }

    [Fact]
    public void PrefixesAndOpcodesComeInTheirOrder()
    {
        Instruction add = Single(e => e.Instruction(4, 0x0F58, 3, HostOperand.At(HostRegister.R11, HostRegister.R10), 0xF2));
        Assert.Equal((Code.Addsd_xmm_xmmm64, Register.XMM3, Register.R11), (add.Code, add.Op0Register, add.MemoryBase));
        Instruction move = Single(e => e.MoveImmediate(HostRegister.R15, 0x8000_0000));
        Assert.Equal((Mnemonic.Mov, Register.R15D, 0x8000_0000u), (move.Mnemonic, move.Op0Register, move.Immediate32));
        Instruction shift = Single(e => e.Shift(5, HostRegister.R11, 8));
        Assert.Equal((Mnemonic.Shr, Register.R11D, 8), (shift.Mnemonic, shift.Op0Register, shift.Immediate8));
        Instruction bit = Single(e => e.BitTest(HostRegister.Rax, 8));
        Assert.Equal((Mnemonic.Bt, Register.EAX, 8), (bit.Mnemonic, bit.Op0Register, bit.Immediate8));
    }

    [Fact]
    public void EveryAddressIsNamedRight()
    {
        foreach (int displacement in (int[])[0, 1, -128, 127, 128, -129, 0x1234_5678, int.MinValue])
        {
            for (int baseRegister = 0; baseRegister < 16; baseRegister++)
            {
                for (int index = -1; index < 16; index++)
                {
                    if (index == (int)HostRegister.Rsp)
                    {
                        continue;
                    }
                    int scale = index & 3;
                    HostOperand memory = index < 0
                        ? HostOperand.At((HostRegister)baseRegister, displacement)
                        : HostOperand.At((HostRegister)baseRegister, (HostRegister)index, scale, displacement);
                    Instruction i = Single(e => e.Load(HostRegister.R9, memory, 8));
                    Assert.Equal((Mnemonic.Mov, Register.R9, Names64[baseRegister]), (i.Mnemonic, i.Op0Register, i.MemoryBase));
                    Assert.Equal(index < 0 ? (Register.None, 1) : (Names64[index], 1 << scale), (i.MemoryIndex, i.MemoryIndexScale));
                    Assert.Equal(displacement, (int)i.MemoryDisplacement64);
                }
            }
        }
    }

    [Fact]
    public void AnIndexNeedsNoBase()
    {
        Instruction i = Single(e => e.LoadAddress(HostRegister.R10, HostOperand.At(HostRegister.None, HostRegister.R9, 3, -5)));
        Assert.Equal((Mnemonic.Lea, Register.R10D, Register.None, Register.R9, 8, -5), (i.Mnemonic, i.Op0Register, i.MemoryBase, i.MemoryIndex, i.MemoryIndexScale, (int)i.MemoryDisplacement64));
    }

    [Fact]
    public void ImmediatesHaveTheWidthOfTheirOperand()
    {
        foreach (int size in (int[])[1, 2, 4])
        {
            foreach (int value in (int[])[0, 1, -1, 0x7F, 0x80, -0x80, 0x7FFF])
            {
                int expected = size == 1 ? (sbyte)value : value;
                Instruction compare = Single(e => e.ArithmeticImmediate(Alu.Compare, size, HostRegister.R8, value));
                Assert.Equal((Mnemonic.Cmp, expected), (compare.Mnemonic, size == 1 ? (sbyte)compare.GetImmediate(1) : size == 2 ? (short)compare.GetImmediate(1) : (int)compare.GetImmediate(1)));
                Instruction test = Single(e => e.TestImmediate(size, HostRegister.Rbx, value));
                Assert.Equal((Mnemonic.Test, expected), (test.Mnemonic, size == 1 ? (sbyte)test.GetImmediate(1) : size == 2 ? (short)test.GetImmediate(1) : (int)test.GetImmediate(1)));
            }
        }
    }

    [Fact]
    public void NothingIsDoneInAsManyBytesAsAsked()
    {
        for (int bytes = 1; bytes <= 5; bytes++)
        {
            Instruction i = Single(e => e.NoOperation(bytes));
            Assert.Equal((Mnemonic.Nop, bytes), (i.Mnemonic, i.Length));
        }
    }

    [Fact]
    public void AJumpLeadsWhereItIsPatchedTo()
    {
        byte[] memory = GC.AllocateArray<byte>(64, pinned: true);
        // SAFETY: the array is pinned, and the code is shorter.
        unsafe
        {
            byte* start = (byte*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(memory, 0);
            var emitter = new Emitter { Cursor = start };
            byte* distance = emitter.JumpIf(HostCondition.NotEqual, start);
            Emitter.Patch(distance, start + 40);
            var decoder = Decoder.Create(64, memory);
            Instruction i = decoder.Decode();
            Assert.Equal((Mnemonic.Jne, 40ul), (i.Mnemonic, i.NearBranchTarget));
        }
    }

    private static Instruction Single(Action<Emitter> write)
    {
        byte[] memory = GC.AllocateArray<byte>(64, pinned: true);
        // SAFETY: the array is pinned, and one instruction has at most fifteen bytes.
        unsafe
        {
            byte* start = (byte*)System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(memory, 0);
            var emitter = new Emitter { Cursor = start };
            write(emitter);
            Instruction i = Decoder.Create(64, memory).Decode();
            Assert.Equal(emitter.Cursor - start, i.Length);
            return i;
        }
    }
}
