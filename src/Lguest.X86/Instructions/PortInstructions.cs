// IN, OUT, INS and OUTS: what the permission checks let through goes to the machine's port bus, if it has one. An lguest Guest never gets
// that far: its I/O bitmap lies outside its TSS, so that every attempt faults to the Host.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86.Instructions;

internal static class PortInstructions
{
    public static void Register(InstructionTable table)
    {
        table.Add(Mnemonic.In, In);
        table.Add(Mnemonic.Out, Out);
        table.Add(Mnemonic.Insb, StringPort);
        table.Add(Mnemonic.Insw, StringPort);
        table.Add(Mnemonic.Insd, StringPort);
        table.Add(Mnemonic.Outsb, StringPort);
        table.Add(Mnemonic.Outsw, StringPort);
        table.Add(Mnemonic.Outsd, StringPort);
    }

    private static ushort Port(Processor cpu, in Instruction instruction, int index) =>
        instruction.GetOpKind(index) == OpKind.Register
            ? (ushort)cpu.State.General[(int)Register32.Edx]
            : instruction.Immediate8;

    private static void In(Processor cpu, in Instruction instruction)
    {
        Register target = instruction.Op0Register;
        ushort port = Port(cpu, instruction, 1);
        cpu.CheckPort(port, target.GetSize());
        cpu.WriteRegister(target, cpu.ReadPort(port, target.GetSize()));
    }

    private static void Out(Processor cpu, in Instruction instruction)
    {
        Register source = instruction.Op1Register;
        ushort port = Port(cpu, instruction, 0);
        cpu.CheckPort(port, source.GetSize());
        cpu.WritePort(port, source.GetSize(), cpu.ReadRegister(source));
    }

    private static void StringPort(Processor cpu, in Instruction instruction)
    {
        int size = instruction.MemorySize.GetSize();
        var port = (ushort)cpu.State.General[(int)Register32.Edx];
        cpu.CheckPort(port, size);
        bool input = instruction.Mnemonic is Mnemonic.Insb or Mnemonic.Insw or Mnemonic.Insd;
        OpKind memory = input ? instruction.Op0Kind : instruction.Op1Kind;
        bool address16 = memory is OpKind.MemoryESDI or OpKind.MemorySegSI;
        uint mask = address16 ? 0xFFFF : 0xFFFF_FFFF;
        bool repeat = instruction.HasRepPrefix || instruction.HasRepnePrefix;
        ref uint count = ref cpu.State.General[(int)Register32.Ecx];
        if (repeat && (count & mask) == 0)
        {
            return;
        }
        ref uint index = ref cpu.State.General[(int)(input ? Register32.Edi : Register32.Esi)];
        SegmentName segment = input ? SegmentName.ES : Processor.MemorySegment(instruction);
        uint linear = cpu.Linear(segment, index & mask, (uint)size, input);
        if (input)
        {
            // The device must not be asked for a value that then has no place.
            cpu.ProbeWrite(linear, (uint)size);
            uint value = cpu.ReadPort(port, size);
            for (int i = 0; i < size; i++)
            {
                cpu.WriteLinear(linear + (uint)i, (byte)(value >> (8 * i)));
            }
        }
        else
        {
            uint value = 0;
            for (int i = 0; i < size; i++)
            {
                value |= (uint)cpu.ReadLinear<byte>(linear + (uint)i) << (8 * i);
            }
            cpu.WritePort(port, size, value);
        }
        uint step = (cpu.State.SystemFlags & Eflags.Direction) != 0 ? (uint)-size : (uint)size;
        index = (index & ~mask) | ((index + step) & mask);
        if (repeat)
        {
            count = (count & ~mask) | ((count - 1) & mask);
            cpu.RepeatInstruction();
        }
    }
}
