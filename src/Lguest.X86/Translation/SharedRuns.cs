// Asking the soft-TLB takes eight instructions of the host, and most blocks ask about the same page again and again: four pushes in a
// row, the fields of one structure, the variables of one stack frame. They need not be the same addresses, only a known distance apart.
// So before a block is written, this file follows the registers through it as sums - what a register held at the start, plus a number -
// and puts the accesses of one such origin together into runs of bytes. The first access of a run asks for the whole run, and where it
// is in the host's memory is kept for the others, which ask nothing.
//
// What a run promises holds inside one superblock only, and only as long as no reference handler stands between: a handler may do anything.

using Iced.Intel;
using Lguest.X86.Execution;
using Lguest.X86.State;

namespace Lguest.X86.Translation;

/// <summary>Bytes around one origin that a block accesses more than once.</summary>
internal struct SharedRun
{
    /// <summary>Where addresses are counted from.</summary>
    public int Origin;

    /// <summary>First byte, and the byte behind the last, from the origin.</summary>
    public int Low, High;

    /// <summary>It is written, too.</summary>
    public bool Writes;

    /// <summary>Accesses planned.</summary>
    public int Uses;

    /// <summary>Other things are done between two accesses, so that its host address had better be kept in its word of the context.</summary>
    public bool WantsWord;

    /// <summary>The code written so far has found it.</summary>
    public bool IsFound;

    /// <summary>And its host address is in the word.</summary>
    public bool IsKept;
}

/// <summary>Finds the runs of a block, in one object for all blocks.</summary>
internal sealed class SharedRuns
{
    /// <summary>Runs of a block; as many host addresses has the context room for.</summary>
    public const int Limit = 8;

    /// <summary>The longest run: one that lies across a page border is of no use, and long ones do so more often.</summary>
    private const int LongestRun = 256;

    private const int Registers = 8;
    private const int MostSums = 32;
    private const int NoBase = -1;
    private const int None = -1;

    private readonly InstructionInfoFactory registerUse = new();
    private readonly SharedRun[] runs = new SharedRun[Limit];
    private readonly Place[] registersAt = new Place[Superblock.MaximumInstructions * Registers];
    private readonly Place[] registers = new Place[Registers];
    private readonly Sum[] sums = new Sum[MostSums];
    private int runCount;
    private int sumCount;
    private int nextOrigin;
    private int lastRun;

    /// <summary>A linear address: a distance from an origin.</summary>
    private record struct Place(int Origin, int Distance);

    /// <summary>An origin that is the sum of two, the second scaled.</summary>
    private readonly record struct Sum(int Base, int Index, int Scale, int Origin);

    /// <summary>A run by its number.</summary>
    public ref SharedRun this[int number] => ref runs[number];

    /// <summary>Begins with a block in which nothing is shared.</summary>
    public void Clear()
    {
        runCount = 0;
        sumCount = 0;
        nextOrigin = 0;
        lastRun = None;
    }

    /// <summary>Finds the runs of a block.</summary>
    public void Plan(ReadOnlySpan<DecodedInstruction> instructions, ReadOnlySpan<InlineEffects> effects)
    {
        Clear();
        ForgetRegisters();
        for (int i = 0; i < effects.Length; i++)
        {
            ref readonly Instruction instruction = ref instructions[i].Instruction;
            for (int register = 0; register < Registers; register++)
            {
                registersAt[(i * Registers) + register] = registers[register];
            }
            if (effects[i].Form == InlineForm.Called)
            {
                ForgetRegisters();
                lastRun = None;
                continue;
            }
            NoteAccesses(i, in instruction, effects[i].Form);
            Follow(in instruction, effects[i].Form);
            lastRun = LeavesScratchAlone(effects[i].Form) ? lastRun : None;
        }
    }

    /// <summary>Looks for the run of an instruction's explicit memory operand.</summary>
    /// <param name="number">Number of the instruction.</param>
    /// <param name="i">The instruction.</param>
    /// <param name="size">Bytes.</param>
    /// <param name="write">Whether they are written.</param>
    /// <param name="offset">Where in the run the operand is.</param>
    /// <returns>Number of the run, or -1.</returns>
    public int Find(int number, in Instruction i, int size, bool write, out int offset)
    {
        offset = 0;
        return runCount > 0 && TryPlace(number, in i, out Place place) ? Find(place, size, write, out offset) : -1;
    }

    /// <summary>Looks for the run of four bytes at a register and a displacement.</summary>
    public int Find(int number, Register32 register, int displacement, bool write, out int offset)
    {
        offset = 0;
        if (runCount == 0)
        {
            return -1;
        }
        Place place = registersAt[(number * Registers) + (int)register];
        return Find(place with { Distance = place.Distance + displacement }, 4, write, out offset);
    }

    private int Find(Place place, int size, bool write, out int offset)
    {
        for (int run = 0; run < runCount; run++)
        {
            ref SharedRun candidate = ref runs[run];
            if (candidate.Origin == place.Origin && candidate.Uses > 1 && (candidate.Writes || !write)
                && place.Distance >= candidate.Low && (long)place.Distance + size <= candidate.High)
            {
                offset = place.Distance - candidate.Low;
                return run;
            }
        }
        offset = 0;
        return -1;
    }

    private void ForgetRegisters()
    {
        for (int register = 0; register < Registers; register++)
        {
            Forget(register);
        }
    }

    private void Forget(int register) => registers[register] = new Place(nextOrigin++, 0);

    private void NoteAccesses(int number, in Instruction i, InlineForm form)
    {
        switch (form)
        {
            case InlineForm.LoadAddress or InlineForm.Nothing or InlineForm.X87 or InlineForm.X87Control or InlineForm.Simd or InlineForm.BitTest
                or InlineForm.String or InlineForm.RepeatedString or InlineForm.LoadSegment or InlineForm.PushSegment:
                return;
            case InlineForm.Leave:
                Note(registers[(int)Register32.Ebp], 4, false);
                return;
            case InlineForm.Pop or InlineForm.PopFlags or InlineForm.Return:
                Note(registers[(int)Register32.Esp], 4, false);
                return;
        }
        if (InlineForms.HasMemory(i) && TryPlace(number, in i, out Place place))
        {
            bool writes = i.Op0Kind == OpKind.Memory && i.Mnemonic is not (Mnemonic.Cmp or Mnemonic.Test or Mnemonic.Push or Mnemonic.Jmp or Mnemonic.Call
                or Mnemonic.Mul or Mnemonic.Imul or Mnemonic.Div or Mnemonic.Idiv);
            Note(place, i.MemorySize.GetSize(), writes || form == InlineForm.Exchange);
        }
        else if (InlineForms.HasMemory(i))
        {
            lastRun = None;
        }
        if (form is InlineForm.Push or InlineForm.PushFlags or InlineForm.Call or InlineForm.CallIndirect)
        {
            Place stack = registers[(int)Register32.Esp];
            Note(stack with { Distance = stack.Distance - 4 }, 4, true);
        }
    }

    private void Note(Place place, int size, bool writes)
    {
        int run = RunWith(place, size, writes);
        if (run >= 0 && run != lastRun)
        {
            runs[run].WantsWord |= runs[run].Uses > 1;
        }
        lastRun = run;
    }

    /// <summary>Adds an access to a run, maybe a new one; -1 if no run can take it.</summary>
    private int RunWith(Place place, int size, bool writes)
    {
        // Distances are the Guest's numbers: a sum that wraps would make neighbours of bytes that are far apart.
        long end = (long)place.Distance + size;
        if (end > int.MaxValue)
        {
            return None;
        }
        for (int run = 0; run < runCount; run++)
        {
            ref SharedRun candidate = ref runs[run];
            int low = Math.Min(candidate.Low, place.Distance);
            int high = Math.Max(candidate.High, (int)end);
            if (candidate.Origin == place.Origin && (long)high - low <= LongestRun)
            {
                candidate.Low = low;
                candidate.High = high;
                candidate.Writes |= writes;
                candidate.Uses++;
                return run;
            }
        }
        if (runCount == Limit)
        {
            return None;
        }
        runs[runCount] = new SharedRun { Origin = place.Origin, Low = place.Distance, High = (int)end, Writes = writes, Uses = 1 };
        return runCount++;
    }

    /// <summary>Whether an instruction is written without the registers in which an access leaves what it has found. A wrong guess costs a probe.</summary>
    private static bool LeavesScratchAlone(InlineForm form) => form is InlineForm.Nothing or InlineForm.Move or InlineForm.MoveExtended
        or InlineForm.LoadAddress or InlineForm.Arithmetic or InlineForm.Test or InlineForm.Increment or InlineForm.Negate or InlineForm.Complement
        or InlineForm.Shift or InlineForm.Multiply or InlineForm.SetCondition or InlineForm.ConditionalMove or InlineForm.Push or InlineForm.Pop
        or InlineForm.Leave or InlineForm.Jump or InlineForm.JumpIf;

    private bool TryPlace(int number, in Instruction i, out Place place)
    {
        place = default;
        if (i.MemorySegment is Register.FS or Register.GS)
        {
            return false;
        }
        var displacement = (int)i.MemoryDisplacement32;
        Place start = i.MemoryBase == Register.None ? new Place(NoBase, 0) : RegisterAt(number, i.MemoryBase);
        if (i.MemoryIndex == Register.None)
        {
            place = start with { Distance = start.Distance + displacement };
            return i.MemoryBase != Register.None;
        }
        Place index = RegisterAt(number, i.MemoryIndex);
        int origin = OriginOfSum(start.Origin, index.Origin, i.MemoryIndexScale);
        place = new Place(origin, start.Distance + (index.Distance * i.MemoryIndexScale) + displacement);
        return origin >= 0;
    }

    private Place RegisterAt(int number, Register register) => registersAt[(number * Registers) + register.GetNumber()];

    private int OriginOfSum(int start, int index, int scale)
    {
        for (int sum = 0; sum < sumCount; sum++)
        {
            if (sums[sum].Base == start && sums[sum].Index == index && sums[sum].Scale == scale)
            {
                return sums[sum].Origin;
            }
        }
        if (sumCount == MostSums)
        {
            return -1;
        }
        sums[sumCount++] = new Sum(start, index, scale, nextOrigin);
        return nextOrigin++;
    }

    /// <summary>What an instruction does to the registers.</summary>
    private void Follow(in Instruction i, InlineForm form)
    {
        const int esp = (int)Register32.Esp;
        switch (form)
        {
            case InlineForm.Push or InlineForm.PushFlags or InlineForm.PushSegment or InlineForm.Call or InlineForm.CallIndirect:
                registers[esp].Distance -= 4;
                return;
            case InlineForm.PopFlags:
                registers[esp].Distance += 4;
                return;
            case InlineForm.Pop:
                registers[esp].Distance += 4;
                Forget(i.Op0Register.GetNumber());
                return;
            case InlineForm.Move when i.Op0Kind == OpKind.Register && i.Op0Register.IsGPR32() && i.Op1Kind == OpKind.Register:
                registers[i.Op0Register.GetNumber()] = registers[i.Op1Register.GetNumber()];
                return;
            case InlineForm.LoadAddress when i.MemoryBase != Register.None && i.MemoryIndex == Register.None:
                Place place = registers[i.MemoryBase.GetNumber()];
                registers[i.Op0Register.GetNumber()] = place with { Distance = place.Distance + (int)i.MemoryDisplacement32 };
                return;
            case InlineForm.Arithmetic when i.Op0Kind == OpKind.Register && i.Op0Register.IsGPR32()
                && i.Mnemonic is Mnemonic.Add or Mnemonic.Sub && i.Op1Kind is not (OpKind.Register or OpKind.Memory):
                int immediate = (int)i.GetImmediate(1);
                registers[i.Op0Register.GetNumber()].Distance += i.Mnemonic == Mnemonic.Add ? immediate : -immediate;
                return;
            case InlineForm.Increment when i.Op0Kind == OpKind.Register && i.Op0Register.IsGPR32():
                registers[i.Op0Register.GetNumber()].Distance += i.Mnemonic == Mnemonic.Inc ? 1 : -1;
                return;
        }
        foreach (UsedRegister used in registerUse.GetInfo(i, InstructionInfoOptions.NoMemoryUsage).GetUsedRegisters())
        {
            if (used.Register.IsGPR() && used.Access is not (OpAccess.None or OpAccess.Read or OpAccess.CondRead or OpAccess.NoMemAccess))
            {
                Forget(used.Register.GetFullRegister32().GetNumber());
            }
        }
    }
}
