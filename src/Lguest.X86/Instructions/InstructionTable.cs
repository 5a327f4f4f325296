// Which method executes which instruction. Each family of instructions registers its own; what nobody registers raises #UD, so the
// table is also the list of what this processor has.

using Iced.Intel;

namespace Lguest.X86.Instructions;

/// <summary>Executes one instruction. <c>State.Eip</c> is its own address, <c>NextEip</c> the one behind; faults are thrown.</summary>
internal delegate void InstructionHandler(Processor cpu, in Instruction instruction);

/// <summary>The reference implementation of every instruction, by mnemonic and, where a mnemonic is ambiguous, by encoding.</summary>
internal sealed class InstructionTable
{
    /// <summary>The one table.</summary>
    public static readonly InstructionTable Instance = new();

    private readonly List<InstructionHandler> handlers = [];
    private ushort[] byMnemonic = [];
    private ushort[] byCode = [];

    private InstructionTable()
    {
        handlers.Add(static (Processor cpu, in Instruction _) => throw cpu.Fault(State.Vector.InvalidOpcode));
        AluInstructions.Register(this);
        DataInstructions.Register(this);
        ShiftInstructions.Register(this);
        MultiplyInstructions.Register(this);
        BitInstructions.Register(this);
        DecimalInstructions.Register(this);
        FlagInstructions.Register(this);
        ControlInstructions.Register(this);
        StringInstructions.Register(this);
        SegmentInstructions.Register(this);
        FarTransferInstructions.Register(this);
        SystemInstructions.Register(this);
        ModelSpecificRegisters.Register(this);
        PortInstructions.Register(this);
        X87Instructions.Register(this);
        MmxInstructions.Register(this);
        SseInstructions.Register(this);
        Handlers = [.. handlers];
    }

    /// <summary>Handlers by the numbers that <see cref="IndexOf"/> gives; number 0 raises #UD.</summary>
    public InstructionHandler[] Handlers { get; }

    /// <summary>Registers a handler for all encodings of a mnemonic.</summary>
    public void Add(Mnemonic mnemonic, InstructionHandler handler)
    {
        Add(ref byMnemonic, (int)mnemonic, handler);
    }

    /// <summary>Registers a handler for one encoding; it wins over the mnemonic's (MOVSD and CMPSD mean two things each).</summary>
    public void Add(Code code, InstructionHandler handler)
    {
        Add(ref byCode, (int)code, handler);
    }

    /// <summary>Number of an instruction's handler; 0 where the processor does not have the instruction.</summary>
    public int IndexOf(in Instruction instruction) =>
        At(byCode, (int)instruction.Code) is > 0 and int index ? index : At(byMnemonic, (int)instruction.Mnemonic);

    private static int At(ushort[] numbers, int place) => (uint)place < (uint)numbers.Length ? numbers[place] : 0;

    private void Add(ref ushort[] numbers, int place, InstructionHandler handler)
    {
        if (place >= numbers.Length)
        {
            Array.Resize(ref numbers, (place + 1) * 2);
        }
        numbers[place] = (ushort)handlers.Count;
        handlers.Add(handler);
    }

    /// <summary>The handler of an instruction, or null where the processor does not have it.</summary>
    public InstructionHandler? Find(in Instruction instruction) => IndexOf(instruction) is > 0 and int index ? Handlers[index] : null;
}
