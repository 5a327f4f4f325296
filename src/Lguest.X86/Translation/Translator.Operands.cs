// Where the operands of an instruction are in the host: a register, an immediate, or memory behind the soft-TLB.

using Iced.Intel;
using Lguest.X86.Memory;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

internal sealed unsafe partial class Translator
{
    /// <summary>The host register that holds a general register, or of which it is a part.</summary>
    private HostRegister Map(Register register)
    {
        if (legacyNames)
        {
            return (HostRegister)(register is >= Register.AH and <= Register.BH ? register - Register.AH + 4 : register.GetNumber());
        }
        return GuestRegisters[register is >= Register.AH and <= Register.BH ? register - Register.AH : register.GetNumber()];
    }

    private HostRegister MapOrNone(Register register) => register == Register.None ? HostRegister.None : Map(register);

    /// <summary>A register is about to change; see <see cref="FlagTracker.BeforeWrite"/>.</summary>
    private void BeforeWrite(HostRegister register) =>
        flags.BeforeWrite(register, Effects.WritesAllFlags || !neededAfter[current]);

    /// <summary>Effective address without the segment's base, as an operand of the host.</summary>
    private HostOperand EffectiveAddress(in Instruction i)
    {
        int scale = i.MemoryIndexScale switch { 1 => 0, 2 => 1, 4 => 2, _ => 3 };
        int displacement = (int)i.MemoryDisplacement32 + (i.MemoryBase == Register.ESP ? stackBehind : 0);
        return HostOperand.At(MapOrNone(i.MemoryBase), MapOrNone(i.MemoryIndex), scale, displacement);
    }

    /// <summary>The linear address of the memory operand into R10; spoils the host's flags.</summary>
    private void WriteLinearAddress(in Instruction i)
    {
        if (i.MemoryBase == Register.None && i.MemoryIndex == Register.None)
        {
            hot.MoveImmediate(LinearAddress, i.MemoryDisplacement32);
        }
        else
        {
            hot.LoadAddress(LinearAddress, EffectiveAddress(i));
        }
        if (i.MemorySegment is Register.FS or Register.GS)
        {
            int index = i.MemorySegment == Register.FS ? GeneralRegisters.FsBaseIndex : GeneralRegisters.GsBaseIndex;
            hot.Arithmetic(Alu.Add, 4, LinearAddress, HostOperand.At(Context, ContextLayout.General(index)));
        }
    }

    /// <summary>Finds the memory operand; afterwards it is what the returned operand says, and the host's flags may be spoiled.</summary>
    /// <param name="i">The instruction.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="write">It will be written, too.</param>
    private HostOperand Find(in Instruction i, int size, bool write)
    {
        HostOperand address = EffectiveAddress(i);
        if (runs.Find(current, in i, size, write, out int offset) is >= 0 and int run && MayShare(run))
        {
            return FindShared(run, offset, address, write);
        }
        return IsOnStack(address) && i.MemorySegment is not (Register.FS or Register.GS) ? FindOnStack(address, size, write) : FindAlone(i, size, write);
    }

    /// <summary>The same, without help from other accesses: the linear address is in R10.</summary>
    private HostOperand FindAlone(in Instruction i, int size, bool write)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            WriteLinearAddress(i);
            return FindLinear(retry, size, write);
        }
    }

    /// <summary>Finds the memory at a register; the linear address is in R10.</summary>
    private HostOperand FindAt(HostRegister register, int size, bool write)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            hot.Move(LinearAddress, register);
            return FindLinear(retry, size, write);
        }
    }

    /// <summary>Finds four bytes at ESP or EBP plus a displacement in the stack segment.</summary>
    private HostOperand FindStack(HostRegister register, int displacement, bool write)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            const int size = 4;
            HostOperand address = register == GuestEsp ? OnStack(displacement) : HostOperand.At(register, displacement);
            Register32 name = register == GuestEsp ? Register32.Esp : Register32.Ebp;
            if (runs.Find(current, name, displacement, write, out int offset) is >= 0 and int run && MayShare(run))
            {
                return FindShared(run, offset, address, write);
            }
            if (IsOnStack(address))
            {
                return FindOnStack(address, size, write);
            }
            flags.BeforeClobber();
            byte* retry = hot.Cursor;
            hot.LoadAddress(LinearAddress, address);
            return FindLinear(retry, size, write);
        }
    }

    /// <summary>The soft-TLB's question for the address in R10: does the entry's tag name the page of the operand's last byte?</summary>
    private HostOperand FindLinear(byte* retry, int size, bool write)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            int record = WriteProbe(retry, size, write, write ? CodeExit.WriteMiss : CodeExit.ReadMiss);
            records[record].Writes = write;
            return HostOperand.At(HostBase, LinearAddress);
        }
    }

    private HostOperand FindOnStack(in HostOperand address, int size, bool write)
    {
        int record = WriteStackProbe(address, size, write, write ? CodeExit.WriteMiss : CodeExit.ReadMiss);
        records[record].Writes = write;
        return HostOperand.At(HostBase, 0);
    }

    /// <summary>
    /// A run can be found here, or has been and it is known where: whoever comes back behind this instruction must have come past its probe.
    /// </summary>
    private bool MayShare(int run) => runs[run].IsFound ? runs[run].IsKept || heldRuns.TryGet(run, out _) : recordCount == firstRecord;

    /// <summary>Finds an operand in a run: the first time by a probe for all of it, then by what that found.</summary>
    private HostOperand FindShared(int number, int offset, in HostOperand address, bool write)
    {
        ref SharedRun run = ref runs[number];
        if (!run.IsFound)
        {
            ProbeRun(number, offset, address, write);
        }
        if (!heldRuns.TryGet(number, out HostOperand at))
        {
            HostRegister pointer = heldRuns.Next;
            hot.Load(pointer, WordOf(number), 8);
            at = HostOperand.At(pointer, 0);
            heldRuns.Hold(number, at);
        }
        return at with { Displacement = offset };
    }

    private static HostOperand WordOf(int run) => HostOperand.At(Context, ContextLayout.Runs + (run * sizeof(ulong)));

    private void ProbeRun(int number, int offset, in HostOperand address, bool write)
    {
        // SAFETY: the address is only kept.
        unsafe
        {
            ref SharedRun run = ref runs[number];
            HostOperand start = address with { Displacement = address.Displacement - offset };
            bool onStack = IsOnStack(address);
            int record;
            if (onStack)
            {
                record = WriteStackProbe(start, run.High - run.Low, run.Writes, CodeExit.RunMiss);
            }
            else
            {
                flags.BeforeClobber();
                byte* retry = hot.Cursor;
                hot.LoadAddress(LinearAddress, start);
                record = WriteProbe(retry, run.High - run.Low, run.Writes, CodeExit.RunMiss);
            }
            records[record].Offset = (ushort)offset;
            records[record].Writes = write;
            HostOperand at = onStack ? HostOperand.At(HostBase, 0) : HostOperand.At(HostBase, LinearAddress);
            if (run.WantsWord)
            {
                if (!onStack)
                {
                    hot.LoadAddress(HostBase, at, 8);
                    at = HostOperand.At(HostBase, 0);
                }
                hot.Store(WordOf(number), HostBase, 8);
                run.IsKept = true;
            }
            run.IsFound = true;
            heldRuns.Hold(number, at);
        }
    }

    /// <summary>Asks the soft-TLB for bytes from the address in R10 on; then R11 is what to add to it.</summary>
    /// <returns>Number of the record of a miss.</returns>
    private int WriteProbe(byte* retry, int size, bool write, CodeExit miss)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            hot.LoadAddress(Temporary, HostOperand.At(LinearAddress, size - 1));
            WriteQuestion(write);
            hot.JumpIf(HostCondition.NotEqual, cold.Cursor);
            hot.Load(HostBase, HostOperand.At(Tlb, HostBase, 0, TlbEntry.AddendOffset), 8);
            cold.Call(write ? findWritableVictim : findReadableVictim);
            cold.JumpIf(HostCondition.Equal, retry);
            return WriteMiss(retry, size, write, miss);
        }
    }

    /// <summary>
    /// For the address in R10, and that of the last byte in R15: R11 becomes the number of its entry in the soft-TLB, times sixteen, R15 the page
    /// that this should name, and "equal" says that it does.
    /// </summary>
    private void WriteQuestion(bool write)
    {
        const int pageMask = ~0xFFF;
        int entryMask = (SoftTlb.Entries - 1) << 4;
        hot.Move(HostBase, LinearAddress);
        hot.ShiftRight(HostBase, 8);
        hot.ArithmeticImmediate(Alu.And, 4, Temporary, pageMask);
        hot.ArithmeticImmediate(Alu.And, 4, HostBase, entryMask);
        hot.Arithmetic(Alu.Compare, 4, Temporary, HostOperand.At(Tlb, HostBase, 0, TagOffset(write)));
    }

    private static int TagOffset(bool write) => write ? TlbEntry.WriteTagOffset : 0;

    /// <summary>Writes, at the cold cursor, the way out of a probe that found nothing.</summary>
    private int WriteMiss(byte* retry, int size, bool write, CodeExit miss)
    {
        // SAFETY: the addresses are only kept and subtracted.
        unsafe
        {
            int record = NewRecord(miss);
            records[record].Size = (ushort)size;
            records[record].ProbeWrites = write;
            records[record].Retry = (nint)retry + arena.WriteToRun;
            if (miss == CodeExit.RunMiss)
            {
                WriteRunMiss(record);
            }
            else
            {
                WriteExit(cold, record, flags.Places);
            }
            return record;
        }
    }

    /// <summary>A register or memory operand of an instruction that reads it, ready to be named by a host instruction.</summary>
    private HostOperand Operand(in Instruction i, int index, int size, bool write) =>
        i.GetOpKind(index) == OpKind.Register ? Map(i.GetOpRegister(index)) : Find(i, size, write);

    /// <summary>The value of a high byte register into the low byte of the temporary register; spoils the host's flags.</summary>
    private void WriteHighByteToTemporary(Register register)
    {
        flags.BeforeClobber();
        hot.Move(Temporary, Map(register));
        hot.ShiftRight(Temporary, 8);
    }

    /// <summary>The register of an 8-, 16- or 32-bit register operand; a high byte is fetched into the temporary register.</summary>
    private HostRegister SourceRegister(Register register)
    {
        if (legacyNames || !InlineForms.IsHighByte(register))
        {
            return Map(register);
        }
        WriteHighByteToTemporary(register);
        return Temporary;
    }

    /// <summary>The same, safe from what <see cref="BeforeWrite"/> may emit, which uses the temporary register.</summary>
    private HostRegister KeptSource(Register register)
    {
        HostRegister source = SourceRegister(register);
        if (source != Temporary)
        {
            return source;
        }
        hot.Move(HostBase, Temporary);
        return HostBase;
    }
}
