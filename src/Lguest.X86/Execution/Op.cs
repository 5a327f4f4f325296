// P:460 How can a program be a processor and not be hopelessly slow? Reading the same bytes of an instruction again each time it runs,
// and finding out again what they mean, would cost most of the time. So instructions are decoded once, in runs that are called *blocks*,
// and cut into small operations of sixteen bytes; then the block runs as often as the Guest likes.
//
// A register form is one operation; an instruction that computes on memory becomes load, compute and store around a temporary register,
// so that a handful of loads and stores serves every kind of arithmetic. Only the first operation of an instruction can fault, and
// whenever a fast operation meets something unusual, the whole instruction goes to its reference handler instead, which is slow, exact,
// and written for reading.
//
// Decoded code has one enemy: a Guest that overwrites the bytes it came from. BlockCache remembers which frames hold code, and a write to
// one of those drops its blocks. :*

using System.Runtime.InteropServices;

namespace Lguest.X86.Execution;

/// <summary>What an <see cref="Op"/> does. R0 is the destination, R1 the source; 8-bit forms name bytes, the others whole registers.</summary>
internal enum OpCode : ushort
{
    /// <summary>Run the reference handler, then go on.</summary>
    Reference,

    /// <summary>Run the reference handler, then leave the block.</summary>
    ReferenceLast,

    /// <summary>The block ends without a branch; go on at its end.</summary>
    FallThrough,
    Nop,

    // Moves.
    Move32, MoveImmediate32, Load32, Store32, StoreImmediate32,
    Move8, MoveImmediate8, Load8, Store8, StoreImmediate8,
    Move16, Load16, Store16, StoreImmediate16,
    ZeroExtend8, ZeroExtend16, SignExtend8, SignExtend16,
    LoadZeroExtend8, LoadZeroExtend16, LoadSignExtend8, LoadSignExtend16,
    LoadEffectiveAddress, Exchange32, ConditionalMove, SetCondition, SignIntoEdx, SignExtendAx, SwapBytes,

    // Loads into the temporary register, and stores from it to the place that the load found.
    LoadTemporary32, LoadTemporary8, LoadForUpdate32, LoadForUpdate8, StoreUpdate32, StoreUpdate8,

    // Stack.
    Push, PushImmediate, Pop, Leave,

    // Arithmetic and logic on registers: the order of the eight is that of the instruction encoding.
    Add32, Or32, AddCarry32, SubtractBorrow32, And32, Subtract32, Xor32, Compare32,
    AddImmediate32, OrImmediate32, AddCarryImmediate32, SubtractBorrowImmediate32, AndImmediate32, SubtractImmediate32, XorImmediate32, CompareImmediate32,
    Add8, Or8, AddCarry8, SubtractBorrow8, And8, Subtract8, Xor8, Compare8,
    AddImmediate8, OrImmediate8, AddCarryImmediate8, SubtractBorrowImmediate8, AndImmediate8, SubtractImmediate8, XorImmediate8, CompareImmediate8,
    Test32, TestImmediate32, Test8, TestImmediate8,
    Increment32, Decrement32, Negate32, Not32,
    ShiftLeft32, ShiftRight32, ShiftArithmeticRight32, RotateLeft32, RotateRight32,
    ShiftLeftByCl32, ShiftRightByCl32, ShiftArithmeticRightByCl32,
    DoubleShiftRight32, DoubleShiftLeft32,
    Multiply32, MultiplyImmediate32, MultiplyWide32, MultiplyWideSigned32, BitTest32, BitTestImmediate32,

    // Branches; the order of the sixteen conditions is that of the instruction encoding.
    Jump, JumpIndirect, Call, CallIndirect, Return, ReturnRelease,
    JumpOverflow, JumpNotOverflow, JumpBelow, JumpAboveOrEqual, JumpEqual, JumpNotEqual, JumpBelowOrEqual, JumpAbove,
    JumpSign, JumpNotSign, JumpParity, JumpNotParity, JumpLess, JumpGreaterOrEqual, JumpLessOrEqual, JumpGreater,

    // A comparison with the conditional jump that follows it.
    CompareJumpEqual, CompareJumpNotEqual, CompareJumpBelow, CompareJumpAboveOrEqual, CompareJumpBelowOrEqual, CompareJumpAbove,
    CompareJumpLess, CompareJumpGreaterOrEqual, CompareJumpLessOrEqual, CompareJumpGreater,
    CompareImmediateJumpEqual, CompareImmediateJumpNotEqual, CompareImmediateJumpBelow, CompareImmediateJumpAboveOrEqual,
    CompareImmediateJumpBelowOrEqual, CompareImmediateJumpAbove, CompareImmediateJumpLess, CompareImmediateJumpGreaterOrEqual,
    CompareImmediateJumpLessOrEqual, CompareImmediateJumpGreater,
    TestJumpEqual, TestJumpNotEqual, TestJumpSign, TestJumpNotSign, TestJumpLessOrEqual, TestJumpGreater,
    TestImmediateJumpEqual, TestImmediateJumpNotEqual, TestImmediateJumpSign, TestImmediateJumpNotSign,
    TestImmediateJumpLessOrEqual, TestImmediateJumpGreater,
}

/// <summary>One decoded operation.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct Op
{
    public OpCode Code;

    /// <summary>Destination register (index of its word, or of its byte in 8-bit forms).</summary>
    public byte R0;

    /// <summary>Source register, or the number of a condition.</summary>
    public byte R1;

    /// <summary>Index of the base register's word; the zero word when there is none.</summary>
    public byte Base;

    /// <summary>Index of the index register's word; the zero word when there is none.</summary>
    public byte Index;

    /// <summary>Left shift of the index, 0 to 3.</summary>
    public byte Scale;

    /// <summary>Which instruction of the block this operation belongs to.</summary>
    public byte Instruction;

    /// <summary>Address displacement; in calls the return address.</summary>
    public uint Displacement;

    /// <summary>Immediate operand.</summary>
    public uint Immediate;
}

/// <summary>Head of a decoded basic block; its operations and the instructions they came from follow it in memory.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct Block
{
    /// <summary>EIP of the first instruction.</summary>
    public uint Eip;

    /// <summary>Mode that the block was decoded for, or <see cref="Dead"/>.</summary>
    public uint Mode;

    /// <summary>Machine frame of the first byte.</summary>
    public uint Frame;

    /// <summary>Machine frame of the last byte; differs from <see cref="Frame"/> when the only instruction crosses a page border.</summary>
    public uint LastFrame;

    /// <summary>Number of instructions, 1 to 64.</summary>
    public int Count;

    /// <summary>Length of the block in bytes.</summary>
    public uint Length;

    /// <summary>Where a taken branch at the end leads.</summary>
    public uint TakenEip;

    /// <summary>Number of operations.</summary>
    public int OpCount;

    /// <summary>Executions that are left until the block is worth translating; so many that they never end where it cannot be.</summary>
    public long Heat;

    /// <summary>What comes behind the taken branch, once known.</summary>
    public BlockLink Taken;

    /// <summary>What comes behind the end, once known.</summary>
    public BlockLink Next;

    /// <summary>The links of other blocks that lead here.</summary>
    public ListNode* Incoming;

    /// <summary>Among the blocks in the same hash bucket.</summary>
    public ListNode InBucket;

    /// <summary>Among the blocks that begin in the same frame.</summary>
    public ListNode InFrame;

    /// <summary>Among the blocks that begin elsewhere and end in the same frame.</summary>
    public ListNode InLastFrame;

    /// <summary>The translation; nothing but zeros when there is none.</summary>
    public BlockTranslation Translation;

    /// <summary>Translated code has missed a run of bytes that it shares a probe for, and is written with what to do then.</summary>
    public bool MissesRuns;

    /// <summary>A mode that no processor is in: the code has changed.</summary>
    public const uint Dead = 0xFFFF_FFFF;

    /// <summary>EIP behind the last instruction.</summary>
    public readonly uint EndEip => Eip + Length;

    /// <summary>Where the nodes are, for who has one and wants its block.</summary>
    public const int InBucketOffset = 96, InFrameOffset = 112, InLastFrameOffset = 128;

    /// <summary>The block that a node belongs to.</summary>
    /// <param name="node">One of its nodes.</param>
    /// <param name="offset">Where it is in the block.</param>
    public static Block* Of(ListNode* node, int offset)
    {
        // SAFETY: the address is only computed.
        unsafe
        {
            return (Block*)((byte*)node - offset);
        }
    }
}

/// <summary>A way from one block to another.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct BlockLink
{
    /// <summary>Where it leads; null when that is not known.</summary>
    public Block* Target;

    /// <summary>Among the links that lead to the same block.</summary>
    public ListNode InIncoming;

    /// <summary>The link that a node belongs to.</summary>
    public static BlockLink* Of(ListNode* node)
    {
        // SAFETY: the address is only computed.
        unsafe
        {
            return (BlockLink*)((byte*)node - sizeof(Block*));
        }
    }

    /// <summary>Lets a link lead to a block, or to none.</summary>
    public static void Connect(BlockLink* link, Block* target)
    {
        // SAFETY: as in ListNode.Insert.
        unsafe
        {
            if (link->Target == target)
            {
                return;
            }
            ListNode.Remove(&link->InIncoming);
            link->Target = target;
            if (target != null)
            {
                ListNode.Insert(&link->InIncoming, &target->Incoming);
            }
        }
    }
}

/// <summary>Where the translation of a block is.</summary>
internal unsafe struct BlockTranslation
{
    /// <summary>Code that takes the status flags in the host's register, where it can be written.</summary>
    public byte* EntryNative;

    /// <summary>Code that takes the status flags saved in RAX; null when the block is not translated.</summary>
    public byte* EntrySaved;

    /// <summary>The exit records of jumps that lead here.</summary>
    public ListNode* Incoming;

    /// <summary>The translations that were made before and behind this one.</summary>
    public Block* Older, Newer;

    /// <summary>Where it begins in the hot and in the cold stream and among the exit records, each as an offset.</summary>
    public uint Hot, Cold, Record;

    /// <summary>How many exit records it has.</summary>
    public uint Records;
}
