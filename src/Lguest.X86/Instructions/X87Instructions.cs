// The x87 unit: eight 80-bit registers used as a stack, a control word in and a status word out. This file is what its instructions
// have in common: the checks before, the books after, and operands in memory. The arithmetic itself is in FloatingPoint/.
//
// An exception of the x87 unit is reported late: the instruction that causes it only sets ES, and the next waiting instruction
// raises #MF before doing anything else. There is no wire to an interrupt controller: CR0.NE is taken as one.
//
// The instruction and data pointers are those of the last instruction that was not a control one, with their selectors, as in a
// Pentium III. The opcode is kept as processors since the Pentium 4 do: only that of an instruction with an unmasked exception
// (Intel SDM volume 1, 8.1.9).

using System.Runtime.CompilerServices;
using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    public static void Register(InstructionTable table)
    {
        RegisterControl(table);
        RegisterEnvironment(table);
        RegisterTransfer(table);
        RegisterArithmetic(table);
        RegisterCompare(table);
        RegisterTranscendental(table);
    }

    /// <summary>What every waiting instruction does first: #NM when the unit is not available, #MF when an exception is pending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ref CpuState Begin(Processor cpu)
    {
        ref CpuState state = ref cpu.State;
        if (((state.Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) | ((uint)state.Fpu.StatusWord & X87Status.ErrorSummary)) != 0)
        {
            CheckAvailable(cpu);
            CheckPending(cpu);
        }
        return ref state;
    }

    private static void CheckAvailable(Processor cpu)
    {
        if ((cpu.State.Cr0 & (Cr0.Emulation | Cr0.TaskSwitched)) != 0)
        {
            throw cpu.Fault(Vector.DeviceNotAvailable);
        }
    }

    /// <summary>#MF, or what the board makes of it, when an exception is pending.</summary>
    public static void CheckPending(Processor cpu)
    {
        ref CpuState state = ref cpu.State;
        if ((state.Fpu.StatusWord & X87Status.ErrorSummary) != 0 && !(cpu.IgnoresNumericErrors && (state.Cr0 & Cr0.NumericError) == 0))
        {
            throw cpu.Fault(Vector.X87FloatingPoint);
        }
    }

    /// <summary>Comes before whatever may make an exception pending: none that is new is ignored.</summary>
    private static void NoticeNewErrors(Processor cpu) =>
        cpu.IgnoresNumericErrors &= (cpu.State.Fpu.StatusWord & X87Status.ErrorSummary) != 0;

    /// <summary>Raises a stack underflow.</summary>
    private static void Underflow(ref X87Context context) => context.Raised |= X87Status.Invalid | X87Status.StackFault;

    /// <summary>Books the exceptions of a finished computation in the status word, and the instruction as the last one.</summary>
    /// <param name="cpu">Processor.</param>
    /// <param name="state">Its state.</param>
    /// <param name="context">What was raised; C1 is cleared unless raised.</param>
    /// <param name="cleared">Condition codes to clear besides.</param>
    /// <returns>False when an unmasked exception, found before the computation, forbids to store the result and to pop.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Commit(Processor cpu, ref CpuState state, in X87Context context, int cleared = X87Status.C1)
    {
        if (context.Unmasked != 0)
        {
            return CommitUnmasked(cpu, ref state, context, cleared);
        }
        state.Fpu.StatusWord = (ushort)((state.Fpu.StatusWord & ~cleared) | context.Raised);
        NoteInstruction(ref state);
        return true;
    }

    private static bool CommitUnmasked(Processor cpu, ref CpuState state, in X87Context context, int cleared)
    {
        NoticeNewErrors(cpu);
        ushort opcode = ReadOpcode(cpu);
        int raised = context.Raised;
        bool forbidden = (context.Unmasked & X87Status.BeforeComputation) != 0;
        if (forbidden)
        {
            // What follows from a result that is never computed is not reported either.
            raised &= ~(X87Status.Overflow | X87Status.Underflow | X87Status.Precision | ((raised & X87Status.StackFault) != 0 ? 0 : X87Status.C1));
        }
        state.Fpu.StatusWord = (ushort)((state.Fpu.StatusWord & ~cleared) | raised | X87Status.ErrorSummary | X87Status.Busy);
        state.Fpu.LastOpcode = opcode;
        NoteInstruction(ref state);
        return !forbidden;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void NoteInstruction(ref CpuState state)
    {
        state.Fpu.LastInstructionPointer = state.Eip;
        state.Fpu.LastInstructionSelector = state.Segments[(int)SegmentName.CS].Selector;
    }

    /// <summary>The low three bits of the first opcode byte and the second one, read again: they came from there a moment ago.</summary>
    private static ushort ReadOpcode(Processor cpu)
    {
        uint linear = cpu.State.Segments[(int)SegmentName.CS].Base + cpu.State.Eip;
        byte first = cpu.ReadLinear<byte>(linear);
        while ((first & 0xF8) != 0xD8)
        {
            first = cpu.ReadLinear<byte>(++linear);
        }
        return (ushort)(((first & 7) << 8) | cpu.ReadLinear<byte>(linear + 1));
    }

    /// <summary>Reads the memory operand and notes its address as that of the last operand.</summary>
    private static T LoadOperand<T>(Processor cpu, in Instruction instruction)
        where T : unmanaged
    {
        SegmentName segment = Processor.MemorySegment(instruction);
        uint offset = cpu.MemoryOffset(instruction);
        T value = cpu.ReadLinear<T>(cpu.Linear(segment, offset, (uint)Unsafe.SizeOf<T>(), false));
        NoteOperand(ref cpu.State, segment, offset);
        return value;
    }

    /// <summary>Writes the memory operand and notes its address as that of the last operand.</summary>
    private static void StoreOperand<T>(Processor cpu, in Instruction instruction, T value)
        where T : unmanaged
    {
        SegmentName segment = Processor.MemorySegment(instruction);
        uint offset = cpu.MemoryOffset(instruction);
        cpu.WriteLinear(cpu.Linear(segment, offset, (uint)Unsafe.SizeOf<T>(), true), value);
        NoteOperand(ref cpu.State, segment, offset);
    }

    /// <summary>Reads a memory operand of ten bytes: eight, and the two behind them.</summary>
    private static (ulong Low, ushort High) LoadTenBytes(Processor cpu, in Instruction instruction)
    {
        SegmentName segment = Processor.MemorySegment(instruction);
        uint offset = cpu.MemoryOffset(instruction);
        uint linear = TenBytesLinear(cpu, segment, offset, false);
        ulong low = cpu.ReadLinear<ulong>(linear);
        ushort high = cpu.ReadLinear<ushort>(linear + 8);
        NoteOperand(ref cpu.State, segment, offset);
        return (low, high);
    }

    private static void StoreTenBytes(Processor cpu, in Instruction instruction, ulong low, ushort high)
    {
        SegmentName segment = Processor.MemorySegment(instruction);
        uint offset = cpu.MemoryOffset(instruction);
        uint linear = TenBytesLinear(cpu, segment, offset, true);
        if ((linear & 0xFFF) > 0x1000 - RegisterBytes)
        {
            cpu.ProbeWrite(linear, RegisterBytes);
        }
        cpu.WriteLinear(linear, low);
        cpu.WriteLinear(linear + 8, high);
        NoteOperand(ref cpu.State, segment, offset);
    }

    /// <summary>Address of ten bytes, which alignment checks want on a multiple of eight.</summary>
    private static uint TenBytesLinear(Processor cpu, SegmentName segment, uint offset, bool write)
    {
        uint linear = cpu.Linear(segment, offset, RegisterBytes, write);
        _ = cpu.Linear(segment, offset, 8, write);
        return linear;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void NoteOperand(ref CpuState state, SegmentName segment, uint offset)
    {
        state.Fpu.LastDataPointer = offset;
        state.Fpu.LastDataSelector = state.Segments[(int)segment].Selector;
    }

    private static int StackIndex(Register register) => register - Iced.Intel.Register.ST0;
}
