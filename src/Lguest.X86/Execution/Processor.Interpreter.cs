// The interpreter's heart: one loop, one dense switch, no calls on the fast paths. Each case is a handful of machine instructions on
// the state in place; the flags are two words left behind (LazyFlags). A memory operation asks the soft-TLB with one comparison and,
// when that says no, jumps to one place below that fills the TLB, raises the page fault, or hands the whole instruction to its
// reference handler. The method must stay within the limits above which the JIT compiles without optimising, so rare things live
// elsewhere, and the switch is as long as it is because everything in it is hot.

using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using Lguest.X86.Execution;
using Lguest.X86.Memory;
using Lguest.X86.State;
using Lguest.X86.Translation;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const uint PageMask = 0xFFFF_F000;
    private const int Eax = (int)Register32.Eax;
    private const int Ecx = (int)Register32.Ecx;
    private const int Edx = (int)Register32.Edx;
    private const int Esp = (int)Register32.Esp;
    private const int Ebp = (int)Register32.Ebp;
    private const int Temporary = GeneralRegisters.TemporaryIndex;

    /// <summary>Effective address of an operation: a linear address, since blocks with fast operations are flat.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Address(uint* r, Op* op) => r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;

    /// <summary>The TLB entry that may know an address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TlbEntry* Entry(TlbEntry* tlb, uint address) => tlb + ((address >> 12) % SoftTlb.Entries);

    /// <summary>Runs blocks from EIP until something needs the outer loop: attention, an exit, a mode change, or a noted exception.</summary>
    /// <returns>True when an exception is noted that must be delivered at EIP.</returns>
    private bool ExecuteBlocks()
    {
        // SAFETY: `s`, the TLB and the jump table live as long as the processor; register indices come from the decoder and are below 12;
        // a matching TLB tag vouches for the host page behind it; blocks stay in the arena until FindBlock decodes one, after which the
        // loop uses only the block that FindBlock returned.
        unsafe
        {
            EngineContext* c = context;
            CpuState* s = state;
            uint* r = (uint*)s;
            LazyFlags* f = &s->Flags;
            TlbEntry* tlb = currentTlb.Data;
            ExecuteEntry* instructionTlb = currentTlb.Execute;
            Block** jumpTable = blocks.JumpTable;
            uint mode = context->BlockMode;
            leaveBlocks = false;
            Block* block;
            BlockLink* link = null;
            Op* op;
            TlbEntry* entry;
            ExecuteEntry* page;
            byte* target = null;
            uint eip = s->Eip;
            uint address, a, b;
            bool write;

        Lookup:
            block = jumpTable[BlockCache.JumpIndex(eip)];
            if (block == null || block->Eip != eip || block->Mode != mode) goto LookupSlow;
            page = instructionTlb + ((eip >> 12) % SoftTlb.ExecuteEntries);
            if (page->Tag != (eip & PageMask) || page->Frame != block->Frame) goto LookupSlow;
            goto Enter;

        LookupSlow:
            s->Eip = eip;
            block = FindBlock(link);
            link = null;
            if (block == null)
            {
                return true;
            }

        Enter:
            if ((ulong)c->InstructionCount >= Volatile.Read(ref c->AttentionAt))
            {
                s->Eip = eip;
                return false;
            }
            if (block->Heat <= 0)
            {
                s->Eip = eip;
                stoppedAtHotBlock = true;
                return false;
            }
            block->Heat--;
            c->InstructionCount += block->Count;
            op = (Op*)(block + 1);

            while (true)
            {
                switch (op->Code)
                {
                    case OpCode.Nop: op++; continue;

                    // Moves.
                    case OpCode.Move32: r[op->R0] = r[op->R1]; op++; continue;
                    case OpCode.MoveImmediate32: r[op->R0] = op->Immediate; op++; continue;
                    case OpCode.Load32:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 3) & PageMask)) goto ReadMiss;
                        r[op->R0] = *(uint*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.Store32:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        *(uint*)(entry->Addend + (nint)address) = r[op->R1]; op++; continue;
                    case OpCode.StoreImmediate32:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        *(uint*)(entry->Addend + (nint)address) = op->Immediate; op++; continue;
                    case OpCode.Move8: ((byte*)r)[op->R0] = ((byte*)r)[op->R1]; op++; continue;
                    case OpCode.MoveImmediate8: ((byte*)r)[op->R0] = (byte)op->Immediate; op++; continue;
                    case OpCode.Load8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != (address & PageMask)) goto ReadMiss;
                        ((byte*)r)[op->R0] = *(byte*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.Store8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != (address & PageMask)) goto WriteMiss;
                        *(byte*)(entry->Addend + (nint)address) = ((byte*)r)[op->R1]; op++; continue;
                    case OpCode.StoreImmediate8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != (address & PageMask)) goto WriteMiss;
                        *(byte*)(entry->Addend + (nint)address) = (byte)op->Immediate; op++; continue;
                    case OpCode.Move16: *(ushort*)(r + op->R0) = *(ushort*)(r + op->R1); op++; continue;
                    case OpCode.Load16:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 1) & PageMask)) goto ReadMiss;
                        *(ushort*)(r + op->R0) = *(ushort*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.Store16:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 1) & PageMask)) goto WriteMiss;
                        *(ushort*)(entry->Addend + (nint)address) = (ushort)r[op->R1]; op++; continue;
                    case OpCode.StoreImmediate16:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 1) & PageMask)) goto WriteMiss;
                        *(ushort*)(entry->Addend + (nint)address) = (ushort)op->Immediate; op++; continue;
                    case OpCode.ZeroExtend8: r[op->R0] = ((byte*)r)[op->R1]; op++; continue;
                    case OpCode.ZeroExtend16: r[op->R0] = (ushort)r[op->R1]; op++; continue;
                    case OpCode.SignExtend8: r[op->R0] = (uint)((sbyte*)r)[op->R1]; op++; continue;
                    case OpCode.SignExtend16: r[op->R0] = (uint)(short)r[op->R1]; op++; continue;
                    case OpCode.LoadZeroExtend8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != (address & PageMask)) goto ReadMiss;
                        r[op->R0] = *(byte*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.LoadZeroExtend16:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 1) & PageMask)) goto ReadMiss;
                        r[op->R0] = *(ushort*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.LoadSignExtend8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != (address & PageMask)) goto ReadMiss;
                        r[op->R0] = (uint)*(sbyte*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.LoadSignExtend16:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 1) & PageMask)) goto ReadMiss;
                        r[op->R0] = (uint)*(short*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.LoadEffectiveAddress: r[op->R0] = Address(r, op); op++; continue;
                    case OpCode.Exchange32: a = r[op->R0]; r[op->R0] = r[op->R1]; r[op->R1] = a; op++; continue;
                    case OpCode.ConditionalMove:
                        if (f->Condition(op->Scale)) r[op->R0] = r[op->R1];
                        op++; continue;
                    case OpCode.SetCondition: ((byte*)r)[op->R0] = f->Condition(op->R1) ? (byte)1 : (byte)0; op++; continue;
                    case OpCode.SignIntoEdx: r[Edx] = (uint)((int)r[Eax] >> 31); op++; continue;
                    case OpCode.SignExtendAx: r[Eax] = (uint)(short)r[Eax]; op++; continue;
                    case OpCode.SwapBytes: r[op->R0] = BinaryPrimitives.ReverseEndianness(r[op->R0]); op++; continue;

                    // A memory operand on its way through the temporary register.
                    case OpCode.LoadTemporary32:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 3) & PageMask)) goto ReadMiss;
                        r[Temporary] = *(uint*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.LoadTemporary8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->ReadTag != (address & PageMask)) goto ReadMiss;
                        r[Temporary] = *(byte*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.LoadForUpdate32:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        target = (byte*)(entry->Addend + (nint)address); r[Temporary] = *(uint*)target; op++; continue;
                    case OpCode.LoadForUpdate8:
                        address = Address(r, op); entry = Entry(tlb, address);
                        if (entry->WriteTag != (address & PageMask)) goto WriteMiss;
                        target = (byte*)(entry->Addend + (nint)address); r[Temporary] = *target; op++; continue;
                    case OpCode.StoreUpdate32: *(uint*)target = r[Temporary]; op++; continue;
                    case OpCode.StoreUpdate8: *target = (byte)r[Temporary]; op++; continue;

                    // Stack.
                    case OpCode.Push:
                        address = r[Esp] - 4; entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        *(uint*)(entry->Addend + (nint)address) = r[op->R1]; r[Esp] = address; op++; continue;
                    case OpCode.PushImmediate:
                        address = r[Esp] - 4; entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        *(uint*)(entry->Addend + (nint)address) = op->Immediate; r[Esp] = address; op++; continue;
                    case OpCode.Pop:
                        address = r[Esp]; entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 3) & PageMask)) goto ReadMiss;
                        r[Esp] = address + 4; r[op->R0] = *(uint*)(entry->Addend + (nint)address); op++; continue;
                    case OpCode.Leave:
                        address = r[Ebp]; entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 3) & PageMask)) goto ReadMiss;
                        r[Esp] = address + 4; r[Ebp] = *(uint*)(entry->Addend + (nint)address); op++; continue;

                    // Arithmetic and logic.
                    case OpCode.Add32: r[op->R0] = f->Add32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.Or32: r[op->R0] = f->Or32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.AddCarry32: r[op->R0] = f->AddCarry32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.SubtractBorrow32: r[op->R0] = f->SubtractBorrow32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.And32: r[op->R0] = f->And32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.Subtract32: r[op->R0] = f->Subtract32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.Xor32: r[op->R0] = f->Xor32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.Compare32: f->Subtract32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.AddImmediate32: r[op->R0] = f->Add32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.OrImmediate32: r[op->R0] = f->Or32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.AddCarryImmediate32: r[op->R0] = f->AddCarry32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.SubtractBorrowImmediate32: r[op->R0] = f->SubtractBorrow32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.AndImmediate32: r[op->R0] = f->And32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.SubtractImmediate32: r[op->R0] = f->Subtract32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.XorImmediate32: r[op->R0] = f->Xor32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.CompareImmediate32: f->Subtract32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.Add8: ((byte*)r)[op->R0] = f->Add8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.Or8: ((byte*)r)[op->R0] = f->Or8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.AddCarry8: ((byte*)r)[op->R0] = f->AddCarry8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.SubtractBorrow8: ((byte*)r)[op->R0] = f->SubtractBorrow8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.And8: ((byte*)r)[op->R0] = f->And8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.Subtract8: ((byte*)r)[op->R0] = f->Subtract8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.Xor8: ((byte*)r)[op->R0] = f->Xor8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.Compare8: f->Subtract8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.AddImmediate8: ((byte*)r)[op->R0] = f->Add8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.OrImmediate8: ((byte*)r)[op->R0] = f->Or8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.AddCarryImmediate8: ((byte*)r)[op->R0] = f->AddCarry8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.SubtractBorrowImmediate8:
                        ((byte*)r)[op->R0] = f->SubtractBorrow8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.AndImmediate8: ((byte*)r)[op->R0] = f->And8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.SubtractImmediate8: ((byte*)r)[op->R0] = f->Subtract8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.XorImmediate8: ((byte*)r)[op->R0] = f->Xor8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.CompareImmediate8: f->Subtract8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.Test32: f->And32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.TestImmediate32: f->And32(r[op->R0], op->Immediate); op++; continue;
                    case OpCode.Test8: f->And8(((byte*)r)[op->R0], ((byte*)r)[op->R1]); op++; continue;
                    case OpCode.TestImmediate8: f->And8(((byte*)r)[op->R0], (byte)op->Immediate); op++; continue;
                    case OpCode.Increment32: r[op->R0] = f->Increment32(r[op->R0]); op++; continue;
                    case OpCode.Decrement32: r[op->R0] = f->Decrement32(r[op->R0]); op++; continue;
                    case OpCode.Negate32: r[op->R0] = f->Subtract32(0, r[op->R0]); op++; continue;
                    case OpCode.Not32: r[op->R0] = ~r[op->R0]; op++; continue;
                    case OpCode.ShiftLeft32: r[op->R0] = f->ShiftLeft32(r[op->R0], (int)op->Immediate); op++; continue;
                    case OpCode.ShiftRight32: r[op->R0] = f->ShiftRight32(r[op->R0], (int)op->Immediate); op++; continue;
                    case OpCode.ShiftArithmeticRight32: r[op->R0] = f->ShiftArithmeticRight32(r[op->R0], (int)op->Immediate); op++; continue;
                    case OpCode.RotateLeft32: r[op->R0] = f->RotateLeft32(r[op->R0], (int)op->Immediate); op++; continue;
                    case OpCode.RotateRight32: r[op->R0] = f->RotateRight32(r[op->R0], (int)op->Immediate); op++; continue;
                    case OpCode.ShiftLeftByCl32:
                        a = r[Ecx] & 31;
                        if (a != 0) r[op->R0] = f->ShiftLeft32(r[op->R0], (int)a);
                        op++; continue;
                    case OpCode.ShiftRightByCl32:
                        a = r[Ecx] & 31;
                        if (a != 0) r[op->R0] = f->ShiftRight32(r[op->R0], (int)a);
                        op++; continue;
                    case OpCode.ShiftArithmeticRightByCl32:
                        a = r[Ecx] & 31;
                        if (a != 0) r[op->R0] = f->ShiftArithmeticRight32(r[op->R0], (int)a);
                        op++; continue;
                    case OpCode.DoubleShiftRight32: r[op->R0] = f->DoubleShiftRight32(r[op->R0], r[op->R1], (int)op->Immediate); op++; continue;
                    case OpCode.DoubleShiftLeft32: r[op->R0] = f->DoubleShiftLeft32(r[op->R0], r[op->R1], (int)op->Immediate); op++; continue;
                    case OpCode.Multiply32: r[op->R0] = f->MultiplySigned32(r[op->R0], r[op->R1]); op++; continue;
                    case OpCode.MultiplyImmediate32: r[op->R0] = f->MultiplySigned32(r[op->R1], op->Immediate); op++; continue;
                    case OpCode.MultiplyWide32: r[Edx] = f->MultiplyWide32(ref r[Eax], r[op->R1]); op++; continue;
                    case OpCode.MultiplyWideSigned32: r[Edx] = f->MultiplyWideSigned32(ref r[Eax], r[op->R1]); op++; continue;
                    case OpCode.BitTest32: f->Carry = ((r[op->R0] >> (int)(r[op->R1] & 31)) & 1) != 0; op++; continue;
                    case OpCode.BitTestImmediate32: f->Carry = ((r[op->R0] >> (int)op->Immediate) & 1) != 0; op++; continue;

                    // Branches.
                    case OpCode.Jump: goto Taken;
                    case OpCode.Call:
                        address = r[Esp] - 4; entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        *(uint*)(entry->Addend + (nint)address) = op->Displacement; r[Esp] = address; goto Taken;
                    case OpCode.JumpIndirect: eip = r[op->R1]; goto Lookup;
                    case OpCode.CallIndirect:
                        address = r[Esp] - 4; entry = Entry(tlb, address);
                        if (entry->WriteTag != ((address + 3) & PageMask)) goto WriteMiss;
                        eip = r[op->R1]; *(uint*)(entry->Addend + (nint)address) = op->Displacement; r[Esp] = address; goto Lookup;
                    case OpCode.Return:
                        address = r[Esp]; entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 3) & PageMask)) goto ReadMiss;
                        eip = *(uint*)(entry->Addend + (nint)address); r[Esp] = address + 4; goto Lookup;
                    case OpCode.ReturnRelease:
                        address = r[Esp]; entry = Entry(tlb, address);
                        if (entry->ReadTag != ((address + 3) & PageMask)) goto ReadMiss;
                        eip = *(uint*)(entry->Addend + (nint)address); r[Esp] = address + 4 + op->Immediate; goto Lookup;
                    case OpCode.JumpOverflow:
                        if (f->Overflow) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpNotOverflow:
                        if (!f->Overflow) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpBelow:
                        if (f->Carry) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpAboveOrEqual:
                        if (!f->Carry) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpEqual:
                        if (f->Zero) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpNotEqual:
                        if (!f->Zero) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpBelowOrEqual:
                        if (f->Zero || f->Carry) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpAbove:
                        if (!f->Zero && !f->Carry) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpSign:
                        if (f->Sign) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpNotSign:
                        if (!f->Sign) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpParity:
                        if (f->Parity) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpNotParity:
                        if (!f->Parity) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpLess:
                        if (f->Less) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpGreaterOrEqual:
                        if (!f->Less) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpLessOrEqual:
                        if (f->Zero || f->Less) goto Taken;
                        goto NotTaken;
                    case OpCode.JumpGreater:
                        if (!f->Zero && !f->Less) goto Taken;
                        goto NotTaken;

                    // A comparison and the conditional jump behind it.
                    case OpCode.CompareJumpEqual:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if (a == b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpNotEqual:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if (a != b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpBelow:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if (a < b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpAboveOrEqual:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if (a >= b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpBelowOrEqual:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if (a <= b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpAbove:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if (a > b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpLess:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if ((int)a < (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpGreaterOrEqual:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if ((int)a >= (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpLessOrEqual:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if ((int)a <= (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareJumpGreater:
                        a = r[op->R0]; b = r[op->R1]; f->Subtract32(a, b);
                        if ((int)a > (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpEqual:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if (a == b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpNotEqual:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if (a != b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpBelow:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if (a < b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpAboveOrEqual:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if (a >= b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpBelowOrEqual:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if (a <= b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpAbove:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if (a > b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpLess:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if ((int)a < (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpGreaterOrEqual:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if ((int)a >= (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpLessOrEqual:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if ((int)a <= (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.CompareImmediateJumpGreater:
                        a = r[op->R0]; b = op->Immediate; f->Subtract32(a, b);
                        if ((int)a > (int)b) goto Taken;
                        goto NotTaken;
                    case OpCode.TestJumpEqual:
                        a = f->And32(r[op->R0], r[op->R1]);
                        if (a == 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestJumpNotEqual:
                        a = f->And32(r[op->R0], r[op->R1]);
                        if (a != 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestJumpSign:
                        a = f->And32(r[op->R0], r[op->R1]);
                        if ((int)a < 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestJumpNotSign:
                        a = f->And32(r[op->R0], r[op->R1]);
                        if ((int)a >= 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestJumpLessOrEqual:
                        a = f->And32(r[op->R0], r[op->R1]);
                        if ((int)a <= 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestJumpGreater:
                        a = f->And32(r[op->R0], r[op->R1]);
                        if ((int)a > 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestImmediateJumpEqual:
                        a = f->And32(r[op->R0], op->Immediate);
                        if (a == 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestImmediateJumpNotEqual:
                        a = f->And32(r[op->R0], op->Immediate);
                        if (a != 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestImmediateJumpSign:
                        a = f->And32(r[op->R0], op->Immediate);
                        if ((int)a < 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestImmediateJumpNotSign:
                        a = f->And32(r[op->R0], op->Immediate);
                        if ((int)a >= 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestImmediateJumpLessOrEqual:
                        a = f->And32(r[op->R0], op->Immediate);
                        if ((int)a <= 0) goto Taken;
                        goto NotTaken;
                    case OpCode.TestImmediateJumpGreater:
                        a = f->And32(r[op->R0], op->Immediate);
                        if ((int)a > 0) goto Taken;
                        goto NotTaken;
                    case OpCode.FallThrough:
                        goto NotTaken;
                    case OpCode.Reference:
                    case OpCode.ReferenceLast:
                        goto Reference;
                    default:
                        throw new System.Diagnostics.UnreachableException();
                }

            Taken:
                eip = block->TakenEip;
                link = &block->Taken;
                goto Follow;

            NotTaken:
                eip = block->EndEip;
                link = &block->Next;

            Follow:
                if (link->Target == null || link->Target->Mode != mode) goto LookupSlow;
                if (((eip ^ block->Eip) & PageMask) != 0)
                {
                    page = instructionTlb + ((eip >> 12) % SoftTlb.ExecuteEntries);
                    if (page->Tag != (eip & PageMask) || page->Frame != link->Target->Frame) goto LookupSlow;
                }
                block = link->Target;
                link = null;
                goto Enter;

            ReadMiss:
                write = false;
                goto Miss;
            WriteMiss:
                write = true;

            Miss:
                if ((address & 0xFFF) <= 0xFFC)
                {
                    if (!TryFillData(currentTlb, address, write, out a))
                    {
                        LeaveAt(block, op->Instruction);
                        return true;
                    }
                    if ((write ? entry->WriteTag : entry->ReadTag) == (address & PageMask)) continue;
                    // A device is read once, by the handler of the whole instruction.
                    if (memory.FrameAddress(a >> 12) == null) goto Reference;
                }
                if (op->Code is OpCode.LoadTemporary32 or OpCode.LoadTemporary8)
                {
                    LoadTemporarySlowly(block, op, address);
                    op++;
                    continue;
                }

            Reference:
                if (!RunReference(block, op->Instruction, op->Code != OpCode.ReferenceLast))
                {
                    return false;
                }
                byte instruction = op->Instruction;
                do
                {
                    op++;
                }
                while (op->Instruction == instruction);
            }
        }
    }

    /// <summary>Loads a memory operand that the soft-TLB cannot serve: it crosses a page, is watched, or nobody answers there.</summary>
    private void LoadTemporarySlowly(Block* block, Op* op, uint address)
    {
        // SAFETY: as in RunReference.
        unsafe
        {
            DecodedInstruction* decoded = InstructionOf(block, op->Instruction);
            uncounted = block->Count - op->Instruction;
            state->Eip = decoded->Instruction.NextIP32 - (uint)decoded->Instruction.Length;
            state->General[Temporary] = op->Code == OpCode.LoadTemporary32 ? ReadLinear<uint>(address) : ReadLinear<byte>(address);
            uncounted = 0;
        }
    }
}
