// The interpreter's heart: one loop, one dense switch, no calls on the fast paths. Each case is a handful of machine instructions on
// the state in place; the flags are two words left behind (LazyFlags). A memory operation asks the soft-TLB with one comparison and,
// when that says no, jumps to one place below that fills the TLB, raises the page fault, or hands the whole instruction to its
// reference handler. The method must stay within the limits above which the JIT compiles without optimising, so rare things live
// elsewhere.

using System.Numerics;
using System.Runtime.CompilerServices;
using Lguest.X86.Execution;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86;

public sealed unsafe partial class Processor
{
    private const uint PageMask = 0xFFFF_F000;
    private const uint CarryBit = 0x8000_0000;
    private const uint CarryXorOverflow = 0x4000_0000;
    private const uint AdjustBit = 8;
    private const uint KeptCarries = CarryBit | CarryXorOverflow | AdjustBit;

    /// <summary>Runs blocks from EIP until something needs the outer loop: attention, an exit, a mode change, or a noted exception.</summary>
    /// <returns>True when an exception is noted that must be delivered at EIP.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool ExecuteBlocks()
    {
        // SAFETY: `s`, the TLB and the jump table live as long as the processor; register indices come from the decoder and are below 12;
        // a matching TLB tag vouches for the host page behind it; blocks stay in the arena until FindBlock empties it, after which the
        // loop uses only the block that FindBlock returned.
        unsafe
        {
            CpuState* s = state;
            uint* r = (uint*)s;
            LazyFlags* f = &s->Flags;
            TlbEntry* tlb = currentTlb.Data;
            ExecuteEntry* instructionTlb = currentTlb.Execute;
            Block** jumpTable = blocks.JumpTable;
            uint mode = blockMode;
            leaveBlocks = false;
            Block* block;
            Block** link = null;
            Op* op;
            uint address;
            uint a, b, result, eip;
            TlbEntry* entry;
            byte* target = null;
            bool write;

            eip = s->Eip;

        Lookup:
            block = jumpTable[BlockCache.JumpIndex(eip)];
            if (block == null || block->Eip != eip || block->Mode != mode || (mode & BlockMode.Flat) == 0)
            {
                goto LookupSlow;
            }
            {
                ExecuteEntry* page = instructionTlb + ((eip >> 12) % SoftTlb.ExecuteEntries);
                if (page->Tag != (eip & PageMask) || page->Frame != block->Frame || block->Frame != block->LastFrame)
                {
                    goto LookupSlow;
                }
            }
            if (link != null)
            {
                *link = block;
                link = null;
            }
            goto Enter;

        LookupSlow:
            s->Eip = eip;
            block = FindBlock(ref link);
            if (block == null)
            {
                return true;
            }

        Enter:
            if (Volatile.Read(ref attention) != 0)
            {
                s->Eip = eip;
                return false;
            }
            instructionCount += block->Count;
            op = (Op*)(block + 1);

            while (true)
            {
                switch (op->Code)
                {
                    case OpCode.Nop:
                        op++;
                        continue;

                    // Moves.
                    case OpCode.Move32:
                        r[op->R0] = r[op->R1];
                        op++;
                        continue;
                    case OpCode.MoveImmediate32:
                        r[op->R0] = op->Immediate;
                        op++;
                        continue;
                    case OpCode.Load32:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 3) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[op->R0] = *(uint*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.Store32:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(uint*)(entry->Addend + (nint)address) = r[op->R1];
                        op++;
                        continue;
                    case OpCode.StoreImmediate32:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(uint*)(entry->Addend + (nint)address) = op->Immediate;
                        op++;
                        continue;
                    case OpCode.Move8:
                        ((byte*)r)[op->R0] = ((byte*)r)[op->R1];
                        op++;
                        continue;
                    case OpCode.MoveImmediate8:
                        ((byte*)r)[op->R0] = (byte)op->Immediate;
                        op++;
                        continue;
                    case OpCode.Load8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != (address & PageMask))
                        {
                            goto ReadMiss;
                        }
                        ((byte*)r)[op->R0] = *(byte*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.Store8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != (address & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(byte*)(entry->Addend + (nint)address) = ((byte*)r)[op->R1];
                        op++;
                        continue;
                    case OpCode.StoreImmediate8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != (address & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(byte*)(entry->Addend + (nint)address) = (byte)op->Immediate;
                        op++;
                        continue;
                    case OpCode.Move16:
                        *(ushort*)(r + op->R0) = *(ushort*)(r + op->R1);
                        op++;
                        continue;
                    case OpCode.Load16:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 1) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        *(ushort*)(r + op->R0) = *(ushort*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.Store16:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 1) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(ushort*)(entry->Addend + (nint)address) = (ushort)r[op->R1];
                        op++;
                        continue;
                    case OpCode.StoreImmediate16:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 1) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(ushort*)(entry->Addend + (nint)address) = (ushort)op->Immediate;
                        op++;
                        continue;
                    case OpCode.ZeroExtend8:
                        r[op->R0] = ((byte*)r)[op->R1];
                        op++;
                        continue;
                    case OpCode.ZeroExtend16:
                        r[op->R0] = (ushort)r[op->R1];
                        op++;
                        continue;
                    case OpCode.SignExtend8:
                        r[op->R0] = (uint)((sbyte*)r)[op->R1];
                        op++;
                        continue;
                    case OpCode.SignExtend16:
                        r[op->R0] = (uint)(short)r[op->R1];
                        op++;
                        continue;
                    case OpCode.LoadZeroExtend8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != (address & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[op->R0] = *(byte*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.LoadZeroExtend16:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 1) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[op->R0] = *(ushort*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.LoadSignExtend8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != (address & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[op->R0] = (uint)*(sbyte*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.LoadSignExtend16:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 1) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[op->R0] = (uint)*(short*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.LoadEffectiveAddress:
                        r[op->R0] = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        op++;
                        continue;
                    case OpCode.Exchange32:
                        a = r[op->R0];
                        r[op->R0] = r[op->R1];
                        r[op->R1] = a;
                        op++;
                        continue;
                    case OpCode.ConditionalMove:
                        if (f->Condition(op->Scale))
                        {
                            r[op->R0] = r[op->R1];
                        }
                        op++;
                        continue;
                    case OpCode.SetCondition:
                        ((byte*)r)[op->R0] = f->Condition(op->R1) ? (byte)1 : (byte)0;
                        op++;
                        continue;
                    case OpCode.SignIntoEdx:
                        r[(int)Register32.Edx] = (uint)((int)r[(int)Register32.Eax] >> 31);
                        op++;
                        continue;
                    case OpCode.SignExtendAx:
                        r[(int)Register32.Eax] = (uint)(short)r[(int)Register32.Eax];
                        op++;
                        continue;
                    case OpCode.SwapBytes:
                        a = r[op->R0];
                        r[op->R0] = (a << 24) | ((a & 0xFF00) << 8) | ((a >> 8) & 0xFF00) | (a >> 24);
                        op++;
                        continue;

                    // The temporary register.
                    case OpCode.LoadTemporary32:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 3) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[GeneralRegisters.TemporaryIndex] = *(uint*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.LoadTemporary8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != (address & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[GeneralRegisters.TemporaryIndex] = *(byte*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.LoadForUpdate32:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        target = (byte*)(entry->Addend + (nint)address);
                        r[GeneralRegisters.TemporaryIndex] = *(uint*)target;
                        op++;
                        continue;
                    case OpCode.LoadForUpdate8:
                        address = r[op->Base] + (r[op->Index] << op->Scale) + op->Displacement;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != (address & PageMask))
                        {
                            goto WriteMiss;
                        }
                        target = (byte*)(entry->Addend + (nint)address);
                        r[GeneralRegisters.TemporaryIndex] = *target;
                        op++;
                        continue;
                    case OpCode.StoreUpdate32:
                        *(uint*)target = r[GeneralRegisters.TemporaryIndex];
                        op++;
                        continue;
                    case OpCode.StoreUpdate8:
                        *target = (byte)r[GeneralRegisters.TemporaryIndex];
                        op++;
                        continue;

                    // Stack.
                    case OpCode.Push:
                        address = r[(int)Register32.Esp] - 4;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(uint*)(entry->Addend + (nint)address) = r[op->R1];
                        r[(int)Register32.Esp] = address;
                        op++;
                        continue;
                    case OpCode.PushImmediate:
                        address = r[(int)Register32.Esp] - 4;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(uint*)(entry->Addend + (nint)address) = op->Immediate;
                        r[(int)Register32.Esp] = address;
                        op++;
                        continue;
                    case OpCode.Pop:
                        address = r[(int)Register32.Esp];
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 3) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[(int)Register32.Esp] = address + 4;
                        r[op->R0] = *(uint*)(entry->Addend + (nint)address);
                        op++;
                        continue;
                    case OpCode.Leave:
                        address = r[(int)Register32.Ebp];
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 3) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        r[(int)Register32.Esp] = address + 4;
                        r[(int)Register32.Ebp] = *(uint*)(entry->Addend + (nint)address);
                        op++;
                        continue;

                    // Arithmetic and logic.
                    case OpCode.Add32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a + b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((a & b) | ((a | b) & ~result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.Or32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a | b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.AddCarry32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a + b + (f->Carries >> 31);
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((a & b) | ((a | b) & ~result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.SubtractBorrow32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a - b - (f->Carries >> 31);
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.And32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a & b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.Subtract32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a - b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.Xor32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a ^ b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.Compare32:
                        a = r[op->R0];
                        b = r[op->R1];
                        result = a - b;
                        f->Result = result;
                        f->Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.AddImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a + b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((a & b) | ((a | b) & ~result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.OrImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a | b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.AddCarryImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a + b + (f->Carries >> 31);
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((a & b) | ((a | b) & ~result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.SubtractBorrowImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a - b - (f->Carries >> 31);
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.AndImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a & b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.SubtractImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a - b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.XorImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a ^ b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.CompareImmediate32:
                        a = r[op->R0];
                        b = op->Immediate;
                        result = a - b;
                        f->Result = result;
                        f->Carries = ((~a & b) | ((~a | b) & result)) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.Add8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a + b;
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (a & b) | ((a | b) & ~result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.Or8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a | b;
                        ((byte*)r)[op->R0] = (byte)result;
                        f->Result = (uint)(sbyte)result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.AddCarry8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a + b + (f->Carries >> 31);
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (a & b) | ((a | b) & ~result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.SubtractBorrow8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a - b - (f->Carries >> 31);
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (~a & b) | ((~a | b) & result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.And8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a & b;
                        ((byte*)r)[op->R0] = (byte)result;
                        f->Result = (uint)(sbyte)result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.Subtract8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a - b;
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (~a & b) | ((~a | b) & result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.Xor8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a ^ b;
                        ((byte*)r)[op->R0] = (byte)result;
                        f->Result = (uint)(sbyte)result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.Compare8:
                        a = ((byte*)r)[op->R0];
                        b = ((byte*)r)[op->R1];
                        result = a - b;
                        a = (~a & b) | ((~a | b) & result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.AddImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a + b;
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (a & b) | ((a | b) & ~result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.OrImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a | b;
                        ((byte*)r)[op->R0] = (byte)result;
                        f->Result = (uint)(sbyte)result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.AddCarryImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a + b + (f->Carries >> 31);
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (a & b) | ((a | b) & ~result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.SubtractBorrowImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a - b - (f->Carries >> 31);
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (~a & b) | ((~a | b) & result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.AndImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a & b;
                        ((byte*)r)[op->R0] = (byte)result;
                        f->Result = (uint)(sbyte)result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.SubtractImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a - b;
                        ((byte*)r)[op->R0] = (byte)result;
                        a = (~a & b) | ((~a | b) & result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.XorImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a ^ b;
                        ((byte*)r)[op->R0] = (byte)result;
                        f->Result = (uint)(sbyte)result;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.CompareImmediate8:
                        a = ((byte*)r)[op->R0];
                        b = (byte)op->Immediate;
                        result = a - b;
                        a = (~a & b) | ((~a | b) & result);
                        f->Result = (uint)(sbyte)result;
                        f->Carries = (a & AdjustBit) | ((a << 24) & (CarryBit | CarryXorOverflow));
                        op++;
                        continue;
                    case OpCode.Test32:
                        f->Result = r[op->R0] & r[op->R1];
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.TestImmediate32:
                        f->Result = r[op->R0] & op->Immediate;
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.Test8:
                        f->Result = (uint)(sbyte)(((byte*)r)[op->R0] & ((byte*)r)[op->R1]);
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.TestImmediate8:
                        f->Result = (uint)(sbyte)(((byte*)r)[op->R0] & op->Immediate);
                        f->Carries = 0;
                        op++;
                        continue;
                    case OpCode.Increment32:
                        result = r[op->R0] + 1;
                        r[op->R0] = result;
                        f->Result = result;
                        a = f->Carries & CarryBit;
                        f->Carries = a | ((a >> 1) ^ (result == 0x8000_0000 ? CarryXorOverflow : 0)) | ((result & 0xF) == 0 ? AdjustBit : 0);
                        op++;
                        continue;
                    case OpCode.Decrement32:
                        result = r[op->R0] - 1;
                        r[op->R0] = result;
                        f->Result = result;
                        a = f->Carries & CarryBit;
                        f->Carries = a | ((a >> 1) ^ (result == 0x7FFF_FFFF ? CarryXorOverflow : 0)) | ((result & 0xF) == 0xF ? AdjustBit : 0);
                        op++;
                        continue;
                    case OpCode.Negate32:
                        b = r[op->R0];
                        result = 0 - b;
                        r[op->R0] = result;
                        f->Result = result;
                        f->Carries = (b | result) & KeptCarries;
                        op++;
                        continue;
                    case OpCode.Not32:
                        r[op->R0] = ~r[op->R0];
                        op++;
                        continue;
                    case OpCode.ShiftLeft32:
                        r[op->R0] = f->ShiftLeft(r[op->R0], (int)op->Immediate);
                        op++;
                        continue;
                    case OpCode.ShiftRight32:
                        r[op->R0] = f->ShiftRight(r[op->R0], (int)op->Immediate);
                        op++;
                        continue;
                    case OpCode.ShiftArithmeticRight32:
                        r[op->R0] = f->ShiftArithmeticRight(r[op->R0], (int)op->Immediate);
                        op++;
                        continue;
                    case OpCode.ShiftLeftByCl32:
                        a = r[(int)Register32.Ecx] & 31;
                        if (a != 0)
                        {
                            r[op->R0] = f->ShiftLeft(r[op->R0], (int)a);
                        }
                        op++;
                        continue;
                    case OpCode.ShiftRightByCl32:
                        a = r[(int)Register32.Ecx] & 31;
                        if (a != 0)
                        {
                            r[op->R0] = f->ShiftRight(r[op->R0], (int)a);
                        }
                        op++;
                        continue;
                    case OpCode.ShiftArithmeticRightByCl32:
                        a = r[(int)Register32.Ecx] & 31;
                        if (a != 0)
                        {
                            r[op->R0] = f->ShiftArithmeticRight(r[op->R0], (int)a);
                        }
                        op++;
                        continue;
                    case OpCode.RotateLeft32:
                        result = BitOperations.RotateLeft(r[op->R0], (int)op->Immediate);
                        r[op->R0] = result;
                        f->SetRotate((result & 1) != 0, ((result ^ (result << 31)) & 0x8000_0000) != 0);
                        op++;
                        continue;
                    case OpCode.RotateRight32:
                        result = BitOperations.RotateRight(r[op->R0], (int)op->Immediate);
                        r[op->R0] = result;
                        f->SetRotate((result & 0x8000_0000) != 0, ((result ^ (result << 1)) & 0x8000_0000) != 0);
                        op++;
                        continue;
                    case OpCode.DoubleShiftRight32:
                        a = r[op->R0];
                        result = (a >> (int)op->Immediate) | (r[op->R1] << (32 - (int)op->Immediate));
                        r[op->R0] = result;
                        f->SetResult(result, 4, ((a >> ((int)op->Immediate - 1)) & 1) != 0, ((result ^ (result << 1)) & 0x8000_0000) != 0, false);
                        op++;
                        continue;
                    case OpCode.DoubleShiftLeft32:
                        a = r[op->R0];
                        result = (a << (int)op->Immediate) | (r[op->R1] >> (32 - (int)op->Immediate));
                        r[op->R0] = result;
                        b = (a >> (32 - (int)op->Immediate)) & 1;
                        f->SetResult(result, 4, b != 0, (b ^ (result >> 31)) != 0, false);
                        op++;
                        continue;
                    case OpCode.Multiply32:
                        r[op->R0] = f->MultiplySigned(r[op->R0], r[op->R1]);
                        op++;
                        continue;
                    case OpCode.MultiplyImmediate32:
                        r[op->R0] = f->MultiplySigned(r[op->R1], op->Immediate);
                        op++;
                        continue;
                    case OpCode.MultiplyWide32:
                    {
                        ulong product = (ulong)r[(int)Register32.Eax] * r[op->R1];
                        r[(int)Register32.Eax] = (uint)product;
                        r[(int)Register32.Edx] = (uint)(product >> 32);
                        bool wide = product >> 32 != 0;
                        f->SetResult((uint)product, 4, wide, wide, false);
                        op++;
                        continue;
                    }
                    case OpCode.MultiplyWideSigned32:
                    {
                        long product = (long)(int)r[(int)Register32.Eax] * (int)r[op->R1];
                        r[(int)Register32.Eax] = (uint)product;
                        r[(int)Register32.Edx] = (uint)(product >> 32);
                        bool wide = product != (int)product;
                        f->SetResult((uint)product, 4, wide, wide, false);
                        op++;
                        continue;
                    }
                    case OpCode.BitTest32:
                        f->Carry = ((r[op->R0] >> (int)(r[op->R1] & 31)) & 1) != 0;
                        op++;
                        continue;
                    case OpCode.BitTestImmediate32:
                        f->Carry = ((r[op->R0] >> (int)op->Immediate) & 1) != 0;
                        op++;
                        continue;

                    // Branches.
                    case OpCode.Jump:
                        goto Taken;
                    case OpCode.Call:
                        address = r[(int)Register32.Esp] - 4;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        *(uint*)(entry->Addend + (nint)address) = op->Displacement;
                        r[(int)Register32.Esp] = address;
                        goto Taken;
                    case OpCode.JumpIndirect:
                        eip = r[op->R1];
                        goto Lookup;
                    case OpCode.CallIndirect:
                        address = r[(int)Register32.Esp] - 4;
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->WriteTag != ((address + 3) & PageMask))
                        {
                            goto WriteMiss;
                        }
                        eip = r[op->R1];
                        *(uint*)(entry->Addend + (nint)address) = op->Displacement;
                        r[(int)Register32.Esp] = address;
                        goto Lookup;
                    case OpCode.Return:
                        address = r[(int)Register32.Esp];
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 3) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        eip = *(uint*)(entry->Addend + (nint)address);
                        r[(int)Register32.Esp] = address + 4;
                        goto Lookup;
                    case OpCode.ReturnRelease:
                        address = r[(int)Register32.Esp];
                        entry = tlb + ((address >> 12) % SoftTlb.Entries);
                        if (entry->ReadTag != ((address + 3) & PageMask))
                        {
                            goto ReadMiss;
                        }
                        eip = *(uint*)(entry->Addend + (nint)address);
                        r[(int)Register32.Esp] = address + 4 + op->Immediate;
                        goto Lookup;
                    case OpCode.JumpOverflow:
                        if ((int)(f->Carries ^ (f->Carries << 1)) < 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpNotOverflow:
                        if ((int)(f->Carries ^ (f->Carries << 1)) >= 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpBelow:
                        if ((int)f->Carries < 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpAboveOrEqual:
                        if ((int)f->Carries >= 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpEqual:
                        if (f->Result == 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpNotEqual:
                        if (f->Result != 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpBelowOrEqual:
                        if (f->Result == 0 || (int)f->Carries < 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpAbove:
                        if (f->Result != 0 && (int)f->Carries >= 0)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpSign:
                        if (f->Sign)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpNotSign:
                        if (!f->Sign)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpParity:
                        if (f->Parity)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpNotParity:
                        if (!f->Parity)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpLess:
                        if (f->Less)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpGreaterOrEqual:
                        if (!f->Less)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpLessOrEqual:
                        if (f->Result == 0 || f->Less)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.JumpGreater:
                        if (f->Result != 0 && !f->Less)
                        {
                            goto Taken;
                        }
                        goto NotTaken;
                    case OpCode.FallThrough:
                        goto NotTaken;
                    case OpCode.Reference:
                        goto Reference;
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
                if (*link == null || (*link)->Mode != mode)
                {
                    goto Lookup;
                }
                if (((eip ^ block->Eip) & PageMask) != 0)
                {
                    ExecuteEntry* page = instructionTlb + ((eip >> 12) % SoftTlb.ExecuteEntries);
                    if (page->Tag != (eip & PageMask) || page->Frame != (*link)->Frame)
                    {
                        goto Lookup;
                    }
                }
                block = *link;
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
                    if (!TryFillData(currentTlb, address, write, out _))
                    {
                        LeaveAt(block, op);
                        return true;
                    }
                    if ((write ? entry->WriteTag : entry->ReadTag) == (address & PageMask))
                    {
                        continue;
                    }
                }

            Reference:
                if (!RunReference(block, op))
                {
                    return false;
                }
                {
                    byte instruction = op->Instruction;
                    do
                    {
                        op++;
                    }
                    while (op->Instruction == instruction);
                }
            }
        }
    }

    /// <summary>Executes an operation's whole instruction by its reference handler.</summary>
    /// <returns>True when the block can go on behind it; otherwise EIP says where to go on and the counts are right.</returns>
    private bool RunReference(Block* block, Op* op)
    {
        // SAFETY: the block holds OpCount operations and then its instructions; op is one of them.
        unsafe
        {
            var decoded = (DecodedInstruction*)((Op*)(block + 1) + block->OpCount) + op->Instruction;
            uint next = decoded->Instruction.NextIP32;
            uncounted = block->Count - op->Instruction;
            state->Eip = next - (uint)decoded->Instruction.Length;
            NextEip = next;
            handlers[decoded->Handler](this, in decoded->Instruction);
            state->Eip = NextEip;
            if (leaveBlocks || NextEip != next || op->Code == OpCode.ReferenceLast)
            {
                instructionCount -= uncounted - 1;
                uncounted = 0;
                return false;
            }
            uncounted = 0;
            return true;
        }
    }

    /// <summary>Leaves a block before the instruction of an operation: EIP and counts become those of that instruction.</summary>
    private void LeaveAt(Block* block, Op* op)
    {
        // SAFETY: as in RunReference.
        unsafe
        {
            var decoded = (DecodedInstruction*)((Op*)(block + 1) + block->OpCount) + op->Instruction;
            state->Eip = decoded->Instruction.NextIP32 - (uint)decoded->Instruction.Length;
            instructionCount -= block->Count - op->Instruction;
        }
    }
}
