// Operands of a decoded instruction, as the reference path of the interpreter sees them: resolved once to a place, then loaded and
// stored. Resolving checks everything that can fault, so that an instruction which has begun to change state can finish.

using Iced.Intel;
using Lguest.X86.State;

namespace Lguest.X86;

/// <summary>A resolved operand of one, two or four bytes: a general register or memory.</summary>
/// <param name="IsMemory">Memory rather than register.</param>
/// <param name="Location">Linear address, or byte offset into the general registers.</param>
/// <param name="Size">Bytes: 1, 2 or 4.</param>
internal readonly record struct Operand(bool IsMemory, uint Location, int Size);

public sealed unsafe partial class Processor
{
    /// <summary>Value of operand <paramref name="index"/>: register or memory zero-extended, immediates sign-extended to 32 bits.</summary>
    internal uint ReadOperand(in Instruction instruction, int index)
    {
        OpKind kind = instruction.GetOpKind(index);
        return kind switch
        {
            OpKind.Register => ReadRegister(instruction.GetOpRegister(index)),
            OpKind.Memory => Load(Resolve(instruction, index, false)),
            OpKind.NearBranch16 => instruction.NearBranch16,
            OpKind.NearBranch32 => instruction.NearBranch32,
            _ => (uint)instruction.GetImmediate(index),
        };
    }

    /// <summary>Stores into operand <paramref name="index"/>; the value is cut to the operand's size.</summary>
    internal void WriteOperand(in Instruction instruction, int index, uint value)
    {
        if (instruction.GetOpKind(index) == OpKind.Register)
        {
            WriteRegister(instruction.GetOpRegister(index), value);
            return;
        }
        int size = MemoryOperandSize(instruction);
        Store(new Operand(true, MemoryLinear(instruction, size, true), size), value);
    }

    /// <summary>Finds the place of a register or memory operand.</summary>
    /// <param name="instruction">Current instruction.</param>
    /// <param name="index">Operand number.</param>
    /// <param name="write">Faults now if the place cannot be written.</param>
    internal Operand Resolve(in Instruction instruction, int index, bool write)
    {
        if (instruction.GetOpKind(index) == OpKind.Register)
        {
            Register register = instruction.GetOpRegister(index);
            return new Operand(false, RegisterOffset(register), register.GetSize());
        }
        int size = MemoryOperandSize(instruction);
        uint linear = MemoryLinear(instruction, size, write);
        if (write)
        {
            ProbeWrite(linear, (uint)size);
        }
        return new Operand(true, linear, size);
    }

    /// <summary>Loads a resolved operand, zero-extended.</summary>
    internal uint Load(Operand operand)
    {
        if (operand.IsMemory)
        {
            return operand.Size switch
            {
                1 => ReadLinear<byte>(operand.Location),
                2 => ReadLinear<ushort>(operand.Location),
                _ => ReadLinear<uint>(operand.Location),
            };
        }
        // SAFETY: RegisterOffset gives offsets inside the eight general registers, whole for the operand's size.
        unsafe
        {
            byte* register = (byte*)state + operand.Location;
            return operand.Size switch
            {
                1 => *register,
                2 => *(ushort*)register,
                _ => *(uint*)register,
            };
        }
    }

    /// <summary>Stores into a resolved operand; the value is cut to its size.</summary>
    internal void Store(Operand operand, uint value)
    {
        if (operand.IsMemory)
        {
            switch (operand.Size)
            {
                case 1: WriteLinear(operand.Location, (byte)value); break;
                case 2: WriteLinear(operand.Location, (ushort)value); break;
                default: WriteLinear(operand.Location, value); break;
            }
            return;
        }
        // SAFETY: as in Load.
        unsafe
        {
            byte* register = (byte*)state + operand.Location;
            switch (operand.Size)
            {
                case 1: *register = (byte)value; break;
                case 2: *(ushort*)register = (ushort)value; break;
                default: *(uint*)register = value; break;
            }
        }
    }

    /// <summary>Bytes of an operand: of the register, of the memory access, or of the instruction's first operand for immediates.</summary>
    internal static int OperandSize(in Instruction instruction, int index) => instruction.GetOpKind(index) switch
    {
        OpKind.Register => instruction.GetOpRegister(index).GetSize(),
        OpKind.Memory => MemoryOperandSize(instruction),
        _ => OperandSize(instruction, 0),
    };

    /// <summary>Value of a general register, zero-extended.</summary>
    internal uint ReadRegister(Register register) => register.IsSegmentRegister()
        ? State.Segments[register - Register.ES].Selector
        : Load(new Operand(false, RegisterOffset(register), register.GetSize()));

    /// <summary>Sets a general register; 8- and 16-bit registers leave the rest of the 32 bits alone.</summary>
    internal void WriteRegister(Register register, uint value) => Store(new Operand(false, RegisterOffset(register), register.GetSize()), value);

    /// <summary>Effective address of the memory operand: the offset in its segment, cut to the address size (Intel SDM volume 1, 3.7.5).</summary>
    internal uint MemoryOffset(in Instruction instruction)
    {
        uint offset = instruction.MemoryDisplacement32;
        Register baseRegister = instruction.MemoryBase;
        Register indexRegister = instruction.MemoryIndex;
        if (baseRegister != Register.None)
        {
            offset += ReadRegister(baseRegister);
        }
        if (indexRegister != Register.None)
        {
            offset += ReadRegister(indexRegister) * (uint)instruction.MemoryIndexScale;
        }
        return UsesAddress16(instruction) ? offset & 0xFFFF : offset;
    }

    /// <summary>Whether the effective address of the memory operand is a 16-bit one.</summary>
    internal static bool UsesAddress16(in Instruction instruction) =>
        instruction.MemoryBase.IsGPR16() || instruction.MemoryIndex.IsGPR16() || instruction.MemoryDisplSize == 2;

    /// <summary>Segment of the memory operand, prefix considered.</summary>
    internal static SegmentName MemorySegment(in Instruction instruction) => (SegmentName)(instruction.MemorySegment - Register.ES);

    /// <summary>Linear address of the memory operand, after the segment's checks.</summary>
    /// <param name="instruction">Current instruction.</param>
    /// <param name="size">Bytes accessed, 1 to 512.</param>
    /// <param name="write">Write rather than read.</param>
    internal uint MemoryLinear(in Instruction instruction, int size, bool write) =>
        Linear(MemorySegment(instruction), MemoryOffset(instruction), (uint)size, write);

    /// <summary>Reads the memory operand as a value of any unmanaged type (for SSE: 16 bytes, no alignment check here).</summary>
    internal T ReadMemory<T>(in Instruction instruction)
        where T : unmanaged => ReadLinear<T>(MemoryLinear(instruction, sizeof(T), false));

    /// <summary>Writes the memory operand.</summary>
    internal void WriteMemory<T>(in Instruction instruction, T value)
        where T : unmanaged => WriteLinear(MemoryLinear(instruction, sizeof(T), true), value);

    private static int MemoryOperandSize(in Instruction instruction) => instruction.MemorySize.GetSize();

    /// <summary>Byte offset of a general register in the state: AL, AH and so on inside their 32-bit register.</summary>
    private static uint RegisterOffset(Register register)
    {
        int number = register.GetNumber();
        return register switch
        {
            >= Register.AL and <= Register.BL => (uint)number * 4,
            >= Register.AH and <= Register.BH => ((uint)(register - Register.AH) * 4) + 1,
            _ => (uint)number * 4,
        };
    }
}
