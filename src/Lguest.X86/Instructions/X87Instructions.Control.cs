// x87 control: initialise, clear, control and status word, moving and freeing the stack, waiting.

using Iced.Intel;
using Lguest.X86.FloatingPoint;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static partial class X87Instructions
{
    private static void RegisterControl(InstructionTable table)
    {
        table.Add(Mnemonic.Fninit, Fninit);
        table.Add(Mnemonic.Fnclex, Fnclex);
        table.Add(Mnemonic.Fnstcw, Fnstcw);
        table.Add(Mnemonic.Fldcw, Fldcw);
        table.Add(Mnemonic.Fnstsw, Fnstsw);
        table.Add(Mnemonic.Fnop, Fnop);
        table.Add(Mnemonic.Wait, Wait);
        table.Add(Mnemonic.Fincstp, Fincstp);
        table.Add(Mnemonic.Fdecstp, Fdecstp);
        table.Add(Mnemonic.Ffree, Ffree);
        table.Add(Mnemonic.Ffreep, Ffreep);
        // Instructions of the 8087 and 80287 that later units ignore.
        table.Add(Mnemonic.Fneni, Ignore);
        table.Add(Mnemonic.Fndisi, Ignore);
        table.Add(Mnemonic.Fnsetpm, Ignore);
    }

    private static void Fninit(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        cpu.State.Fpu.Initialise();
    }

    private static void Fnclex(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        cpu.State.Fpu.StatusWord &= X87Status.Conditions;
    }

    private static void Fnstcw(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        cpu.WriteMemory(instruction, cpu.State.Fpu.ControlWord);
    }

    private static void Fldcw(Processor cpu, in Instruction instruction)
    {
        ref CpuState state = ref Begin(cpu);
        ushort control = cpu.ReadMemory<ushort>(instruction);
        NoticeNewErrors(cpu);
        state.Fpu.LoadControl(control);
    }

    private static void Fnstsw(Processor cpu, in Instruction instruction)
    {
        CheckAvailable(cpu);
        cpu.WriteOperand(instruction, 0, cpu.State.Fpu.StatusWithTop());
    }

    private static void Fnop(Processor cpu, in Instruction instruction) => Begin(cpu);

    private static void Ignore(Processor cpu, in Instruction instruction) => CheckAvailable(cpu);

    /// <summary>WAIT obeys TS only with MP, and never EM (Intel SDM volume 3, 2.5).</summary>
    private static void Wait(Processor cpu, in Instruction instruction)
    {
        const uint both = Cr0.MonitorCoprocessor | Cr0.TaskSwitched;
        if ((cpu.State.Cr0 & both) == both)
        {
            throw cpu.Fault(Vector.DeviceNotAvailable);
        }
        CheckPending(cpu);
    }

    private static void Fincstp(Processor cpu, in Instruction instruction) => MoveTop(cpu, 1);

    private static void Fdecstp(Processor cpu, in Instruction instruction) => MoveTop(cpu, -1);

    private static void MoveTop(Processor cpu, int by)
    {
        ref FpuState fpu = ref Begin(cpu).Fpu;
        fpu.Top = (byte)((fpu.Top + by) & 7);
        ClearC1(ref fpu);
    }

    private static void Ffree(Processor cpu, in Instruction instruction)
    {
        ref FpuState fpu = ref Begin(cpu).Fpu;
        fpu.Free(StackIndex(instruction.Op0Register));
        ClearC1(ref fpu);
    }

    private static void Ffreep(Processor cpu, in Instruction instruction)
    {
        ref FpuState fpu = ref Begin(cpu).Fpu;
        fpu.Free(StackIndex(instruction.Op0Register));
        fpu.Pop();
        ClearC1(ref fpu);
    }

    private static void ClearC1(ref FpuState fpu) => fpu.StatusWord &= unchecked((ushort)~X87Status.C1);
}
