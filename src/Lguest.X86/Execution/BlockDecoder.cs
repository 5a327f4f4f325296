// From bytes to operations. Iced says what an instruction is; this file decides how the interpreter will run it: the forms that carry
// most of a program's time get operations of their own, everything else is a call of its reference handler. The choice is made once
// for each block, so it may cost something.
//
// M:020 The interpreter executes a few hundred million instructions a second, a real processor a few thousand million. What it cannot get
// rid of is the dispatch: for each small operation, fetch it and jump to its case. The translator did away with that, and what is left to
// win lies between its superblocks. They end at calls and at the borders of pages, and at each end it forgets what it knew: where the flags
// can be had from, which page the stack is in, that ESI has not changed since it was looked up. Let one go on in the function that is
// called, in another page. Then a small function costs no more than its instructions. How do you make sure that it ends when that page is
// mapped elsewhere, and that a fault in the middle of it still shows the Guest exactly what it would have seen? The test for it is there:
// the same random programs must end in the same state. :*

using Iced.Intel;
using Lguest.X86.Instructions;
using Lguest.X86.State;

namespace Lguest.X86.Execution;

/// <summary>An instruction kept beside its operations, for the reference handler.</summary>
internal struct DecodedInstruction
{
    public Instruction Instruction;
    public int Handler;
}

/// <summary>What a block may assume; part of its identity.</summary>
internal static class BlockMode
{
    /// <summary>CS is a 32-bit segment.</summary>
    public const uint Code32 = 1;

    /// <summary>CS, DS, ES and SS are the whole 4 GiB from 0, the stack is 32 bits wide, and nothing watches data accesses.</summary>
    public const uint Flat = 2;

    /// <summary>FS reaches all 4 GiB from its base.</summary>
    public const uint FsUnlimited = 4;

    /// <summary>GS reaches all 4 GiB from its base.</summary>
    public const uint GsUnlimited = 8;

    /// <summary>Where the low twelve bits of the base of CS begin.</summary>
    public const int BaseShift = 8;
}

/// <summary>Collects the operations of one block.</summary>
internal sealed unsafe partial class BlockDecoder
{
    public const int MaximumInstructions = 64;
    private const int MaximumOps = (MaximumInstructions * 4) + 1;
    private const byte Temporary = GeneralRegisters.TemporaryIndex;
    private const byte TemporaryByte = Temporary * 4;

    private readonly Op[] ops = new Op[MaximumOps];
    private readonly DecodedInstruction[] instructions = new DecodedInstruction[MaximumInstructions];
    private uint mode;

    public int OpCount { get; private set; }

    public int Count { get; private set; }

    /// <summary>Where the branch at the end leads when taken.</summary>
    public uint TakenEip { get; private set; }

    /// <summary>Starts a block.</summary>
    public void Begin(uint blockMode)
    {
        mode = blockMode;
        OpCount = 0;
        Count = 0;
        TakenEip = 0;
    }

    /// <summary>Adds an instruction.</summary>
    /// <returns>True when the block must end behind it.</returns>
    public bool Add(in Instruction instruction)
    {
        int handler = InstructionTable.Instance.IndexOf(instruction);
        instructions[Count] = new DecodedInstruction { Instruction = instruction, Handler = handler };
        int firstOp = OpCount;
        bool ends = false;
        if ((mode & BlockMode.Flat) == 0 || handler == 0 || !TryFast(instruction, ref ends))
        {
            OpCount = firstOp;
            ends = EndsBlock(instruction) || handler == 0;
            Emit(ends ? OpCode.ReferenceLast : OpCode.Reference);
        }
        Count++;
        return ends || Count == MaximumInstructions;
    }

    /// <summary>The most bytes that <see cref="CopyTo"/> writes.</summary>
    public static int LargestCopy => (MaximumOps * sizeof(Op)) + (MaximumInstructions * sizeof(DecodedInstruction));

    /// <summary>Copies the operations, and the instructions behind them.</summary>
    /// <param name="place">Where to; with room for the largest possible block.</param>
    public void CopyTo(byte* place)
    {
        int opBytes = OpCount * sizeof(Op);
        int instructionBytes = Count * sizeof(DecodedInstruction);
        // SAFETY: the counts are those of elements that the arrays have, and the caller has the room.
        unsafe
        {
            fixed (Op* firstOp = ops)
            fixed (DecodedInstruction* firstInstruction = instructions)
            {
                Buffer.MemoryCopy(firstOp, place, opBytes, opBytes);
                Buffer.MemoryCopy(firstInstruction, place + opBytes, instructionBytes, instructionBytes);
            }
        }
    }

    /// <summary>Ends the block. Even behind a branch: its reference handler, too, may find that it leads to the next instruction.</summary>
    public void End() => Emit(OpCode.FallThrough);

    private static bool EndsBlock(in Instruction instruction) => instruction.FlowControl != FlowControl.Next || instruction.Mnemonic is
        Mnemonic.Popf or Mnemonic.Popfd or Mnemonic.Lmsw or Mnemonic.Clts or Mnemonic.Invlpg or Mnemonic.Hlt
        || (instruction.Mnemonic == Mnemonic.Mov && instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsCR());

    private ref Op Emit(OpCode code, int r0 = 0, int r1 = 0)
    {
        ref Op op = ref ops[OpCount++];
        op = new Op
        {
            Code = code,
            R0 = (byte)r0,
            R1 = (byte)r1,
            Base = GeneralRegisters.ZeroIndex,
            Index = GeneralRegisters.ZeroIndex,
            Instruction = (byte)Count,
        };
        return ref op;
    }

    /// <summary>Adds an operation with a memory operand; false when the operand has no fast form.</summary>
    private bool EmitMemory(OpCode code, in Instruction instruction, int r0 = 0, int r1 = 0)
    {
        ref Op op = ref Emit(code, r0, r1);
        return TryAddress(instruction, ref op);
    }

    /// <summary>Whether the memory operand's address is formed in 32 bits.</summary>
    internal static bool HasAddress32(in Instruction instruction) =>
        (instruction.MemoryBase == Register.None || instruction.MemoryBase.IsGPR32())
        && (instruction.MemoryIndex == Register.None || instruction.MemoryIndex.IsGPR32())
        && (instruction.MemoryBase != Register.None || instruction.MemoryIndex != Register.None || instruction.MemoryDisplSize == 4);

    private bool TryAddress(in Instruction instruction, ref Op op)
    {
        Register baseRegister = instruction.MemoryBase;
        Register indexRegister = instruction.MemoryIndex;
        if (!HasAddress32(instruction))
        {
            return false;
        }
        op.Displacement = instruction.MemoryDisplacement32;
        if (baseRegister != Register.None)
        {
            op.Base = (byte)baseRegister.GetNumber();
        }
        if (indexRegister != Register.None)
        {
            op.Index = (byte)indexRegister.GetNumber();
            op.Scale = (byte)(instruction.MemoryIndexScale switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 });
        }
        return instruction.MemorySegment switch
        {
            Register.DS or Register.SS or Register.ES => true,
            Register.FS => (mode & BlockMode.FsUnlimited) != 0 && TrySegmentBase(ref op, GeneralRegisters.FsBaseIndex),
            Register.GS => (mode & BlockMode.GsUnlimited) != 0 && TrySegmentBase(ref op, GeneralRegisters.GsBaseIndex),
            _ => false,
        };
    }

    /// <summary>The base of FS or GS takes the place of a register that the address does not use.</summary>
    private static bool TrySegmentBase(ref Op op, byte baseIndex)
    {
        if (op.Base == GeneralRegisters.ZeroIndex)
        {
            op.Base = baseIndex;
            return true;
        }
        if (op.Index == GeneralRegisters.ZeroIndex)
        {
            op.Index = baseIndex;
            return true;
        }
        return false;
    }

    /// <summary>Index of a general register's word, or of an 8-bit register's byte.</summary>
    private static int Place(Register register) => register switch
    {
        >= Register.AH and <= Register.BH => ((register - Register.AH) * 4) + 1,
        >= Register.AL and <= Register.BL => register.GetNumber() * 4,
        _ => register.GetNumber(),
    };
}
