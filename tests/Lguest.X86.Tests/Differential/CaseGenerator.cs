// Makes random instructions of a given form, with operands and a register state in which they do something interesting and stay
// inside the scratch memory. Iced describes the operands of every form, so that no instruction is spelled out here, except for the
// few whose operands mean more than their types say.

using System.Buffers.Binary;
using Iced.Intel;
using Lguest.X86.State;
using Lguest.X86.Tests.Oracles;

namespace Lguest.X86.Tests.Differential;

/// <summary>Generates cases for one oracle.</summary>
internal sealed class CaseGenerator(Random random, uint scratchAddress, bool only32BitFeatures)
{
    /// <summary>Base of FS in cases with 32-bit features.</summary>
    public const uint FsBase = 0x1000;

    /// <summary>Base of GS: addresses wrap.</summary>
    public const uint GsBase = 0xFFFF_FF00;

    /// <summary>Where branches of cases with 32-bit features lead.</summary>
    public const uint BranchArea = 0x9800;

    /// <summary>Where the code of cases with 32-bit features is.</summary>
    public const uint CodeAddress = 0xA000;

    private const int Margin = 640;
    private const uint VisibleFlags = Eflags.Status | Eflags.Direction;

    private static readonly Register[] General8 = [Register.AL, Register.CL, Register.DL, Register.BL, Register.AH, Register.CH, Register.DH, Register.BH];

    private readonly ValueSource values = new(random);
    private readonly byte[] scratch = MakeScratch(random);

    private Instruction instruction;
    private NativeState state;
    private int memoryOffset;

    /// <summary>Selectors that cases load into segment registers; the machine's descriptor table must describe them.</summary>
    public ushort[] Selectors { get; init; } = [];

    /// <summary>A random case of an instruction form.</summary>
    public TestCase Next(Code code)
    {
        instruction = new Instruction { Code = code };
        memoryOffset = -1;
        MakeState();
        OpCodeInfo info = code.ToOpCode();
        for (int i = 0; i < info.OpCount; i++)
        {
            MakeOperand(i, info.GetOpKind(i));
        }
        MakePrefixes(info);
        MakeMemory();
        MakeMeaningful();
        return new TestCase { Instruction = instruction, Before = state, Scratch = scratch, Offset = memoryOffset };
    }

    private static byte[] MakeScratch(Random random)
    {
        byte[] bytes = new byte[NativeCpu.ScratchSize];
        random.NextBytes(bytes);
        return bytes;
    }

    private void MakeState()
    {
        state = new NativeState { Eflags = (uint)random.Next() & VisibleFlags };
        for (int i = 0; i < 8; i++)
        {
            state.General[i] = values.NextUInt32();
            state.SetXmm(i, values.NextXmm());
            state.SetSt(i, values.NextFloat80());
        }
        state.General[(int)Register32.Esp] = scratchAddress + RandomOffset(4, values.OneIn(4) ? 1 : 4);
        state.ControlWord = (ushort)(0x40 | (values.OneIn(8) ? random.Next(64) : 0x3F) | (values.Pick(0, 2, 3, 3) << 8) | (values.OneIn(2) ? 0 : random.Next(4) << 10));
        int sticky = values.OneIn(4) ? random.Next(128) & (state.ControlWord & 0x3F) : 0;
        state.StatusWord = (ushort)((random.Next(16) is int codes ? ((codes & 7) << 8) | ((codes & 8) << 11) : 0) | sticky);
        state.Top = random.Next(8);
        state.ValidTags = (byte)(values.OneIn(4) ? random.Next(256) : 0xFF);
        state.Mxcsr = 0x1F80 | (uint)(values.OneIn(2) ? 0 : random.Next(4) << 13) | (values.OneIn(6) ? 0x8000u : 0) | (values.OneIn(8) ? 0x40u : 0)
            | (uint)(values.OneIn(4) ? random.Next(64) : 0);
    }

    private void MakeOperand(int index, OpCodeOperandKind kind)
    {
        switch (kind)
        {
            case OpCodeOperandKind.r8_or_mem:
                RegisterOrMemory(index, values.Pick<Register>(General8));
                break;
            case OpCodeOperandKind.r16_or_mem:
                RegisterOrMemory(index, General(Register.AX));
                break;
            case OpCodeOperandKind.r32_or_mem:
                RegisterOrMemory(index, General(Register.EAX));
                break;
            case OpCodeOperandKind.mm_or_mem:
                RegisterOrMemory(index, General(Register.MM0));
                break;
            case OpCodeOperandKind.xmm_or_mem:
                RegisterOrMemory(index, General(Register.XMM0));
                break;
            case OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode:
                SetRegister(index, values.Pick<Register>(General8));
                break;
            case OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_rm or OpCodeOperandKind.r16_opcode or OpCodeOperandKind.r16_reg_mem:
                SetRegister(index, General(Register.AX));
                break;
            case OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_rm or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r32_reg_mem:
                SetRegister(index, General(Register.EAX));
                break;
            case OpCodeOperandKind.mm_reg or OpCodeOperandKind.mm_rm:
                SetRegister(index, General(Register.MM0));
                break;
            case OpCodeOperandKind.xmm_reg or OpCodeOperandKind.xmm_rm:
                SetRegister(index, General(Register.XMM0));
                break;
            case OpCodeOperandKind.seg_reg:
                SetRegister(index, index == 0 ? values.Pick(Register.ES, Register.DS, Register.FS, Register.GS) : values.Pick(Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS));
                break;
            case OpCodeOperandKind.es or OpCodeOperandKind.cs or OpCodeOperandKind.ss or OpCodeOperandKind.ds or OpCodeOperandKind.fs or OpCodeOperandKind.gs:
                SetRegister(index, Register.ES + (kind - OpCodeOperandKind.es));
                break;
            case OpCodeOperandKind.al:
                SetRegister(index, Register.AL);
                break;
            case OpCodeOperandKind.cl:
                SetRegister(index, Register.CL);
                break;
            case OpCodeOperandKind.ax:
                SetRegister(index, Register.AX);
                break;
            case OpCodeOperandKind.dx:
                SetRegister(index, Register.DX);
                break;
            case OpCodeOperandKind.eax:
                SetRegister(index, Register.EAX);
                break;
            case OpCodeOperandKind.st0:
                SetRegister(index, Register.ST0);
                break;
            case OpCodeOperandKind.sti_opcode:
                SetRegister(index, General(Register.ST0));
                break;
            case OpCodeOperandKind.imm8_const_1:
                SetImmediate(index, OpKind.Immediate8, 1);
                break;
            case OpCodeOperandKind.imm8:
                SetImmediate(index, index > 0 && instruction.GetOpKind(index - 1) == OpKind.Immediate16 ? OpKind.Immediate8_2nd : OpKind.Immediate8, values.NextUInt32() & 0xFF);
                break;
            case OpCodeOperandKind.imm8sex16:
                SetImmediate(index, OpKind.Immediate8to16, (uint)(sbyte)values.NextUInt32());
                break;
            case OpCodeOperandKind.imm8sex32:
                SetImmediate(index, OpKind.Immediate8to32, (uint)(sbyte)values.NextUInt32());
                break;
            case OpCodeOperandKind.imm16:
                SetImmediate(index, OpKind.Immediate16, values.NextUInt32() & 0xFFFF);
                break;
            case OpCodeOperandKind.imm32:
                SetImmediate(index, OpKind.Immediate32, values.NextUInt32());
                break;
            case OpCodeOperandKind.mem or OpCodeOperandKind.mem_offs or OpCodeOperandKind.seg_rBX_al:
                instruction.SetOpKind(index, OpKind.Memory);
                break;
            case OpCodeOperandKind.seg_rSI:
                instruction.SetOpKind(index, Address16 ? OpKind.MemorySegSI : OpKind.MemorySegESI);
                break;
            case OpCodeOperandKind.es_rDI:
                instruction.SetOpKind(index, Address16 ? OpKind.MemoryESDI : OpKind.MemoryESEDI);
                break;
            case OpCodeOperandKind.seg_rDI:
                instruction.SetOpKind(index, OpKind.MemorySegEDI);
                break;
            case OpCodeOperandKind.br16_1 or OpCodeOperandKind.br16_2:
                instruction.SetOpKind(index, OpKind.NearBranch16);
                instruction.NearBranch16 = (ushort)(CodeAddress + random.Next(-100, 100));
                break;
            case OpCodeOperandKind.br32_1 or OpCodeOperandKind.br32_4:
                instruction.SetOpKind(index, OpKind.NearBranch32);
                instruction.NearBranch32 = (uint)(CodeAddress + random.Next(-100, 100));
                break;
            default:
                throw new NotSupportedException($"{instruction.Code}: no cases for operand kind {kind}");
        }
    }

    // One choice for each instruction: both operands of a string instruction share the prefix.
    private bool Address16 => only32BitFeatures && (instruction.Code.GetHashCode() + state.General[0]) % 4 == 0;

    private Register General(Register first) => first + random.Next(8);

    private void RegisterOrMemory(int index, Register register)
    {
        if (values.OneIn(2))
        {
            instruction.SetOpKind(index, OpKind.Memory);
        }
        else
        {
            SetRegister(index, register);
        }
    }

    private void SetRegister(int index, Register register)
    {
        instruction.SetOpKind(index, OpKind.Register);
        instruction.SetOpRegister(index, register);
    }

    private void SetImmediate(int index, OpKind kind, uint value)
    {
        instruction.SetOpKind(index, kind);
        switch (kind)
        {
            case OpKind.Immediate8: instruction.Immediate8 = (byte)value; break;
            case OpKind.Immediate8_2nd: instruction.Immediate8_2nd = (byte)value; break;
            case OpKind.Immediate8to16: instruction.Immediate8to16 = (short)value; break;
            case OpKind.Immediate8to32: instruction.Immediate8to32 = (int)value; break;
            case OpKind.Immediate16: instruction.Immediate16 = (ushort)value; break;
            default: instruction.Immediate32 = value; break;
        }
    }

    private void MakePrefixes(OpCodeInfo info)
    {
        if (info.CanUseLockPrefix && instruction.Op0Kind == OpKind.Memory && values.OneIn(8))
        {
            instruction.HasLockPrefix = true;
        }
        if (instruction.IsStringInstruction && values.OneIn(2))
        {
            if (instruction.Mnemonic is Mnemonic.Cmpsb or Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd && values.OneIn(2))
            {
                instruction.HasRepnePrefix = true;
            }
            else
            {
                instruction.HasRepPrefix = true;
            }
            uint count = (uint)random.Next(24);
            state.General[1] = instruction.Op0Kind is OpKind.MemoryESDI or OpKind.MemorySegSI || instruction.Op1Kind is OpKind.MemorySegSI
                ? (state.General[1] & 0xFFFF_0000) | count
                : count;
        }
        bool hasSegment = Enumerable.Range(0, instruction.OpCount).Any(i => IsMemory(i) && instruction.GetOpKind(i) is not (OpKind.MemoryESEDI or OpKind.MemoryESDI));
        if (only32BitFeatures && hasSegment && values.OneIn(3))
        {
            instruction.SegmentPrefix = values.Pick(Register.FS, Register.GS, Register.ES, Register.SS, Register.DS);
        }
    }

    private bool IsMemory(int index) => instruction.GetOpKind(index) is OpKind.Memory or OpKind.MemorySegESI or OpKind.MemoryESEDI or OpKind.MemorySegEDI or OpKind.MemorySegSI or OpKind.MemoryESDI;

    private uint RandomOffset(int size, int alignment)
    {
        int offset = random.Next(Margin, NativeCpu.ScratchSize - Margin - size);
        if (values.OneIn(4))
        {
            offset = (4096 * random.Next(1, 4)) - random.Next(0, size + 1);
        }
        return (uint)(offset & -alignment);
    }

    private uint SegmentBase => instruction.SegmentPrefix switch
    {
        Register.FS => FsBase,
        Register.GS => GsBase,
        _ => 0,
    };

    private void MakeMemory()
    {
        for (int i = 0; i < instruction.OpCount; i++)
        {
            if (!IsMemory(i))
            {
                continue;
            }
            MemorySizeInfo info = instruction.MemorySize.GetInfo();
            int size = Math.Max(1, info.Size);
            int alignment = NeedsAlignment(size) ? 16 : values.OneIn(2) ? 1 : Math.Min(4, size);
            uint offset = RandomOffset(size, alignment);
            Span<byte> place = scratch.AsSpan((int)offset, size);
            values.Fill(place, info.ElementType);
            uint address = scratchAddress + offset;
            switch (instruction.GetOpKind(i))
            {
                case OpKind.Memory:
                    memoryOffset = (int)offset;
                    MakeAddress(address - SegmentBase);
                    break;
                case OpKind.MemorySegESI:
                    state.General[(int)Register32.Esi] = address - SegmentBase;
                    break;
                case OpKind.MemorySegSI:
                    SetLow16(Register32.Esi, address - SegmentBase);
                    break;
                case OpKind.MemoryESDI:
                    SetLow16(Register32.Edi, address);
                    break;
                default:
                    memoryOffset = (int)offset;
                    state.General[(int)Register32.Edi] = address - (instruction.GetOpKind(i) == OpKind.MemorySegEDI ? SegmentBase : 0);
                    break;
            }
            if (instruction.IsStringInstruction && values.OneIn(2))
            {
                // Equal bytes on both sides keep comparisons going.
                scratch.AsSpan((int)offset - 96, 192).Fill((byte)random.Next(2));
            }
        }
    }

    private bool NeedsAlignment(int size) => size == 512
        || (size == 16 && instruction.Mnemonic is not (Mnemonic.Movups or Mnemonic.Movupd or Mnemonic.Movdqu or Mnemonic.Lddqu or Mnemonic.Maskmovdqu));

    private void SetLow16(Register32 register, uint value) => state.General[(int)register] = (state.General[(int)register] & 0xFFFF_0000) | (value & 0xFFFF);

    private void MakeAddress(uint offset)
    {
        OpCodeOperandKind kind = instruction.Code.ToOpCode().GetOpKind(instruction.Op0Kind == OpKind.Memory ? 0 : instruction.Op1Kind == OpKind.Memory ? 1 : 2);
        if (kind == OpCodeOperandKind.seg_rBX_al)
        {
            instruction.MemoryBase = Address16 ? Register.BX : Register.EBX;
            instruction.MemoryIndex = Register.AL;
            uint table = offset - (byte)state.General[0];
            state.General[(int)Register32.Ebx] = Address16 ? (state.General[(int)Register32.Ebx] & 0xFFFF_0000) | (table & 0xFFFF) : table;
            return;
        }
        if (kind == OpCodeOperandKind.mem_offs || values.OneIn(12))
        {
            bool small = kind == OpCodeOperandKind.mem_offs ? Address16 : only32BitFeatures && values.OneIn(2);
            instruction.MemoryDisplSize = small ? 2 : 4;
            instruction.MemoryDisplacement64 = small ? offset & 0xFFFF : offset;
            return;
        }
        if (only32BitFeatures && values.OneIn(4))
        {
            MakeAddress16(offset);
            return;
        }
        int scale = 1 << random.Next(4);
        uint displacement = 0;
        switch (random.Next(3))
        {
            case 0:
                displacement = (uint)random.Next(-128, 128);
                instruction.MemoryDisplSize = 1;
                break;
            case 1:
                displacement = values.NextUInt32();
                instruction.MemoryDisplSize = 4;
                break;
        }
        Register forbidden = instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && instruction.Op1Kind == OpKind.Register
            ? instruction.Op1Register.GetFullRegister32()
            : Register.None;
        bool onStack = instruction.IsStackInstruction;
        Register baseRegister;
        Register indexRegister;
        do
        {
            baseRegister = values.OneIn(6) ? Register.None : General(Register.EAX);
            indexRegister = values.OneIn(2) ? Register.None : General(Register.EAX);
        }
        while ((baseRegister == Register.None && indexRegister == Register.None)
            || baseRegister == indexRegister || indexRegister == Register.ESP || (forbidden != Register.None && (baseRegister == forbidden || indexRegister == forbidden))
            || (baseRegister == Register.ESP && onStack));
        instruction.MemoryBase = baseRegister;
        instruction.MemoryIndex = indexRegister;
        if (indexRegister != Register.None)
        {
            instruction.MemoryIndexScale = scale;
            displacement += baseRegister == Register.None ? offset - displacement - (state.General[indexRegister.GetNumber()] * (uint)scale) : 0;
        }
        if (baseRegister == Register.None)
        {
            instruction.MemoryDisplSize = 4;
        }
        else
        {
            uint index = indexRegister == Register.None ? 0 : state.General[indexRegister.GetNumber()] * (uint)scale;
            state.General[baseRegister.GetNumber()] = offset - displacement - index;
        }
        instruction.MemoryDisplacement64 = displacement;
    }

    private void MakeAddress16(uint offset)
    {
        Register baseRegister = values.Pick(Register.None, Register.BX, Register.BP, Register.BX);
        Register indexRegister = values.Pick(Register.None, Register.SI, Register.DI);
        if (baseRegister == Register.None && indexRegister == Register.None)
        {
            baseRegister = Register.BX;
        }
        uint displacement = 0;
        switch (random.Next(3))
        {
            case 0:
                displacement = (uint)random.Next(-128, 128) & 0xFFFF;
                instruction.MemoryDisplSize = 1;
                break;
            case 1:
                displacement = values.NextUInt32() & 0xFFFF;
                instruction.MemoryDisplSize = 2;
                break;
        }
        // Iced wants a lone index register as the base.
        if (baseRegister == Register.None)
        {
            (baseRegister, indexRegister) = (indexRegister, Register.None);
        }
        instruction.MemoryBase = baseRegister;
        instruction.MemoryIndex = indexRegister;
        instruction.MemoryDisplacement64 = displacement;
        uint index = indexRegister == Register.None ? 0 : state.General[indexRegister.GetNumber()];
        SetLow16((Register32)baseRegister.GetNumber(), offset - displacement - index);
        if (instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && instruction.Op1Kind == OpKind.Register)
        {
            Register32 bit = (Register32)instruction.Op1Register.GetNumber();
            if ((int)bit is var number && (number == baseRegister.GetNumber() || (indexRegister != Register.None && number == indexRegister.GetNumber())))
            {
                instruction.SetOpRegister(1, instruction.Op1Register.GetSize() == 2 ? Register.DX : Register.EDX);
            }
        }
    }

    private void MakeMeaningful()
    {
        switch (instruction.Mnemonic)
        {
            case Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc when memoryOffset >= 0 && instruction.Op1Kind == OpKind.Register:
                int number = instruction.Op1Register.GetNumber();
                uint bit = (uint)random.Next(-4096, 4096);
                state.General[number] = instruction.Op1Register.GetSize() == 2 ? (state.General[number] & 0xFFFF_0000) | (bit & 0xFFFF) : bit;
                break;
            case Mnemonic.Cmpxchg when values.OneIn(2) && !AddressUses(Register.EAX):
                state.General[0] = ReadOperand0();
                break;
            case Mnemonic.Cmpxchg8b when values.OneIn(2) && !AddressUses(Register.EAX) && !AddressUses(Register.EDX):
                state.General[0] = Scratch32(memoryOffset);
                state.General[2] = Scratch32(memoryOffset + 4);
                break;
            case Mnemonic.Div or Mnemonic.Idiv when values.OneIn(2) && !AddressUses(Register.EAX) && !AddressUses(Register.EDX):
                state.General[2] = values.OneIn(2) ? 0 : (uint)((int)state.General[0] >> 31);
                state.General[0] &= values.OneIn(2) ? 0xFFFF_007Fu : 0xFFFF_FFFF;
                break;
            case Mnemonic.Leave or Mnemonic.Enter:
                state.General[(int)Register32.Ebp] = scratchAddress + RandomOffset(4, 1);
                if (instruction.Mnemonic == Mnemonic.Enter)
                {
                    instruction.Immediate16 &= 0x1FF;
                    instruction.Immediate8_2nd &= 0x3F;
                }
                break;
            case Mnemonic.Jmp or Mnemonic.Call when instruction.Op0Kind == OpKind.Memory:
                WriteScratch(memoryOffset, instruction.MemorySize.GetSize(), BranchArea + (uint)random.Next(0x800));
                break;
            case Mnemonic.Jmp or Mnemonic.Call when instruction.Op0Kind == OpKind.Register:
                state.General[instruction.Op0Register.GetNumber()] = BranchArea + (uint)random.Next(0x800);
                break;
            case Mnemonic.Ret:
                if (instruction.OpCount > 0)
                {
                    instruction.Immediate16 &= 0x1FF;
                }
                WriteStack(4, BranchArea + (uint)random.Next(0x800));
                break;
            case Mnemonic.Popf or Mnemonic.Popfd:
                WriteStack(4, (uint)random.Next() & (VisibleFlags | Eflags.Interrupt | Eflags.IoPrivilege | Eflags.NestedTask | Eflags.AlignmentCheck | Eflags.Identification));
                break;
            case Mnemonic.Loop or Mnemonic.Loope or Mnemonic.Loopne or Mnemonic.Jcxz or Mnemonic.Jecxz:
                state.General[1] = values.Pick(0u, 1u, 2u, 0x1_0000u, 0x1_0001u, state.General[1]);
                break;
            case Mnemonic.Ldmxcsr:
                WriteScratch(memoryOffset, 4, Scratch32(memoryOffset) & 0xFFFF);
                break;
            case Mnemonic.Fxrstor:
                WriteScratch(memoryOffset + 24, 4, Scratch32(memoryOffset + 24) & 0xFFFF);
                break;
            case Mnemonic.Pop when InstructionForms.TouchesSegmentRegisters(instruction.Code):
                WriteStack(2, values.Pick<ushort>(Selectors));
                break;
            case Mnemonic.Mov when instruction.Op0Kind == OpKind.Register && instruction.Op0Register.IsSegmentRegister():
                ushort selector = values.Pick<ushort>(Selectors);
                if (memoryOffset >= 0)
                {
                    WriteScratch(memoryOffset, 2, selector);
                }
                else
                {
                    SetLow16((Register32)instruction.Op1Register.GetNumber(), selector);
                }
                break;
            case Mnemonic.Lds or Mnemonic.Les or Mnemonic.Lfs or Mnemonic.Lgs or Mnemonic.Lss:
                WriteScratch(memoryOffset + instruction.MemorySize.GetSize() - 2, 2, instruction.Mnemonic == Mnemonic.Lss ? Selectors[1] : values.Pick<ushort>(Selectors));
                break;
        }
    }

    private bool AddressUses(Register register) => memoryOffset >= 0
        && (instruction.MemoryBase.GetFullRegister32() == register || instruction.MemoryIndex.GetFullRegister32() == register);

    private uint ReadOperand0()
    {
        if (memoryOffset >= 0)
        {
            return Scratch32(memoryOffset);
        }
        Register register = instruction.Op0Register;
        uint value = state.General[register.GetFullRegister32().GetNumber()];
        return register is >= Register.AH and <= Register.BH ? value >> 8 : value;
    }

    private uint Scratch32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(scratch.AsSpan(offset));

    private void WriteStack(int size, uint value) => WriteScratch((int)(state.General[(int)Register32.Esp] - scratchAddress), size, value);

    private void WriteScratch(int offset, int size, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        bytes[..Math.Min(size, 4)].CopyTo(scratch.AsSpan(offset));
    }
}
